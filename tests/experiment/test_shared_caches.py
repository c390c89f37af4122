"""Claims about the user's folders that both sides of a gate read."""

import pwd
from pathlib import Path

import pytest

from efficarch.experiment.shared_caches import NAMED, Caches, shared_caches, user_base
from tests.experiment.scratch import finished

NOBODY = """
import pwd


def getpwuid(_number):
    raise KeyError("nobody of this number")


pwd.getpwuid = getpwuid
"""


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user of this process has neither a home nor a name, as in a container."""

    def getpwuid(_number: int) -> object:
        raise KeyError("nobody of this number")

    monkeypatch.setattr(pwd, "getpwuid", getpwuid)
    for name in ("HOME", "HF_HOME", "TORCH_HOME", "XDG_CACHE_HOME", "PYTHONUSERBASE", *NAMED):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("nobody")
def test_who_has_no_home_has_no_caches_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that a variable names are there all the same."""
    assert shared_caches() == {}
    assert user_base() == {}
    assert Caches.now().notices() == []
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert shared_caches() == {"HF_HOME": tmp_path}
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert shared_caches()["TORCH_HOME"] == Path("/cache/torch")
    monkeypatch.setenv("PYTHONUSERBASE", "/base")
    assert user_base() == {"PYTHONUSERBASE": "/base"}


def test_a_gate_without_a_home(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is judged like any other."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(NOBODY, encoding="utf-8")
    monkeypatch.syspath_prepend(site)
    monkeypatch.delenv("HOME")
    path = ":".join([str(site), str(Path(__file__).parents[2])])

    code, output, errors = finished(repo, "--base", "HEAD", PYTHONPATH=path)

    assert (code, errors) == (0, ""), errors
    assert "2 PASS" in output


def test_a_cache_that_a_variable_moves_is_watched_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models may lie elsewhere than in the home of their library."""
    cache = tmp_path / "hub"
    cache.mkdir()
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    before = Caches.now()
    (cache / "model").write_text("x")

    assert shared_caches()["HF_HUB_CACHE"] == cache
    assert [str(cache) in notice for notice in before.notices()] == [True]
