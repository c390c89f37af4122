"""A small git repository whose suite takes a moment, to gate with real processes."""

import subprocess
import sys
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

POLICY = """
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


def commit(repository: Path, message: str, **files: str) -> str:
    """Write files (``__`` in a name is a folder, ``_py`` an ending) and commit everything."""
    for name, text in files.items():
        path = repository / name.replace("__", "/").replace("_py", ".py").replace("_toml", ".toml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(repository, "rev-parse", "HEAD")


def repository(path: Path) -> Path:
    """Create the repository with one commit."""
    path.mkdir()
    git(path, "init", "--quiet", "--initial-branch=main")
    git(path, "config", "user.name", "Tester")
    git(path, "config", "user.email", "tester@localhost")
    commit(
        path, "one", suites__toy_py="", suites__test_toy_py=SUITE, work_py=QUICK, policy_toml=POLICY
    )
    return path


def gate(repository: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Start ``efficarch gate`` in a process of its own."""
    command = [sys.executable, "-m", "efficarch", "gate", "--policy", "policy.toml", *arguments]
    return subprocess.Popen(
        command,
        cwd=repository,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finished(repository: Path, *arguments: str) -> tuple[int, str, str]:
    """Run ``efficarch gate`` to its end: exit code, output, errors."""
    process = gate(repository, *arguments)
    output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors
