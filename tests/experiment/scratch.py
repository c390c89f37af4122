"""A small git repository whose suite takes a moment, to gate with real processes."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

SUITE = """
import pathlib, time

import pytest

from work import step


@pytest.mark.parametrize("name", ["one", "two"])
def test_step(benchmark, name):
    benchmark.pedantic(step, args=(name,), rounds=5)
"""

QUICK = "def step(name):\n    return sum(range(2000))\n"

SLOW = """
def step(name):
    return sum(range(2000 if name == "one" else 40000))
"""

PROJECT = """
[tool.efficarch.gate]
floor = 0.9
null = 0.5
family_error = 0.5
miss_error = 0.5
pairs = [2, 4]
"""


def git(repository: Path, *arguments: str) -> str:
    """Run git and return what it says."""
    done = subprocess.run(
        ["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def commit(repository: Path, message: str, files: dict[str, str] | None = None) -> str:
    """Write files and commit everything; return the commit."""
    for name, text in (files or {}).items():
        path = repository / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(repository, "rev-parse", "HEAD")


def repository(path: Path) -> Path:
    """Create the repository with one commit."""
    path.mkdir(parents=True)
    git(path, "init", "--quiet", "--initial-branch=main")
    git(path, "config", "user.name", "Tester")
    git(path, "config", "user.email", "tester@localhost")
    commit(path, "one", {"suites/test_toy.py": SUITE, "work.py": QUICK, "pyproject.toml": PROJECT})
    return path


def gate(
    repository: Path, *arguments: str, python: str | Path = sys.executable, **variables: str
) -> "subprocess.Popen[str]":
    """Start ``efficarch gate`` in a process of its own."""
    return subprocess.Popen(
        [str(python), "-m", "efficarch", "gate", *arguments],
        cwd=repository,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finished(
    repository: Path, *arguments: str, python: str | Path = sys.executable, **variables: str
) -> tuple[int, str, str]:
    """Run ``efficarch gate`` to its end: exit code, output, errors."""
    process = gate(repository, *arguments, python=python, **variables)
    output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors


def out_of(repo: Path) -> Path:
    """Return where a gate writes by default."""
    return repo / "reports" / "out" / "gate"


def wait_for(path: Path) -> None:
    """Wait until a file is there."""
    wait_until(path.exists)


def wait_until(happened: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.02)


def text_of(path: Path) -> str:
    """Return what is in a file; nothing where there is none."""
    return path.read_text(errors="replace") if path.is_file() else ""


def alive(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    state = text_of(Path(f"/proc/{pid}/stat"))
    return bool(state) and state.rpartition(")")[2].split()[0] != "Z"


def measured_processes(tmp_path: Path) -> list[str]:
    """Return the processes that a gate below a folder started."""
    lines = [text_of(path) for path in Path("/proc").glob("[0-9]*/cmdline")]
    return [line for line in lines if "efficarch_gate_agent" in line and str(tmp_path) in line]


STEP = "def step():\n    return sum(range(20_000))\n"
SLOWER = STEP.replace("20_000", "160_000")
BENCHMARK = """
from acclib import step


def test_step(benchmark):
    benchmark.pedantic(step, rounds=20)
"""
"""Of a project called acclib, whose step is eight times slower in its second commit."""

SETUP = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "acclib"
version = "0.1"
"""


def started(path: Path, files: dict[str, str]) -> Path:
    """Create a repository with one commit of some files."""
    path.mkdir(parents=True)
    git(path, "init", "--quiet", "--initial-branch=main")
    git(path, "config", "user.name", "Tester")
    git(path, "config", "user.email", "tester@localhost")
    commit(path, "one", files)
    return path


def strangers(path: Path, code: str = "acclib/__init__.py", more: str = "") -> Path:
    """Create a project of two commits, the second slower; ``code`` is where its code lies."""
    files = {
        code: STEP,
        "benchmarks/test_step.py": BENCHMARK,
        "pyproject.toml": SETUP + PROJECT + more,
    }
    made = started(path, files)
    commit(made, "eight times slower", {code: SLOWER})
    return made


def fingerprint(repository: Path) -> dict[str, tuple[bytes, int]]:
    """Return every file of a repository, git's own included, with what is in it and its time.

    Git renews the time of an object that somebody else borrows, so that it is not pruned.
    """
    found = {}
    for path in repository.rglob("*"):
        name = path.relative_to(repository).as_posix()
        if not path.is_dir() and not name.startswith("reports/"):
            time_ns = 0 if name.startswith(".git/objects/") else path.lstat().st_mtime_ns
            found[name] = (path.read_bytes(), time_ns)
    return found


def environment(folder: Path) -> Path:
    """Make an environment that sees the packages of this one."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    packages = Path(printed(python, "import sysconfig; print(sysconfig.get_path('purelib'))"))
    here = printed(Path(sys.executable), "import sysconfig; print(sysconfig.get_path('purelib'))")
    (packages / "chain.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    return python


def printed(python: Path, program: str) -> str:
    """Return what a program prints."""
    command = [str(python), "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def editable_project(folder: Path) -> tuple[Path, Path]:
    """A project with a src folder, installed editable, and the Python it is installed in."""
    repo = strangers(
        folder / "srcp",
        "src/acclib/__init__.py",
        '[tool.setuptools.packages.find]\nwhere = ["src"]\n',
    )
    python = environment(folder / "venv")
    packages = Path(printed(python, "import sysconfig; print(sysconfig.get_path('purelib'))"))
    # what an editable installation of setuptools leaves for such a project
    (packages / "__editable__.acclib.pth").write_text(f"{repo / 'src'}\n")
    info = packages / "acclib-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acclib\nVersion: 0.1\n")
    origin = {"url": repo.as_uri(), "dir_info": {"editable": True}}
    (info / "direct_url.json").write_text(json.dumps(origin))
    (info / "RECORD").write_text("")
    return repo, python
