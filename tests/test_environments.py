"""Claims about the environments of the two sides of a gate; real ones, with pip."""

import argparse
import subprocess
from pathlib import Path

import pytest

from efficarch.environments import COMPLETE, environment
from efficarch.errors import EfficarchError
from efficarch.gate_command import _with_environments
from efficarch.policy import Policy
from efficarch.worktree import Arms, Tree, differing_dependencies

INSTALL = ("--no-index --no-deps --no-build-isolation --find-links . toy",)
PYTHON = Path("python")


def wheel(folder: Path, version: str) -> None:
    """Write a wheel of a package that knows its version, without building anything."""
    from zipfile import ZipFile

    info = f"toy-{version}.dist-info"
    with ZipFile(folder / f"toy-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr("toy.py", f"VERSION = {version!r}\n")
        facts = f"Metadata-Version: 2.1\nName: toy\nVersion: {version}\n"
        archive.writestr(f"{info}/METADATA", facts)
        tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{info}/WHEEL", tags)
        archive.writestr(f"{info}/RECORD", "")


def side(folder: Path, version: str) -> Tree:
    """Return one side of a gate that needs a version of a package."""
    folder.mkdir(parents=True)
    (folder / "constraints.txt").write_text(f"toy=={version}\n")
    wheel(folder, version)
    return Tree(folder, "commit", "tree", PYTHON)


def version(python: Path) -> str:
    """Return the version that an environment holds."""
    command = [str(python), "-c", "import toy; print(toy.VERSION)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_each_side_has_what_it_needs(tmp_path: Path) -> None:
    """Built once, then found again."""
    arms = Arms(side(tmp_path / "a", "1.0"), side(tmp_path / "b", "2.0"))
    arguments = argparse.Namespace(base_python=None, head_python=None, out=tmp_path / "out")
    said: list[str] = []

    found = _with_environments(arms, arguments, Policy(install=INSTALL), said.append)

    assert (version(found.base.python), version(found.head.python)) == ("1.0", "2.0")
    assert said == [
        "constraints.txt differ between base and head: building an environment for each"
    ]
    built = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob(COMPLETE)}
    assert len(built) == 2
    assert _with_environments(arms, arguments, Policy(install=INSTALL), said.append) == found
    assert {path: path.stat().st_mtime_ns for path in built} == built


def test_a_side_with_an_interpreter_keeps_it(tmp_path: Path) -> None:
    """Nothing is built where both need the same, or where both were given one."""
    arms = Arms(side(tmp_path / "a", "1.0"), side(tmp_path / "b", "2.0"))
    same = Arms(arms.base, side(tmp_path / "c", "1.0"))
    given = argparse.Namespace(base_python=PYTHON, head_python=PYTHON, out=tmp_path / "out")
    none = argparse.Namespace(base_python=None, head_python=None, out=tmp_path / "out")

    assert _with_environments(arms, given, Policy(install=INSTALL), print) == arms
    assert _with_environments(same, none, Policy(install=INSTALL), print) == same
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_installed_leaves_nothing(tmp_path: Path) -> None:
    """One sentence with what pip said last; and without a way to install, how to give one."""
    tree = side(tmp_path / "a", "1.0")
    missing = ("--no-index missing-package",)

    with pytest.raises(EfficarchError, match=r"pip install .*missing-package.* failed: .*found"):
        environment(tree, tmp_path / "out", missing)

    assert list((tmp_path / "out").iterdir()) == []
    arms = Arms(tree, side(tmp_path / "b", "2.0"))
    none = argparse.Namespace(base_python=None, head_python=None, out=tmp_path / "out")
    with pytest.raises(EfficarchError, match="say how to build one: install in the policy"):
        _with_environments(arms, none, Policy(), print)


@pytest.mark.parametrize(
    ("before", "after", "differ"),
    [
        ("[tool.ruff]\nline-length = 100\n", "[tool.ruff]\nline-length = 80\n", []),
        ("[project]\nname = 'a'\n", "[project]\nname = 'b'\n", ["pyproject.toml"]),
        ("[project]\nname = 'a'\n", "x = [", ["pyproject.toml"]),
        ("[dependency-groups]\na = []\n", "[dependency-groups]\na = ['b']\n", ["pyproject.toml"]),
    ],
)
def test_only_what_is_installed_counts(
    tmp_path: Path, before: str, after: str, differ: list[str]
) -> None:
    """How tools are configured needs no other environment."""
    arms = Arms(side(tmp_path / "a", "1.0"), side(tmp_path / "b", "1.0"))
    (arms.base.path / "pyproject.toml").write_text(before)
    (arms.head.path / "pyproject.toml").write_text(after)

    assert differing_dependencies(arms) == differ
