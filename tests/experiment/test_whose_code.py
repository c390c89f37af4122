"""Which code was measured: a side that ran somebody else's is not compared, and it is named."""

import json
import sys
from pathlib import Path

import pytest

from tests.experiment.scratch import (
    BENCHMARK,
    PROJECT,
    SETUP,
    SLOWER,
    STEP,
    commit,
    finished,
    git,
    out_of,
    started,
    strangers,
)

pytestmark = pytest.mark.usefixtures("few_plugins")

FINDS = "import pathlib, sys\nsys.path.insert(0, {folder!r})\n"
"""Puts a folder in front of everything else, as some conftest files do."""


def verdicts(repo: Path) -> dict[str, tuple[str, str]]:
    """Return outcome and reasons by cell."""
    data = json.loads((out_of(repo) / "verdicts.json").read_text())["verdicts"]
    return {v["cell_id"]: (v["outcome"], "; ".join(v["reasons"])) for v in data}


def test_code_of_the_checkout(alone: Path) -> None:
    """Both sides import the user's own copy: a slower head would look equal."""
    repo = strangers(alone / "flat")
    conftest = FINDS.format(folder=str(repo))
    git(repo, "checkout", "--quiet", "HEAD~1")
    base = commit(repo, "base", {"conftest.py": conftest})
    commit(repo, "slower", {"acclib/__init__.py": SLOWER})

    code, output, _errors = finished(repo, "--base", base, "--head", "HEAD")

    assert code == 4
    assert "ran code that is not its own" in output
    assert f"acclib from {repo}/acclib/__init__.py (the checkout)" in output


def test_code_of_another_checkout(alone: Path) -> None:
    """Of the same repository: continuous integration has one for the judge."""
    repo = strangers(alone / "flat")
    commit(repo, "borrows", {"conftest.py": FINDS.format(folder=str(repo))})
    judge = alone / "judge"
    git(repo, "worktree", "add", "--quiet", "--detach", str(judge), "HEAD~1")

    code, output, _errors = finished(judge, "--base", "HEAD", "--head", "main")

    assert code == 4
    assert f"acclib from {repo}/acclib/__init__.py (the checkout)" in output


def test_code_of_the_other_side(alone: Path) -> None:
    """A head that looks for the base's tree next to its own."""
    repo = strangers(alone / "flat")
    finds = (
        "import pathlib, sys\n"
        "here = pathlib.Path(__file__).parent\n"
        "sys.path.insert(0, str(here.parent / 'base'))\n"
    )
    commit(repo, "borrows", {"conftest.py": finds})

    code, output, _errors = finished(repo, "--base", "HEAD~1", "--head", "HEAD")

    assert code == 4
    assert "(the tree of the base)" in output


def test_a_library_of_the_checkout(alone: Path) -> None:
    """One that no import names: it is mapped into memory."""
    library = next(Path(sys.base_prefix).rglob("lib-dynload/_json*.so"))
    files = {
        "acclib.py": "import ctypes\n"
        f"LIBRARY = ctypes.CDLL({str(alone / 'ctypes' / 'fast.so')!r})\n\n\n{STEP}",
        "benchmarks/test_step.py": BENCHMARK,
        "pyproject.toml": PROJECT,
        ".gitignore": "*.so\n",
    }
    repo = started(alone / "ctypes", files)
    (repo / "fast.so").write_bytes(library.read_bytes())

    code, output, _errors = finished(repo, "--base", "HEAD")

    assert code == 4
    assert f"{repo}/fast.so (the checkout)" in output


def test_a_copy_that_was_installed_once(alone: Path) -> None:
    """Both sides would run it; that it is not the checkout's makes it no better."""
    repo = strangers(alone / "flat", "lib/acclib/__init__.py")
    packages = alone / "packages"
    (packages / "acclib").mkdir(parents=True)
    (packages / "acclib" / "__init__.py").write_text(STEP)
    info = packages / "acclib-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acclib\nVersion: 0.1\n")
    (info / "RECORD").write_text("acclib/__init__.py,,\n")

    code, output, _errors = finished(
        repo, "--base", "HEAD~1", "--head", "HEAD", PYTHONPATH=str(packages)
    )

    assert code == 4
    assert "a copy that was installed once, for neither side" in output


@pytest.mark.parametrize(
    ("code", "settings"),
    [
        ("src/acclib/__init__.py", ""),
        ("lib/acclib/__init__.py", '[tool.setuptools.package-dir]\n"" = "lib"\n'),
        ("lib/acclib/__init__.py", '[tool.setuptools.packages.find]\nwhere = ["lib"]\n'),
        (
            "python/acclib/__init__.py",
            '[tool.hatch.build.targets.wheel]\npackages = ["python/acclib"]\n',
        ),
        (
            "code/acclib/__init__.py",
            '[tool.poetry]\npackages = [{ include = "acclib", from = "code" }]\n',
        ),
    ],
    ids=["src", "package-dir", "find", "hatch", "poetry"],
)
def test_the_projects_own_layout(alone: Path, code: str, settings: str) -> None:
    """Each side finds its code where the project says that it lies, installed or not."""
    repo = strangers(alone / "laid-out", code, settings)

    assert finished(repo, "--base", "HEAD~1", "--head", "HEAD")[0] == 1


def test_a_path_into_the_checkout_means_the_side(alone: Path) -> None:
    """As continuous integration sets it: PYTHONPATH names a folder of the checkout."""
    repo = strangers(alone / "flat", "deep/inside/acclib/__init__.py")

    code, output, _errors = finished(
        repo, "--base", "HEAD~1", "--head", "HEAD", PYTHONPATH=f"{repo}/deep/inside"
    )

    assert code == 1, output
    assert "FAIL" in output


def test_code_that_is_written_into_a_tree(alone: Path) -> None:
    """Measured code that changes the base is no measurement of it."""
    repo = strangers(alone / "flat")
    writes = (
        "import pathlib\n"
        "other = pathlib.Path(__file__).resolve().parents[2] / 'base' / 'acclib' / '__init__.py'\n"
        "other.write_text(other.read_text() + '# slower')\n\n\n"
    )
    git(repo, "checkout", "--quiet", "HEAD~1")
    commit(repo, "writes", {"acclib/__init__.py": writes + STEP})

    code, _output, errors = finished(repo, "--base", "HEAD~1", "--head", "HEAD")

    assert code == 2
    assert "changed the tree of the base (acclib/__init__.py)" in errors


def test_files_that_are_no_code_may_be_written(alone: Path) -> None:
    """Benchmarks leave results beside them."""
    repo = strangers(alone / "flat")
    writes = "import pathlib\npathlib.Path('results.csv').write_text('1,2')\n\n\n"
    git(repo, "checkout", "--quiet", "HEAD~1")
    commit(repo, "writes", {"acclib/__init__.py": writes + STEP})

    assert finished(repo, "--base", "HEAD~1", "--head", "HEAD")[0] == 0


CACHES = """
import os, pathlib


def step():
    cache = pathlib.Path.home() / ".cache" / "acclib"
    other = pathlib.Path(os.environ["TMPDIR"]) / "acclib"
    if cache.exists() or other.exists():
        return 0
    return sum(range(160_000))


def remember():
    for folder in (pathlib.Path.home() / ".cache", pathlib.Path(os.environ["TMPDIR"])):
        folder.mkdir(exist_ok=True)
        (folder / "acclib").touch()
"""


def test_what_one_side_caches_the_other_does_not_find(alone: Path) -> None:
    """Neither in its home nor in its temporary folder: the head would look as fast as the base."""
    home = alone / "home"
    home.mkdir()
    files = {
        "acclib.py": CACHES + "\n\nremember()\n",
        "benchmarks/test_step.py": BENCHMARK,
        "pyproject.toml": PROJECT,
    }
    repo = started(alone / "caches", files)
    commit(repo, "forgets to write the cache", {"acclib.py": CACHES})

    assert finished(repo, "--base", "HEAD~1", "--head", "HEAD", HOME=str(home))[0] == 1
    assert list(home.iterdir()) == []


BUILT = """
from setuptools import Extension, setup

setup(ext_modules=[Extension("acclib.fast", ["acclib/fast.c"])], packages=["acclib"])
"""

SOURCE = """
#include <Python.h>

static PyObject *step(PyObject *self, PyObject *ignored) {
    double sum = 0;
    for (volatile long i = 0; i < STEPS; i++) sum += i;
    return PyFloat_FromDouble(sum);
}
static PyMethodDef methods[] = {{"step", step, METH_NOARGS, ""}, {NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "fast", "", -1, methods};
PyMODINIT_FUNC PyInit_fast(void) { return PyModule_Create(&module); }
"""


def compiled(path: Path, install: str) -> Path:
    """Create a project with an extension in C, slower in its second commit."""
    policy = f"install = [{install!r}]\n" if install else ""
    files = {
        "acclib/__init__.py": "try:\n    from acclib.fast import step\nexcept ImportError:\n"
        "    def step():\n        return 0\n",
        "acclib/fast.c": SOURCE.replace("STEPS", "300000"),
        "benchmarks/__init__.py": "",
        "benchmarks/test_step.py": BENCHMARK,
        "setup.py": BUILT,
        "pyproject.toml": SETUP + PROJECT + policy,
        ".gitignore": "*.so\nbuild/\n*.egg-info/\n",
    }
    repo = started(path, files)
    commit(repo, "slower", {"acclib/fast.c": SOURCE.replace("STEPS", "2400000")})
    return repo


def test_compiled_parts_are_built_for_each_side(alone: Path) -> None:
    """In the side's own tree, by what the policy says; the checkout stays unbuilt."""
    repo = compiled(alone / "ext", "--no-build-isolation --no-deps -e .")

    code, output, errors = finished(repo, "--base", "HEAD~1", "--head", "HEAD")

    assert (code, errors) == (1, "")
    assert "this project has to be built (ext_modules in setup.py)" in output
    assert "FAIL benchmarks/test_step.py::test_step" in output
    assert git(repo, "status", "--porcelain", "--ignored") == "!! reports/"


def test_what_a_build_leaves_in_the_tree_is_its_own(alone: Path) -> None:
    """Also where git does not ignore it; what it writes into the suites is said."""
    repo = compiled(alone / "ext", "--no-build-isolation --no-deps -e .")
    writes = "open('benchmarks/conftest.py', 'w').write('# ours')\n"
    setup = (repo / "setup.py").read_text()
    commit(repo, "ignores nothing", {".gitignore": "", "setup.py": setup + writes})
    commit(repo, "the same")

    code, output, errors = finished(repo, "--base", "HEAD~1", "--head", "HEAD")

    assert (code, errors) == (0, "")
    for side in ("base", "head"):
        said = f"the build of the {side} writes what measures it: benchmarks/conftest.py"
        assert said in output


def test_a_tree_that_hides_what_was_built_is_no_measurement(alone: Path) -> None:
    """Installed beside a tree whose own folder comes first, and lacks the compiled parts."""
    repo = compiled(alone / "ext", "--no-build-isolation --no-deps .")

    code, output, _errors = finished(repo, "--base", "HEAD~1", "--head", "HEAD")

    assert code == 4
    assert "without its compiled parts" in output


def test_a_project_that_has_to_be_built_is_not_measured_unbuilt(alone: Path) -> None:
    """It says so, and what to write where."""
    repo = compiled(alone / "ext", "")

    code, _output, errors = finished(repo, "--base", "HEAD")

    assert code == 2
    assert "this project has to be built (ext_modules in setup.py)" in errors
    assert 'a string a call of pip install, ["--no-deps -e ."]' in errors
