"""A scratch repository, and what must be true of any after a gate."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.experiment.scratch import editable_project, git, measured_processes, repository


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose gates disturb no other's and leave neither folder nor process behind."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    # one folder for all that a gate leaves for a while
    monkeypatch.setenv("TMPDIR", str(temporary))
    # gates of other devices may run beside this one
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield tmp_path
    assert list(temporary.iterdir()) == []
    assert measured_processes(tmp_path) == []


@pytest.fixture
def repo(alone: Path) -> Iterator[Path]:
    """A repository with one commit; afterwards it has no other working tree."""
    made = repository(alone / "repository")
    yield made
    assert git(made, "worktree", "list").count("\n") == 0


@pytest.fixture
def editable(alone: Path) -> tuple[Path, Path]:
    """A project with a src folder, installed editable, and the Python it is installed in."""
    return editable_project(alone)


@pytest.fixture
def few_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured processes load pytest's plugins by name, which takes them half as long to start."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
