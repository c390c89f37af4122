"""Claims about the environments of the two sides of a gate; real ones, with pip."""

import subprocess
from pathlib import Path
from zipfile import ZipFile

import pytest

from efficarch.errors import EfficarchError
from efficarch.experiment.dependencies import differing
from efficarch.experiment.environments import with_environments
from efficarch.experiment.worktree import Arms, Tree

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
    return Tree(folder, "commit", "tree", PYTHON)


def printed(python: Path, program: str) -> str:
    """Return what a program prints in an environment."""
    command = [str(python), "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def version(python: Path) -> str:
    """Return the version that an environment holds."""
    return printed(python, "import toy; print(toy.VERSION)")


def test_sides_with_other_dependencies_have_what_they_need(tmp_path: Path) -> None:
    """Each its own, and nothing of what this process sees."""
    arms = Arms(side(tmp_path / "a", "1.0"), side(tmp_path / "b", "2.0"))
    said: list[str] = []

    found = with_environments(arms, NONE, INSTALL, tmp_path / "work", said.append)

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

    found = with_environments(arms, NONE, INSTALL, tmp_path / "work", said.append)

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

    assert with_environments(arms, (PYTHON, PYTHON), INSTALL, work, print) == arms
    assert with_environments(same, NONE, INSTALL, work, print) == same
    assert not work.exists()


def test_what_cannot_be_installed_is_said(tmp_path: Path) -> None:
    """One sentence with what pip said last; and without a way to install, how to give one."""
    arms = Arms(side(tmp_path / "a", "1.0"), side(tmp_path / "b", "2.0"))
    missing = ("--no-index missing-package",)

    with pytest.raises(EfficarchError, match=r"pip install .*missing-package.* failed: .*found"):
        with_environments(arms, NONE, missing, tmp_path / "work", print)
    with pytest.raises(EfficarchError, match="say how to build one: install in the policy"):
        with_environments(arms, NONE, (), tmp_path / "other", print)


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
