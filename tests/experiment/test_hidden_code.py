"""Whose code was measured, where the process itself shows nothing of it."""

import json
import os
from pathlib import Path

import pytest

from tests.experiment.scratch import (
    BENCHMARK,
    PROJECT,
    SETUP,
    SLOWER,
    STEP,
    commit,
    environment,
    finished,
    git,
    printed,
    started,
    strangers,
)

pytestmark = pytest.mark.usefixtures("few_plugins")

BY_COMMAND = """
import os, pathlib, subprocess, sys


def test_command(benchmark):
    command = [sys.executable, {options} "-c", "import acclib; [acclib.step() for _ in range(200)]"]
    benchmark.pedantic(lambda: subprocess.run(command, check=True, {variables}), rounds=3)
"""


@pytest.mark.parametrize(
    ("options", "variables", "code"),
    [
        ('"-I",', "", 4),
        ('"-sE",', "", 4),
        ("", "env={'PATH': os.environ['PATH']}", 4),
        ("", "", 1),
        ("", "env={'PYTHONPATH': str(pathlib.Path(__file__).parents[1] / 'src')}", 1),
        ("", "env={}, cwd=pathlib.Path(__file__).parents[1] / 'src'", 1),
        ("", "env={'PYTHONPATH': str(pathlib.Path(__file__).parent)}", 4),
    ],
    ids=[
        "isolated",
        "without variables",
        "other variables",
        "as it is",
        "the side's own path",
        "in the side's own folder",
        "another path of the side's",
    ],
)
def test_a_command_of_an_installed_project(
    editable: tuple[Path, Path], options: str, variables: str, code: int
) -> None:
    """A child that does not see the side's path runs the installed code, whatever its parent."""
    repo, python = editable
    git(repo, "reset", "--quiet", "--hard", "HEAD~1")
    suite = BY_COMMAND.format(options=options, variables=variables)
    git(repo, "rm", "--quiet", "benchmarks/test_step.py")
    commit(repo, "by a command", {"benchmarks/test_command.py": suite})
    commit(repo, "slower", {"src/acclib/__init__.py": SLOWER})

    found, output, _errors = finished(repo, "--base", "HEAD~1", "--head", "HEAD", python=python)

    assert found == code, output
    assert ("a process that does not see this side's path" in output) == (code == 4)


def test_a_package_that_is_kept_in_the_checkout(alone: Path) -> None:
    """As a file to install from, where no index can be reached: it is the same for both sides."""
    repo = strangers(alone / "flat")
    imports = BENCHMARK.replace("from acclib", "import theirs\nfrom acclib")
    commit(repo, "uses it", {"benchmarks/test_step.py": imports, "wheels/theirs-1.whl": "x"})
    python = environment(alone / "venv")
    installed(site_packages(python), "theirs", "")
    origin = {"url": (repo / "wheels" / "theirs-1.whl").as_uri(), "archive_info": {}}
    info = site_packages(python) / "theirs-1.dist-info"
    (info / "direct_url.json").write_text(json.dumps(origin))

    code, output, _errors = finished(repo, "--base", "HEAD", python=python)

    assert code == 0, output


def test_a_command_in_the_checkout(alone: Path) -> None:
    """Python looks for modules in the folder that it is started in."""
    repo = strangers(alone / "flat")
    suite = BY_COMMAND.format(options="", variables=f"cwd={str(repo)!r}")
    commit(repo, "by a command", {"benchmarks/test_command.py": suite})

    code, output, _errors = finished(repo, "--base", "HEAD", "-k", "command")

    assert code == 4
    assert "started in the checkout" in output


FINDER = """
import sys, importlib.util


class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "acclib":
            folder = {folder!r}
            return importlib.util.spec_from_file_location(
                name, folder + "/__init__.py", submodule_search_locations=[folder]
            )


sys.meta_path.insert(0, Finder)
"""


def test_another_clone(alone: Path) -> None:
    """Installed editable by a finder that comes first: neither side's code, nor the checkout's."""
    repo = strangers(alone / "flat")
    clone = alone / "clone"
    git(alone, "clone", "--quiet", str(repo), str(clone))
    python = environment(alone / "venv")
    packages = site_packages(python)
    (packages / "acclib_finder.py").write_text(FINDER.format(folder=str(clone / "acclib")))
    (packages / "acclib.pth").write_text("import acclib_finder\n")

    code, output, _errors = finished(repo, "--base", "HEAD~1", "--head", "HEAD", python=python)

    assert code == 4
    assert f"acclib from {clone}/acclib/__init__.py (not the tree's, which is in .)" in output


@pytest.mark.parametrize("where", ["vendored/_six.py", "acclib/_vendor/six/__init__.py"])
def test_packages_of_others_in_the_tree(alone: Path, where: str) -> None:
    """What a project keeps a copy of is not the project's code where the installed one runs."""
    repo = strangers(alone / "flat")
    copy = "import pluggy  # noqa\n"
    files = {where: copy, "acclib/_vendor/pluggy/__init__.py": copy, "iniconfig/data.txt": "x\n"}
    commit(repo, "vendors", files)

    assert finished(repo, "--base", "HEAD~1")[0] == 0


REPLACES_ITSELF = """
import sys


class Library:
    @staticmethod
    def step():
        return sum(range({size}))


sys.modules[__name__] = Library()
"""


def test_a_module_that_hides_its_file(alone: Path) -> None:
    """It puts an object in its own place; what was executed is known all the same."""
    files = {
        "lib/acclib.py": REPLACES_ITSELF.format(size="20_000"),
        "benchmarks/test_step.py": BENCHMARK,
        "pyproject.toml": PROJECT,
    }
    repo = started(alone / "lazy", files)
    commit(repo, "slower", {"lib/acclib.py": REPLACES_ITSELF.format(size="160_000")})
    python = environment(alone / "venv")
    packages = site_packages(python)
    (packages / "acclib.pth").write_text(f"{repo}/lib\n")

    code, output, _errors = finished(repo, "--base", "HEAD~1", "--head", "HEAD", python=python)

    assert code == 4
    assert f"{repo}/lib/acclib.py (the checkout)" in output


BY_VARIABLE = """
import json, os, runpy

STEP = runpy.run_path(os.environ["WORKSPACE"] + "/scripts/step.py")["step"]
SIZE = json.load(open(os.environ["SETTINGS"]))["size"]


def step():
    assert open(os.environ["DATA"] + "/data.txt").read() == "data"
    assert os.environ["ADDRESS"].startswith("sqlite:////")
    return STEP(SIZE)
"""


@pytest.mark.parametrize("slower", ["script", "settings"])
def test_variables_that_lead_into_the_checkout(alone: Path, slower: str) -> None:
    """As continuous integration sets them: they mean the side's; what git ignores stays."""
    script = "def step(size):\n    return sum(range(size))\n"
    files = {
        "acclib/__init__.py": BY_VARIABLE,
        "scripts/step.py": script,
        "settings.json": '{"size": 20000}\n',
        "benchmarks/test_step.py": BENCHMARK,
        "pyproject.toml": PROJECT,
        ".gitignore": "data.txt\n",
        "data/README.md": "What lies here is too large for git.\n",
    }
    repo = started(alone / "variables", files)
    (repo / "data" / "data.txt").write_text("data")
    changed = {
        "script": {"scripts/step.py": script.replace("size)", "8 * size)", 2)},
        "settings": {"settings.json": '{"size": 160000}\n'},
    }
    commit(repo, "slower", changed[slower])
    variables = {
        "WORKSPACE": str(repo),
        "SETTINGS": f"{repo}/settings.json",
        "DATA": f"{repo}/data",
        "ADDRESS": f"sqlite:///{repo}/settings.json",
    }

    code, output, _errors = finished(repo, "--base", "HEAD~1", "--head", "HEAD", **variables)

    assert code == 1, output


def test_a_file_of_the_checkout(alone: Path) -> None:
    """Read by its full path in place of the side's own."""
    repo = alone / "flat"
    step = f"import json\nSIZE = json.load(open({str(repo / 'settings.json')!r}))['size']\n\n\n"
    files = {
        "acclib/__init__.py": step + STEP.replace("20_000", "SIZE"),
        "settings.json": '{"size": 20000}\n',
        "benchmarks/test_step.py": BENCHMARK,
        "pyproject.toml": PROJECT,
    }
    started(repo, files)
    commit(repo, "slower", {"settings.json": '{"size": 160000}\n'})

    code, output, _errors = finished(repo, "--base", "HEAD~1", "--head", "HEAD")

    assert code == 4
    assert f"settings.json from {repo}/settings.json (the checkout)" in output


SETUP_PY = """
from setuptools import find_packages, setup

setup(name="acclib", version="0.1", package_dir={"": "lib"}, packages=find_packages("lib"))
"""


def test_an_older_project(alone: Path) -> None:
    """Its layout stands in setup.py, and a copy of it was installed."""
    files = {
        "setup.py": SETUP_PY,
        "lib/acclib/__init__.py": STEP,
        "benchmarks/test_step.py": BENCHMARK,
        "pyproject.toml": PROJECT,
    }
    repo = started(alone / "older", files)
    commit(repo, "slower", {"lib/acclib/__init__.py": SLOWER})
    python = environment(alone / "venv")
    packages = site_packages(python)
    (packages / "acclib").mkdir()
    (packages / "acclib" / "__init__.py").write_text(STEP)

    assert finished(repo, "--base", "HEAD~1", "--head", "HEAD", python=python)[0] == 1


CACHED = """
import os, pathlib

CACHE = pathlib.Path({folder}) / "acclib.cache"


def step():
    if CACHE.exists():
        return CACHE.read_text()
    value = sum(range(160_000))
    CACHE.write_text(str(value))
    return value
"""


@pytest.mark.parametrize("named", [True, False], ids=["by a variable", "by its full path"])
def test_a_cache_outside_of_home(alone: Path, named: bool) -> None:
    """A variable's folder is the side's own; what neither side owns is said."""
    shared = alone / "shared"
    shared.mkdir()
    folder = 'os.environ["XDG_RUNTIME_DIR"]' if named else repr(str(shared))
    cached = CACHED.format(folder=folder)
    files = {
        "acclib/__init__.py": cached,
        "benchmarks/test_step.py": BENCHMARK,
        "pyproject.toml": SETUP + PROJECT,
    }
    repo = started(alone / "cached", files)
    forgets = cached.replace("    CACHE.write_text(str(value))\n", "")
    commit(repo, "forgets to write", {"acclib/__init__.py": forgets})

    code, output, _errors = finished(
        repo, "--base", "HEAD~1", "--head", "HEAD", XDG_RUNTIME_DIR=str(shared)
    )

    notice = f"note: measured code writes files that both sides share ({shared}/acclib.cache)"
    assert (notice in output) == (not named)
    assert list(shared.iterdir()) == ([] if named else [shared / "acclib.cache"])
    if named:
        assert code == 1, output


BY_PROGRAM = """
import subprocess


def test_program(benchmark):
    benchmark.pedantic(lambda: subprocess.run(["calculate"], check=True), rounds=3)
"""


def test_a_program_that_was_built_in_the_checkout(alone: Path) -> None:
    """By the path of programs: it is the same for both sides, whatever its source became."""
    files = {
        "benchmarks/test_program.py": BY_PROGRAM,
        "calculate.sh": "",
        "pyproject.toml": PROJECT,
        ".gitignore": "build/\n",
    }
    repo = started(alone / "built", files)
    program = repo / "build" / "calculate"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"

    code, output, _errors = finished(repo, "--base", "HEAD", PATH=path)

    assert code == 4
    assert f"calculate from {program} (the checkout)" in output


BY_WORKER = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor


def work():
    from acclib import step

    return [step() for _ in range(50)]


def test_worker(benchmark):
    def run():
        with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
            pool.submit(work).result()

    benchmark.pedantic(run, rounds=3)
"""


def test_a_worker_that_was_forked(alone: Path) -> None:
    """What it imports and its parent does not, and what it is replaced by."""
    files = {"deep/acclib.py": STEP, "benchmarks/test_w.py": BY_WORKER, "pyproject.toml": PROJECT}
    repo = started(alone / "forks", files)
    commit(repo, "slower", {"deep/acclib.py": SLOWER})
    python = environment(alone / "venv")
    (site_packages(python) / "acclib.pth").write_text(f"{repo}/deep\n")

    code, output, _errors = finished(repo, "--base", "HEAD~1", "--head", "HEAD", python=python)

    assert code == 4
    assert f"{repo}/deep/acclib.py (the checkout)" in output


def test_a_helper_that_is_called_like_a_folder_of_the_tree(alone: Path) -> None:
    """A package of one module, from a place of the user's own: many trees have a ``common``."""
    repo = strangers(alone / "flat")
    imports = BENCHMARK.replace("from acclib", "import common\nfrom acclib")
    commit(repo, "uses it", {"benchmarks/test_step.py": imports, "docs/common/__init__.py": ""})
    (alone / "helpers" / "common").mkdir(parents=True)
    (alone / "helpers" / "common" / "__init__.py").touch()

    code, output, _errors = finished(
        repo, "--base", "HEAD", PYTHONPATH=f"{alone}/helpers:{Path(__file__).parents[2]}"
    )

    assert code == 0, output


@pytest.mark.parametrize(("changed", "code"), [("third_party/theirs/__init__.py", 4), ("x", 0)])
def test_a_folder_of_the_checkout_that_was_installed(alone: Path, changed: str, code: int) -> None:
    """Once, for both sides: right as long as neither changes it."""
    repo = strangers(alone / "flat")
    imports = BENCHMARK.replace("from acclib", "import theirs\nfrom acclib")
    project = '[project]\nname = "theirs"\nversion = "1"\n'
    files = {"benchmarks/test_step.py": imports, "third_party/pyproject.toml": project}
    commit(repo, "uses it", {**files, "third_party/theirs/__init__.py": "V = 1\n"})
    commit(repo, "changes", {changed: "V = 2\n"})
    python = environment(alone / "venv")
    installed(site_packages(python), "theirs", "V = 1\n")
    origin = {"url": (repo / "third_party").as_uri(), "dir_info": {}}
    info = site_packages(python) / "theirs-1.dist-info"
    (info / "direct_url.json").write_text(json.dumps(origin))

    found, output, _errors = finished(repo, "--base", "HEAD~1", "--head", "HEAD", python=python)

    assert found == code, output


PASSING = """
import sys
from unittest import mock

import pytest


@pytest.fixture
def step():
    with mock.patch.dict(sys.modules):
        from acclib import step

        yield step


def test_step(benchmark, step):
    benchmark.pedantic(step, rounds=20)
"""


def test_a_module_that_is_gone_when_the_process_ends(alone: Path) -> None:
    """What was executed stays known."""
    files = {
        "deep/acclib.py": STEP,
        "benchmarks/test_step.py": PASSING,
        "pyproject.toml": PROJECT,
    }
    repo = started(alone / "passing", files)
    commit(repo, "slower", {"deep/acclib.py": SLOWER})
    python = environment(alone / "venv")
    (site_packages(python) / "acclib.pth").write_text(f"{repo}/deep\n")

    code, output, _errors = finished(repo, "--base", "HEAD~1", "--head", "HEAD", python=python)

    assert code == 4
    assert f"{repo}/deep/acclib.py (the checkout)" in output


@pytest.mark.parametrize(("changed", "code"), [("libs/acclib/src/acclib/__init__.py", 4), ("x", 0)])
def test_a_sibling_that_was_installed_once(alone: Path, changed: str, code: int) -> None:
    """A change of it is not measured; without one it is a package like any other."""
    files = {
        "libs/acclib/pyproject.toml": '[project]\nname = "acclib"\nversion = "1"\n',
        "libs/acclib/src/acclib/__init__.py": STEP,
        "app/pyproject.toml": '[project]\nname = "app"\nversion = "1"\n' + PROJECT,
        "app/benchmarks/test_step.py": BENCHMARK,
    }
    repo = started(alone / "monorepo", files)
    commit(repo, "changed", {changed: SLOWER})
    python = environment(alone / "venv")
    installed(site_packages(python), "acclib", STEP)

    found, output, _errors = finished(
        repo / "app", "--base", "HEAD~1", "--head", "HEAD", python=python
    )

    assert found == code, output
    assert ("a copy that was installed once, for neither side" in output) == (code == 4)


def site_packages(python: Path) -> Path:
    """Return where the packages of an environment lie."""
    return Path(printed(python, "import sysconfig; print(sysconfig.get_path('purelib'))"))


def installed(packages: Path, name: str, text: str) -> None:
    """Install a package of one module, as pip does from an index."""
    (packages / name).mkdir()
    (packages / name / "__init__.py").write_text(text)
    info = packages / f"{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "RECORD").write_text(f"{name}/__init__.py,,\n{name}-1.dist-info/METADATA,,\n")
