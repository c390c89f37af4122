"""Claims about what a checkout says of its project."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from efficarch.errors import EfficarchError
from efficarch.experiment.dependencies import FILES, dependencies, differing
from efficarch.experiment.project import (
    SETTINGS,
    check_settings,
    compiled_parts,
    distribution_name,
    generated_file,
    import_folders,
    project_folder,
    pytest_settings,
)


def write(folder: Path, files: dict[str, str]) -> Path:
    """Write files into a folder and return it."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


LAYOUTS = {
    "flat": ({"acclib/__init__.py": ""}, ["."]),
    "src": ({"src/acclib/__init__.py": ""}, ["src", "."]),
    "a package called src": ({"src/__init__.py": ""}, ["."]),
    "setuptools": (
        {
            "lib/a/__init__.py": "",
            "pyproject.toml": '[tool.setuptools]\npackage-dir = {"" = "lib"}',
        },
        ["lib", "."],
    ),
    "setup.cfg": (
        {"lib/a/__init__.py": "", "setup.cfg": "[options]\npackage_dir =\n    =lib\n"},
        ["lib", "."],
    ),
    "setup.cfg, find": (
        {"lib/a/__init__.py": "", "setup.cfg": "[options.packages.find]\nwhere = lib\n"},
        ["lib", "."],
    ),
    "setup.py": (
        {
            "lib/a/__init__.py": "",
            "setup.py": "from setuptools import setup\nN = 1\nsetup(package_dir={'': 'lib'}, v=N)",
        },
        ["lib", "."],
    ),
    "setup.py that is none": ({"src/a.py": "", "setup.py": "setup(package_dir=\n"}, ["src", "."]),
    "pdm": (
        {"lib/a/__init__.py": "", "pyproject.toml": '[tool.pdm.build]\npackage-dir = "lib"'},
        ["lib", "."],
    ),
    "maturin": (
        {"python/a/__init__.py": "", "pyproject.toml": '[tool.maturin]\npython-source = "python"'},
        ["python", "."],
    ),
    "uv": (
        {
            "lib/a/__init__.py": "",
            "pyproject.toml": '[tool.uv.build-backend]\nmodule-root = "lib"',
        },
        ["lib", "."],
    ),
    "hatch, sources": (
        {
            "lib/a/__init__.py": "",
            "pyproject.toml": '[tool.hatch.build.targets.wheel]\nsources = ["lib"]',
        },
        ["lib", "."],
    ),
    "outside": (
        {"pyproject.toml": '[tool.setuptools.packages.find]\nwhere = ["../elsewhere", "/tmp"]'},
        ["."],
    ),
    "nonsense": (
        {"pyproject.toml": "tool = 5\n[project", "setup.cfg": "no section\n", "src/a.py": ""},
        ["src", "."],
    ),
    "of wrong types": (
        {"pyproject.toml": "tool = 5\nproject = [1]\n", "src/a.py": ""},
        ["src", "."],
    ),
}


@pytest.mark.parametrize(("files", "folders"), LAYOUTS.values(), ids=LAYOUTS)
def test_code_is_looked_for_where_the_project_has_it(
    tmp_path: Path, files: dict[str, str], folders: list[str]
) -> None:
    """Inside the project, and last in its own folder."""
    project = write(tmp_path / "project", files)

    found = import_folders(project)

    assert [path.relative_to(project).as_posix() for path in found] == folders


NAMES = {
    '[project]\nname = "a-b"\n': "a-b",
    '[tool.poetry]\nname = "c"\n': "c",
    "[project]\nname = 5\n": None,
    "": None,
}


@pytest.mark.parametrize(("text", "name"), NAMES.items())
def test_the_name_of_a_distribution(tmp_path: Path, text: str, name: str | None) -> None:
    """By which what was installed of it is known."""
    write(tmp_path, {"pyproject.toml": text})

    assert distribution_name(tmp_path) == name


def test_the_name_in_an_older_project(tmp_path: Path) -> None:
    """In setup.cfg or setup.py, and none where it is only known to a program."""
    assert distribution_name(write(tmp_path, {"setup.cfg": "[metadata]\nname = old\n"})) == "old"
    scripts = {
        "import setuptools\nsetuptools.setup(name='x')": "x",
        "setup(name=NAME)": None,
        "setup(**told)": None,
        "print('no setup')": None,
    }
    found = [
        distribution_name(write(tmp_path / str(n), {"setup.py": text}))
        for n, text in enumerate(scripts)
    ]
    assert found == list(scripts.values())


COMPILED = {
    "maturin": ({"pyproject.toml": '[build-system]\nbuild-backend = "maturin"'}, "maturin"),
    "scikit-build": (
        {"pyproject.toml": '[build-system]\nbuild-backend = "scikit_build_core.build"'},
        "scikit_build_core",
    ),
    "an unknown one": (
        {"pyproject.toml": '[build-system]\nbuild-backend = "py_build_cmake.build"'},
        "py_build_cmake",
    ),
    "scikit-build, classic": ({"setup.py": "from skbuild import setup"}, "skbuild in setup.py"),
    "cmake": (
        {"pyproject.toml": '[build-system]\nrequires = ["setuptools", "cmake>=3.20"]'},
        "cmake in build-system.requires",
    ),
    "setuptools-rust": (
        {"pyproject.toml": '[build-system]\nrequires = ["setuptools", "setuptools-rust"]'},
        "setuptools-rust in build-system.requires",
    ),
    "pdm": (
        {"pyproject.toml": "[tool.pdm.build]\nrun-setuptools = true\n"},
        "a build script of pdm",
    ),
    "pdm, by its file": ({"pdm_build.py": ""}, "a build script of pdm"),
    "cython": (
        {"pyproject.toml": '[build-system]\nrequires = ["setuptools", "Cython>=3"]'},
        "cython in build-system.requires",
    ),
    "torch": (
        {"pyproject.toml": '[build-system]\nrequires = ["setuptools", "torch==2.11"]'},
        "torch in build-system.requires",
    ),
    "ext-modules": (
        {"pyproject.toml": '[tool.setuptools]\next-modules = [{name = "a"}]'},
        "ext-modules in pyproject.toml",
    ),
    "setup.py": ({"setup.py": "setup(ext_modules=[e])"}, "ext_modules in setup.py"),
    "CUDA": ({"setup.py": "CUDAExtension('a', ['a.cu'])"}, "CUDAExtension in setup.py"),
    "hatch": ({"pyproject.toml": "[tool.hatch.build.hooks.cython]\n"}, "a build hook of hatch"),
    "poetry": ({"pyproject.toml": '[tool.poetry.build]\nscript = "b.py"'}, "a build script"),
    "pure": (
        {
            "pyproject.toml": '[build-system]\nrequires = ["setuptools", "cythonize-not"]',
            "setup.py": "setup(name='extension')",
        },
        None,
    ),
    "pure backends": (
        {"pyproject.toml": '[build-system]\nbuild-backend = "setuptools.build_meta:__legacy__"'},
        None,
    ),
    "poetry, pure": (
        {"pyproject.toml": '[build-system]\nbuild-backend = "poetry.core.masonry.api"'},
        None,
    ),
    "nothing": ({}, None),
}


@pytest.mark.parametrize(("files", "words"), COMPILED.values(), ids=COMPILED)
def test_what_has_to_be_compiled_is_seen(
    tmp_path: Path, files: dict[str, str], words: str | None
) -> None:
    """By how the project says that it is built, in words that name it."""
    found = compiled_parts(write(tmp_path, files))

    assert (found is None) if words is None else (found is not None and words in found)


def test_a_link_in_a_circle_is_no_folder(tmp_path: Path) -> None:
    """Neither as ``src`` nor where the project names it."""
    write(tmp_path, {"pyproject.toml": '[tool.setuptools.package-dir]\n"" = "lib"\n'})
    (tmp_path / "src").symlink_to("src")
    (tmp_path / "lib").symlink_to("src")

    assert import_folders(tmp_path) == [tmp_path]


GENERATED = {
    "setuptools_scm": '[tool.setuptools_scm]\nversion_file = "a/_version.py"\n',
    "setuptools_scm, before": '[tool.setuptools_scm]\nwrite_to = "a/_version.py"\n',
    "hatch-vcs": '[tool.hatch.build.hooks.vcs]\nversion-file = "a/_version.py"\n',
    "pdm": '[tool.pdm.version]\nsource = "scm"\nwrite_to = "a/_version.py"\n',
}


@pytest.mark.parametrize("text", GENERATED.values(), ids=GENERATED)
def test_a_version_that_a_build_writes(tmp_path: Path, text: str) -> None:
    """Where the checkout lacks it."""
    project = write(tmp_path, {"pyproject.toml": text, "a/__init__.py": ""})

    assert (generated_file(project) or "").startswith("a/_version.py, which ")
    write(tmp_path, {"a/_version.py": ""})
    assert generated_file(project) is None


def test_a_project_is_the_nearest_folder_that_says_so(tmp_path: Path) -> None:
    """Up to the top of the repository and not beyond it."""
    write(tmp_path, {"pyproject.toml": "", "top/a/setup.py": "", "top/a/b/c/x": "", "top/d/x": ""})
    top = tmp_path / "top"

    assert project_folder(top, top / "a" / "b" / "c") == top / "a"
    assert project_folder(top, top / "d") == top
    assert project_folder(top, tmp_path / "elsewhere") == top


def test_only_what_is_said_to_pytest_counts(tmp_path: Path) -> None:
    """Each file with its own section."""
    files = {
        "pytest.ini": "[pytest]\naddopts = -x\n",
        "tox.ini": "[tox]\nenv_list = a\n[pytest]\nminversion = 8\n",
        "setup.cfg": "[metadata]\nname = a\n",
        "pyproject.toml": "[tool.ruff]\nline-length = 80\n",
    }

    assert pytest_settings(write(tmp_path, files)) == {
        "pytest.ini": files["pytest.ini"],
        "tox.ini": {"minversion": "8"},
    }


def device(path: Path) -> None:
    """Link to what has no end."""
    path.symlink_to("/dev/zero")


def pipe(path: Path) -> None:
    """Link to what nobody writes into."""
    os.mkfifo(path.parent.parent / "pipe")
    path.symlink_to("../pipe")


def outside(path: Path) -> None:
    """Link to a file beside the tree."""
    (path.parent.parent / "secret").write_text("[pytest]\naddopts = -x\n")
    path.symlink_to("../secret")


def large(path: Path) -> None:
    """Make a file of a GB, of which nothing is on the disk."""
    with path.open("wb") as file:
        file.truncate(2**30)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such files")
@pytest.mark.parametrize("make", [device, pipe, outside, large])
def test_what_has_no_end_is_not_read_for_settings(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    """Nor what lies elsewhere; whatever file of the settings it is, the gate says so."""
    for name in SETTINGS:
        project = tmp_path / name / "project"
        project.mkdir(parents=True)
        make(project / name)

        assert compiled_parts(project) is None
        assert distribution_name(project) is None
        assert import_folders(project) == [project]
        assert set(pytest_settings(project)) <= ({name} if make is outside else set())
        assert differing(project, project) == []
        with pytest.raises(EfficarchError) as caught:
            check_settings(project, project, "head")
        assert str(caught.value).startswith(f"{name} of the head is ")
    assert set(FILES) <= set(SETTINGS)


def test_settings_may_be_links_inside_the_tree(tmp_path: Path) -> None:
    """As in a repository of several projects; what is not there is no setting."""
    tree = write(tmp_path, {"common/requirements.txt": "torch", "a/pyproject.toml": ""})
    (tree / "a" / "requirements.txt").symlink_to("../common/requirements.txt")
    (tree / "a" / "setup.cfg").symlink_to("setup.cfg")
    (tree / "a" / "setup.py").symlink_to("nowhere")

    check_settings(tree / "a", tree, "head")

    assert dependencies(tree / "a")["requirements.txt"] == "torch"


DEEP = "[" * 100_000
ABSURD = {
    "a folder with a null": {"pyproject.toml": '[tool.setuptools]\npackage-dir = {"" = "\\u0000"}'},
    "a folder with a long name": {
        "pyproject.toml": f'[tool.setuptools]\npackage-dir = {{"" = "{"x" * 5000}"}}'
    },
    "deep TOML": {"pyproject.toml": f"x = {DEEP}"},
    "deep Python": {"setup.py": f"setup(name={DEEP}"},
    "deep signs": {"setup.py": f"setup(name={'-' * 100_000}1)"},
}


@pytest.mark.parametrize("files", ABSURD.values(), ids=ABSURD)
def test_absurd_settings_say_nothing(tmp_path: Path, files: dict[str, str]) -> None:
    """They are the project's fault, and no error of the judge."""
    write(tmp_path, files)
    (tmp_path / "src").symlink_to("src")

    assert import_folders(tmp_path) == [tmp_path]
    assert distribution_name(tmp_path) is None
    assert compiled_parts(tmp_path) is None
    assert differing(tmp_path, tmp_path / "other") == sorted(files)
