"""Claims about the environments of the two sides of a gate; real ones, with pip."""

import os
import subprocess
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

from efficarch.errors import EfficarchError
from efficarch.experiment.builder import Workshop, build_variables
from efficarch.experiment.dependencies import differing
from efficarch.experiment.environments import with_environments
from efficarch.experiment.worktree import Arms, Tree
from tests.experiment.scratch import alive, git

INSTALL = ("--no-index --no-deps --no-build-isolation --find-links . toy",)
PYTHON = Path("python")
NONE = (None, None)


def wheel(folder: Path, version: str) -> None:
    """Write a wheel of a package that knows its version, without building anything."""
    info = f"toy-{version}.dist-info"
    with ZipFile(folder / f"toy-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr("toy.py", f"VERSION = {version!r}\n")
        facts = f"Metadata-Version: 2.1\nName: toy\nVersion: {version}\n"
        archive.writestr(f"{info}/METADATA", facts)
        tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{info}/WHEEL", tags)
        archive.writestr(f"{info}/RECORD", "")


def side(folder: Path, version: str, *, setup: str = "") -> Tree:
    """Return one side of a gate that needs a version of a package."""
    folder.mkdir(parents=True)
    (folder / "constraints.txt").write_text(f"toy=={version}\n")
    if setup:
        (folder / "setup.py").write_text(setup)
    wheel(folder, version)
    git(folder, "init", "--quiet")
    return Tree(folder, "commit", "tree", PYTHON)


def printed(python: Path, program: str) -> str:
    """Return what a program prints in an environment."""
    command = [str(python), "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def version(python: Path) -> str:
    """Return the version that an environment holds."""
    return printed(python, "import toy; print(toy.VERSION)")


def workshop(folder: Path, *, timeout_s: int = 600) -> Workshop:
    """Return a place to build in."""
    folder.mkdir()
    return Workshop(folder, timeout_s=timeout_s, lock=None)


def test_sides_with_other_dependencies_have_what_they_need(tmp_path: Path) -> None:
    """Each its own, and nothing of what this process sees."""
    arms = Arms(side(tmp_path / "a", "1.0"), side(tmp_path / "b", "2.0"))
    said: list[str] = []

    found = with_environments(arms, NONE, INSTALL, workshop(tmp_path / "work"), said.append)

    assert (version(found.base.python), version(found.head.python)) == ("1.0", "2.0")
    assert found.base.built
    assert found.head.built
    assert said == [
        "constraints.txt differ between base and head: they may need different packages; building "
        "an environment for each side"
    ]
    program = "from importlib.util import find_spec; print(find_spec('pytest'))"
    assert printed(found.base.python, program) == "None"


def test_sides_that_have_to_be_built_see_the_other_packages_too(tmp_path: Path) -> None:
    """Only the project itself is installed, and what it has wins over what is there already."""
    setup = "from setuptools import Extension, setup\nsetup(ext_modules=[Extension('a', ['a.c'])])"
    arms = Arms(*(side(tmp_path / name, "1.0", setup=setup) for name in "ab"))
    said: list[str] = []

    found = with_environments(arms, NONE, INSTALL, workshop(tmp_path / "work"), said.append)

    assert said == [
        "this project has to be built (ext_modules in setup.py), and a checkout is not; building "
        "an environment for each side"
    ]
    for tree in (found.base, found.head):
        assert version(tree.python) == "1.0"
        assert printed(tree.python, "import pytest, sys; print(sys.prefix)") in str(tree.python)


def test_a_side_with_an_interpreter_keeps_it(tmp_path: Path) -> None:
    """Nothing is built where both need the same, or where both were given one."""
    arms = Arms(side(tmp_path / "a", "1.0"), side(tmp_path / "b", "2.0"))
    same = Arms(arms.base, side(tmp_path / "c", "1.0"))
    work = tmp_path / "work"
    shop = Workshop(work, timeout_s=600, lock=None)

    assert with_environments(arms, (PYTHON, PYTHON), INSTALL, shop, print) == arms
    assert with_environments(same, NONE, INSTALL, shop, print) == same
    assert not work.exists()


def test_what_cannot_be_installed_is_said(tmp_path: Path) -> None:
    """One sentence with what pip said last; and without a way to install, how to give one."""
    arms = Arms(side(tmp_path / "a", "1.0"), side(tmp_path / "b", "2.0"))
    missing = ("--no-index missing-package",)

    with pytest.raises(EfficarchError, match=r"pip install .*missing-package.* failed: .*found"):
        with_environments(arms, NONE, missing, workshop(tmp_path / "work"), print)
    with pytest.raises(EfficarchError, match="say how to build one: install in the policy"):
        with_environments(arms, NONE, (), workshop(tmp_path / "other"), print)


BACKEND = """
import os, pathlib, subprocess, sys, tempfile, time, zipfile


def build_wheel(folder, settings=None, metadata=None):
    {action}
    name = "toy-1.0-py3-none-any.whl"
    info = "toy-1.0.dist-info"
    with zipfile.ZipFile(pathlib.Path(folder, name), "w") as archive:
        archive.writestr("toy.py", "VERSION = '1.0'\\n")
        facts = "Metadata-Version: 2.1\\nName: toy\\nVersion: 1.0\\n"
        archive.writestr(f"{{info}}/METADATA", facts)
        archive.writestr(f"{{info}}/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        archive.writestr(f"{{info}}/RECORD", "")
    return name
"""
BUILT_BY_ITSELF = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


def built_by(folder: Path, action: str) -> Tree:
    """Return a side whose build does something."""
    folder.mkdir(parents=True)
    (folder / "backend.py").write_text(BACKEND.format(action=action))
    (folder / "pyproject.toml").write_text(BUILT_BY_ITSELF)
    git(folder, "init", "--quiet")
    return Tree(folder, "commit", "tree", PYTHON)


def test_a_build_has_a_home_and_a_temporary_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the side, which go with the gate; nothing is written to the user's."""
    users = tmp_path / "user"
    users.mkdir()
    for name in ("HOME", "TMPDIR", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(users))
    action = (
        "[(pathlib.Path(each) / 'written').write_text('x') for each in (pathlib.Path.home(), "
        "tempfile.gettempdir()) for _ in [pathlib.Path(each).mkdir(exist_ok=True, parents=True)]]"
    )
    arms = Arms(*(built_by(tmp_path / name, action) for name in ("base", "head")))
    work = tmp_path / "work"

    found = with_environments(arms, NONE, ("--no-index .",), workshop(work), print)

    assert version(found.head.python) == "1.0"
    assert not list(users.rglob("written"))
    for side_of in ("base", "head"):
        home = work / f"{side_of}-home"
        assert (home / "written").is_file()
        assert (home / "tmp" / "written").is_file()


@pytest.mark.parametrize("legacy", [False, True])
def test_a_build_follows_the_users_settings_of_pip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, legacy: bool
) -> None:
    """Of either file, or both; and their cache of wheels."""
    home = tmp_path / "user"
    arms = Arms(side(tmp_path / "a", "1.0"), side(tmp_path / "b", "2.0"))
    (home / ".pip").mkdir(parents=True)
    (home / ".config" / "pip").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    for name in [each for each in os.environ if each.startswith(("PIP_", "XDG_"))]:
        monkeypatch.delenv(name)
    new, old = home / ".config" / "pip" / "pip.conf", home / ".pip" / "pip.conf"
    links = f"[install]\nfind-links = {tmp_path / 'a'} {tmp_path / 'b'}\n"
    quiet = f"[global]\nno-index = true\ncache-dir = {tmp_path / 'wheels'}\n"
    new.write_text(quiet if legacy else quiet + links)
    if legacy:
        old.write_text(links + "[global]\nno-index = false\n")

    found = with_environments(
        arms, NONE, ("--no-deps -c constraints.txt toy",), workshop(tmp_path / "work"), print
    )

    assert (version(found.base.python), version(found.head.python)) == ("1.0", "2.0")


def test_a_wheel_is_built_once_and_kept_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a package index would hand out as source is not built for each side and each gate."""
    log, cache = tmp_path / "log", tmp_path / "cache"
    monkeypatch.setenv("PIP_CACHE_DIR", str(cache))
    source = built_by(tmp_path / "toy-1.0", f"open({str(log)!r}, 'a').write('built ')").path
    (source / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    with tarfile.open(tmp_path / "toy-1.0.tar.gz", "w:gz") as archive:
        archive.add(source, "toy-1.0")
    arms = Arms(side(tmp_path / "a", "3.0"), side(tmp_path / "b", "2.0"))
    install = (f"--no-index --find-links {tmp_path} toy==1.0",)

    found = with_environments(arms, NONE, install, workshop(tmp_path / "work"), print)

    assert (version(found.base.python), version(found.head.python)) == ("1.0", "1.0")
    assert log.read_text() == "built "
    assert list(cache.rglob("*.whl"))


def test_a_build_finds_what_it_needs_of_the_users_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git's settings of both files, passwords of package indexes, tool chains, by their names."""
    home = tmp_path / "user"
    (home / ".config" / "git").mkdir(parents=True)
    (home / ".cargo").mkdir()
    (home / ".netrc").write_text("")
    (home / ".gitconfig").write_text("[user]\n\tname = Somebody\n")
    (home / ".config" / "git" / "config").write_text("[user]\n\tname = No\n\temail = some@body\n")
    monkeypatch.setenv("HOME", str(home))
    for name in ("CARGO_HOME", "GIT_CONFIG_GLOBAL", "NETRC", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RUSTUP_HOME", "/elsewhere")

    found = build_variables(tmp_path / "home")

    assert (found["CARGO_HOME"], found["RUSTUP_HOME"]) == (str(home / ".cargo"), "/elsewhere")
    assert found["NETRC"] == str(home / ".netrc")
    assert found["HOME"] == str(tmp_path / "home")
    asked = ["git", "config", "--get-regexp", "^user"]
    said = subprocess.run(asked, env=found, capture_output=True, text=True, cwd=tmp_path).stdout
    assert "user.email some@body" in said
    assert said.splitlines()[-1] == "user.name Somebody"


STARTS = "subprocess.Popen(['sleep', '600'], start_new_session=True, {quiet})"
QUIET = "stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL"


def test_what_a_build_starts_ends_with_it(tmp_path: Path) -> None:
    """A server that a compiler leaves behind, in a session of its own."""
    pid = tmp_path / "pid"
    action = f"open({str(pid)!r}, 'w').write(str({STARTS.format(quiet=QUIET)}.pid))"
    arms = Arms(*(built_by(tmp_path / name, action) for name in ("base", "head")))

    with_environments(arms, NONE, ("--no-index .",), workshop(tmp_path / "work"), print)

    assert not alive(int(pid.read_text()))


def test_a_build_that_hangs_is_stopped(tmp_path: Path) -> None:
    """After the time that a pair may take, in one sentence; with all that it started."""
    pid = tmp_path / "pid"
    action = f"open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    arms = Arms(*(built_by(tmp_path / name, action) for name in ("base", "head")))
    shop = workshop(tmp_path / "work", timeout_s=25)

    with pytest.raises(EfficarchError) as error:
        with_environments(arms, NONE, ("--no-index .",), shop, print)

    assert "environment of the base took more than 25 s and was stopped" in str(error.value)
    assert "--timeout" in str(error.value)
    assert not alive(int(pid.read_text()))


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
    base, head = (side(tmp_path / name, "1.0").project for name in "ab")
    (base / "pyproject.toml").write_text(before)
    (head / "pyproject.toml").write_text(after)

    assert differing(base, head) == differ
