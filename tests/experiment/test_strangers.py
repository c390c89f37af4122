"""The gate as strangers type it: default options, in repositories as they have them.

Nothing here needs torch, and the environment without it runs these tests too.
"""

import json
import os
import shutil
import subprocess
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
    environment,
    fingerprint,
    finished,
    git,
    out_of,
    started,
    strangers,
)

GATE = f'"{sys.executable}" -m efficarch gate'


def test_a_flat_project(alone: Path) -> None:
    """A slower commit fails, an equal one passes, and nothing but the report is left."""
    repo = strangers(alone / "flat")
    before = fingerprint(repo)

    code, output, errors = finished(repo, "--base", "HEAD~1", "--head", "HEAD")
    assert (code, errors) == (1, "")
    assert "FAIL benchmarks/test_step.py::test_step: latency +" in output
    code, output, errors = finished(repo, "--base", "HEAD")
    assert (code, errors) == (0, "")

    assert fingerprint(repo) == before
    assert git(repo, "status", "--porcelain") == ""
    assert (out_of(repo) / "index.html").is_file()


def test_a_link_out_of_the_repository(alone: Path) -> None:
    """Somebody committed one where the gate writes: what it leads to is not the gate's."""
    repo = strangers(alone / "flat")
    (alone / "important").mkdir()
    (repo / "reports").mkdir()
    (repo / "reports" / "out").symlink_to(alone / "important")
    commit(repo, "a link")

    code, _output, errors = finished(repo, "--base", "HEAD~1")

    assert code == 2
    assert "leads out of the repository" in errors
    assert list((alone / "important").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "target", "words"),
    [
        ("pytest.ini", "/dev/zero", "pytest.ini of the head is a link that leads out"),
        ("requirements.txt", "../elsewhere", "requirements.txt of the head is a link that leads"),
    ],
)
def test_settings_that_lead_elsewhere(alone: Path, name: str, target: str, words: str) -> None:
    """What the head commits is not read without end, nor from where it has no business."""
    repo = strangers(alone / "flat")
    (repo / name).symlink_to(target)
    commit(repo, "a link")

    code, _output, errors = finished(repo, "--base", "HEAD~1", "--head", "HEAD")

    assert (code, errors.count("\n")) == (2, 1)
    assert words in errors


def test_data_of_the_checkout_behind_a_link(alone: Path) -> None:
    """Somebody committed a link by its full path: both sides read the checkout's, which is said."""
    code = "import pathlib\n\n\ndef step():\n    return sum(range(int({}.read_text())))\n"
    here = "pathlib.Path(__file__).with_name('n.txt')"
    files = {
        "acclib/__init__.py": code.format(here),
        "benchmarks/test_step.py": BENCHMARK,
        "pyproject.toml": PROJECT,
        "size.txt": "20_000",
    }
    repo = started(alone / "flat", files)
    (repo / "acclib" / "n.txt").symlink_to(repo / "size.txt")
    commit(repo, "a link")
    commit(repo, "larger", {"size.txt": "160_000"})

    _code, output, _errors = finished(repo, "--base", "HEAD~1", "--head", "HEAD")

    assert f"note: links lead out of the sides (acclib/n.txt -> {repo / 'size.txt'})" in output


def test_settings_of_a_folder_above_the_sides_are_nobodys(alone: Path) -> None:
    """The temporary folder belongs to everybody."""
    repo = strangers(alone / "flat")
    (alone / "temporary" / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")

    code, _output, errors = finished(repo, "--base", "HEAD")

    assert (code, errors) == (0, "")
    (alone / "temporary" / "pytest.ini").unlink()


def test_the_same_command_goes_on_where_the_folder_is_not_ignored(alone: Path) -> None:
    """What a gate writes into the repository is no part of the working tree it measures."""
    repo = strangers(alone / "flat")
    assert finished(repo, "--base", "HEAD")[0] == 0
    first = json.loads((out_of(repo) / "experiment.json").read_text())["facts"]["head"]

    assert finished(repo, "--base", "HEAD")[0] == 0

    assert json.loads((out_of(repo) / "experiment.json").read_text())["facts"]["head"] == first


def test_a_relative_folder_from_a_subfolder(alone: Path) -> None:
    """Paths are taken from where the command is typed; all of the repository is measured."""
    repo = strangers(alone / "flat")
    here = repo / "docs" / "deep"
    here.mkdir(parents=True)

    code, _output, errors = finished(
        here, "--base", "HEAD~1", "--suites", "../../benchmarks", "--out", "mine"
    )

    assert (code, errors) == (1, "")
    assert (here / "mine" / "verdicts.json").is_file()
    assert not (repo / "reports").exists()


def test_defaults_from_a_subfolder_are_those_of_the_project(alone: Path) -> None:
    """Suites, policy and folder, and a change at the top that nobody committed."""
    repo = strangers(alone / "flat")
    (repo / "acclib" / "__init__.py").write_text(STEP)
    here = repo / "docs" / "deep"
    here.mkdir(parents=True)

    assert finished(here, "--base", "HEAD~1")[0] == 0
    assert (out_of(repo) / "verdicts.json").is_file()


def test_a_project_below_the_top(alone: Path) -> None:
    """Its own configuration counts, and its code is imported from its own folder."""
    top = started(alone / "many", {"README.md": "several projects\n"})
    for name, text in (("one", STEP), ("two", SLOWER)):
        files = {
            "packages/a/src/acclib/__init__.py": text,
            "packages/a/pyproject.toml": SETUP + PROJECT,
            "packages/a/benchmarks/test_step.py": "from acclib import step\n\n\n"
            "def test_step(benchmark):\n    benchmark.pedantic(step, rounds=20)\n",
        }
        commit(top, name, files)

    code, output, errors = finished(top / "packages" / "a", "--base", "HEAD~1", "--head", "HEAD")

    assert (code, errors) == (1, "")
    assert "FAIL benchmarks/test_step.py::test_step" in output


def test_an_editable_installation(editable: tuple[Path, Path]) -> None:
    """Both sides run their own code, although the environment names the checkout's."""
    repo, python = editable

    code, output, errors = finished(repo, "--base", "HEAD~1", "--head", "HEAD", python=python)

    assert (code, errors) == (1, "")
    assert "FAIL benchmarks/test_step.py::test_step" in output


def test_a_linked_working_tree(alone: Path) -> None:
    """Of a repository whose main one is elsewhere."""
    repo = strangers(alone / "flat")
    linked = alone / "linked"
    git(repo, "worktree", "add", "--quiet", "--detach", str(linked), "HEAD")

    assert finished(linked, "--base", "HEAD~1")[0] == 1

    assert git(repo, "worktree", "list").count("\n") == 1
    assert linked.is_dir()


def test_a_detached_head(alone: Path) -> None:
    """As continuous integration checks out."""
    repo = strangers(alone / "flat")
    git(repo, "checkout", "--quiet", "--detach", "HEAD")

    assert finished(repo, "--base", "HEAD~1", "--head", "HEAD")[0] == 1
    assert finished(repo, "--base", "main~1")[0] == 1


def test_a_bare_repository(alone: Path) -> None:
    """With a head by name; all that lies in it is git's own but for the reports."""
    bare = alone / "bare.git"
    git(strangers(alone / "flat"), "clone", "--quiet", "--bare", ".", str(bare))

    assert finished(bare, "--base", "HEAD~1", "--head", "main")[0] == 1
    assert (out_of(bare) / "index.html").is_file()
    code, _output, errors = finished(bare, "--base", "HEAD~1")

    assert code == 2
    assert "has no working tree; name the commit to judge: --head REF" in errors
    code, _output, errors = finished(
        bare, "--base", "HEAD~1", "--head", "main", "--out", "info/out"
    )
    assert code == 2
    assert "where git keeps a repository, which is git's own; choose another --out" in errors


@pytest.mark.parametrize("place", ["a link", "--out", "below .git", "in refs"])
def test_git_s_own_folder_is_not_written_to(alone: Path, place: str) -> None:
    """What lies in it is a branch, a hook or an object to git, whoever put it there."""
    repo, out = strangers(alone / "flat"), ["--out", ".git/refs/heads"]
    if place == "a link":
        (repo / "reports" / "out").mkdir(parents=True)
        (repo / "reports" / "out" / "gate").symlink_to("../../.git/refs/heads")
        commit(repo, "a link")
    before = fingerprint(repo)
    here = repo / {"below .git": ".git", "in refs": ".git/refs"}.get(place, ".")

    code, _output, errors = finished(
        here, "--base", "HEAD", "--head", "HEAD", *(out if place == "--out" else [])
    )

    assert (code, errors.count("\n")) == (2, 1)
    assert "where git keeps a repository" in errors
    assert fingerprint(repo) == before


def test_a_pre_commit_hook(alone: Path) -> None:
    """It refuses the slower commit, and what git told the hook stays git's."""
    repo = strangers(alone / "flat")
    (repo / "acclib" / "__init__.py").write_text(STEP)
    git(repo, "commit", "--quiet", "--all", "--message", "as fast as before")
    hook = repo / ".git" / "hooks" / "pre-commit"
    hook.write_text(f"#!/bin/sh\n{GATE} --base HEAD > gate.log 2>&1\n")
    hook.chmod(0o755)
    (repo / "secret.env").write_text("PASSWORD=1\n")
    (repo / "README.md").write_text("a harmless change\n")
    git(repo, "add", "README.md")
    git(repo, "commit", "--quiet", "--message", "harmless")
    assert git(repo, "show", "--name-only", "--format=", "HEAD") == "README.md"

    (repo / "acclib" / "__init__.py").write_text(SLOWER)
    git(repo, "add", "acclib")
    refused = subprocess.run(
        ["git", "-C", str(repo), "commit", "--quiet", "--message", "slower"], check=False
    )

    assert refused.returncode == 1
    assert "FAIL benchmarks/test_step.py::test_step" in (repo / "gate.log").read_text()
    assert git(repo, "ls-files", "secret.env") == ""
    assert git(repo, "diff", "--cached", "--name-only") == "acclib/__init__.py"


@pytest.mark.parametrize("name", ["GIT_INDEX_FILE", "GIT_DIR", "GIT_WORK_TREE"])
def test_variables_of_git(alone: Path, name: str) -> None:
    """They name another repository's places, as in a hook of that one; it is left alone."""
    repo, other = strangers(alone / "flat"), strangers(alone / "other")
    places = {
        "GIT_INDEX_FILE": other / ".git" / "index",
        "GIT_DIR": other / ".git",
        "GIT_WORK_TREE": other,
    }
    (repo / "untracked.env").write_text("x")
    before = fingerprint(other), fingerprint(repo)

    assert finished(repo, "--base", "HEAD", **{name: str(places[name])})[0] == 0

    assert fingerprint(other) == before[0]
    assert fingerprint(repo) == before[1]


def test_a_checkout_below_a_folder_named_like_ours(alone: Path) -> None:
    """A runner makes such folders for a repository of such a name; what is in them is a user's."""
    temporary = alone / "temporary"
    parent = temporary / "efficarch-gate-demo"
    repo = strangers(parent / "efficarch-gate-demo")
    (parent / "sibling").write_text("x")
    linked = temporary / "efficarch-gate-other" / "mine"
    git(repo, "worktree", "add", "--quiet", "--lock", str(linked), "HEAD~1")
    # on a disk that is not there now
    moved = temporary / "efficarch-gate-away"
    git(repo, "worktree", "add", "--quiet", str(moved / "mine"), "HEAD~1")
    moved.rename(alone / "unmounted")

    assert finished(repo, "--base", "HEAD")[0] == 0

    assert (parent / "sibling").read_text() == "x"
    assert (linked / "acclib").is_dir()
    assert git(repo, "worktree", "list").count("\n") == 2
    for path in temporary.iterdir():
        shutil.rmtree(path)


def test_a_submodule(alone: Path) -> None:
    """Each side has the one of its commit; one that is not in the clone is asked for."""
    library = started(alone / "library", {"fast/__init__.py": STEP})
    repo = started(
        alone / "super",
        {
            "acclib.py": "import sys\nsys.path.append('ext')\nfrom fast import step\n",
            "benchmarks/test_step.py": "from acclib import step\n\n\n"
            "def test_step(benchmark):\n    benchmark.pedantic(step, rounds=20)\n",
            "pyproject.toml": PROJECT,
        },
    )
    allowed = ("-c", "protocol.file.allow=always")
    git(repo, *allowed, "submodule", "--quiet", "add", str(library), "ext")
    commit(repo, "with the library")
    commit(library, "slower", {"fast/__init__.py": SLOWER})
    git(repo / "ext", "pull", "--quiet")
    commit(repo, "with the slower library")

    assert finished(repo, "--base", "HEAD~1", "--head", "HEAD")[0] == 1
    assert finished(repo, "--base", "HEAD")[0] == 0

    (repo / "ext" / "fast" / "__init__.py").write_text(STEP)
    code, _output, errors = finished(repo, "--base", "HEAD")
    assert code == 2
    assert "the submodule ext has changes that are not committed" in errors

    clone = alone / "clone"
    git(alone, "clone", "--quiet", str(repo), str(clone))
    code, _output, errors = finished(clone, "--base", "HEAD~1", "--head", "HEAD")
    assert code == 2
    assert "the submodule ext is not in this clone" in errors
    assert "git submodule update --init --recursive" in errors


def test_a_folder_among_the_files_of_a_submodule(alone: Path) -> None:
    """The repository does not know them, but git tracks them."""
    library = started(alone / "library", {"fast/__init__.py": STEP})
    repo = strangers(alone / "flat")
    allowed = ("-c", "protocol.file.allow=always")
    git(repo, *allowed, "submodule", "--quiet", "add", str(library), "ext")

    code, _output, errors = finished(repo, "--base", "HEAD", "--out", "ext/fast")

    assert code == 2
    assert "which holds files that git tracks (fast/__init__.py)" in errors
    assert [path.name for path in (repo / "ext" / "fast").iterdir()] == ["__init__.py"]


def test_an_environment_inside_the_checkout(alone: Path) -> None:
    """What is installed in it is nobody's code to compare."""
    repo = strangers(alone / "flat")
    (repo / ".gitignore").write_text(".venv/\n")
    python = environment(repo / ".venv")

    code, output, errors = finished(
        repo, "--base", "HEAD~1", "--head", "HEAD", python=os.path.relpath(python, repo)
    )

    assert (code, errors) == (1, "")
    assert "not its own" not in output


def test_line_ends_that_a_checkout_changes(alone: Path) -> None:
    """Git itself calls such a file changed as soon as it is there; no measured code did it."""
    repo = strangers(alone / "flat")
    (repo / "acclib" / "more.py").write_bytes(b"MORE = 1\r\n")
    commit(repo, "line ends")
    commit(repo, "attributes", {".gitattributes": "*.py text eol=lf\n"})

    code, _output, errors = finished(repo, "--base", "HEAD~1", "--head", "HEAD")

    assert (code, errors) == (0, "")


GENERATES = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "acclib"
version = "0.1"

[tool.setuptools]
packages = ["acclib"]

[tool.setuptools_scm]
version_file = "acclib/_version.py"
"""


@pytest.mark.parametrize("install", [True, False])
def test_a_version_that_a_build_writes(alone: Path, install: bool) -> None:
    """With install in the policy it is built; without, the way on is that."""
    policy = 'install = ["--no-deps --no-build-isolation -e ."]\n' if install else ""
    files = {
        "setup.py": "open('acclib/_version.py', 'w').write('VERSION = 1\\n')\n"
        "from setuptools import setup\nsetup()\n",
        "pyproject.toml": GENERATES + PROJECT + policy,
        "acclib/__init__.py": "from acclib._version import VERSION\n\n\n" + STEP,
        "benchmarks/test_step.py": "from acclib import step\n\n\n"
        "def test_step(benchmark):\n    benchmark.pedantic(step, rounds=20)\n",
        ".gitignore": "_version.py\n*.egg-info/\n",
    }
    repo = started(alone / "generates", files)
    commit(repo, "slower", {"acclib/__init__.py": files["acclib/__init__.py"] + SLOWER})

    code, output, errors = finished(repo, "--base", "HEAD~1", "--head", "HEAD")

    assert code == (1 if install else 2), output + errors
    assert install or "builds or generates it, say how: install in the policy" in errors
