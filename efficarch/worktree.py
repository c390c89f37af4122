"""Two commits side by side as git worktrees; the user's checkout and index are never touched."""

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from efficarch.errors import EfficarchError, last_line

PREFIX = "efficarch-gate-"

DEPENDENCY_FILES = ("constraints.txt", "requirements.txt", "setup.cfg", "setup.py")

DEPENDENCY_TABLES = ("build-system", "dependency-groups", "project")
"""Those of ``pyproject.toml``; the others configure tools."""


@dataclass(frozen=True)
class Tree:
    """One arm: a commit checked out in a folder, and the Python that runs it."""

    path: Path
    commit: str
    """Of a snapshot of the working tree: a commit that no branch knows."""
    tree: str
    """What is in it, whenever and by whom it was committed."""
    python: Path


@dataclass(frozen=True)
class Arms:
    """Both sides of an experiment."""

    base: Tree
    head: Tree


@contextmanager
def checked_out(
    repository: Path, base: str, head: str | None, pythons: tuple[Path, Path]
) -> Iterator[Arms]:
    """Check both sides out, and remove what was checked out afterwards.

    ``head`` is a commit, or ``None`` for the working tree as it is now, files that are neither
    tracked nor ignored included. ``pythons`` run base and head.

    Raises:
        EfficarchError: no repository, a commit that does not exist here, another gate at work on
            this repository, or a disk that is full.
    """
    common = _common(repository)
    with _alone(common):
        _remove_stale(repository)
        commits = resolve(repository, base), head and resolve(repository, head)
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        try:
            second = commits[1] or _snapshot(repository, folder)
            yield Arms(
                _checkout(repository, folder / "base", commits[0], pythons[0]),
                _checkout(repository, folder / "head", second, pythons[1]),
            )
        finally:
            _remove(repository, folder)


def resolve(repository: Path, name: str) -> str:
    """Return the commit that a branch, tag or hash names.

    Raises:
        EfficarchError: there is none by this name.
    """
    found = _git(repository, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", check=False)
    if not found:
        shallow = _git(repository, "rev-parse", "--is-shallow-repository") == "true"
        remedy = (
            "this clone is shallow, so fetch more: git fetch --unshallow"
            if shallow
            else "name a branch, tag or commit of this repository"
        )
        raise EfficarchError(f"no commit {name!r}; {remedy}")
    return found


def differing_dependencies(arms: Arms) -> list[str]:
    """Return which files that say what has to be installed differ between the two sides."""
    theirs, ours = dependencies(arms.base.path), dependencies(arms.head.path)
    return sorted(name for name in theirs if theirs[name] != ours[name])


def dependencies(folder: Path) -> dict[str, str | None]:
    """Return what each file says of packages to install; ``None`` for a file that is not there."""
    found = {name: _content(folder / name) for name in DEPENDENCY_FILES}
    project = _content(folder / "pyproject.toml")
    if project is not None:
        try:
            data = tomllib.loads(project)
        except ValueError:
            data = {"project": project}  # for pip to refuse
        tables = {name: data[name] for name in DEPENDENCY_TABLES if name in data}
        project = json.dumps(tables, sort_keys=True, default=str)
    return {**found, "pyproject.toml": project}


def _content(path: Path) -> str | None:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def _common(repository: Path) -> Path:
    try:
        found = _git(repository, "rev-parse", "--git-common-dir")
    except EfficarchError as error:
        raise EfficarchError(f"{repository} is no git repository; run the gate in one") from error
    return (repository / found).resolve()


@contextmanager
def _alone(common: Path) -> Iterator[None]:
    """Hold the repository for this gate; the lock goes with the process, whatever ends it."""
    descriptor = os.open(common, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise EfficarchError(
                "another gate is at work on this repository; its timings would suffer, so wait for "
                "it or stop it"
            ) from error
        yield
    finally:
        os.close(descriptor)


def _snapshot(repository: Path, folder: Path) -> str:
    """Commit the working tree through an index of its own, on no branch."""
    index = {"GIT_INDEX_FILE": str(folder / "index")}
    head = resolve(repository, "HEAD")
    _git(repository, "read-tree", head, environment=index)
    _git(repository, "add", "--all", ".", environment=index)
    tree = _git(repository, "write-tree", environment=index)
    identity = {
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "efficarch"), ("EMAIL", "efficarch@localhost"))
    }
    message = f"working tree of {head}"
    return _git(
        repository, "commit-tree", tree, "-p", head, "-m", message, environment=index | identity
    )


def _checkout(repository: Path, path: Path, commit: str, python: Path) -> Tree:
    _git(repository, "worktree", "add", "--quiet", "--detach", str(path), commit)
    tree = _git(repository, "rev-parse", f"{commit}^{{tree}}")
    return Tree(path, commit, tree, python)


def _remove(repository: Path, folder: Path) -> None:
    """Remove a folder of worktrees and what git notes of them."""
    shutil.rmtree(folder, ignore_errors=True)
    _git(repository, "worktree", "prune", check=False)


def _remove_stale(repository: Path) -> None:
    """Remove worktrees of a gate that was killed; as the lock is held, none is in use."""
    listed = _git(repository, "worktree", "list", "--porcelain").splitlines()
    for line in listed:
        path = Path(line.removeprefix("worktree "))
        if line.startswith("worktree ") and path.parent.name.startswith(PREFIX):
            _remove(repository, path.parent)


def _git(
    repository: Path,
    *arguments: str,
    environment: dict[str, str] | None = None,
    check: bool = True,
) -> str:
    command: Sequence[str] = ["git", "-C", str(repository), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=os.environ | (environment or {})
        )
    except FileNotFoundError as error:
        raise EfficarchError("git is not installed, and the gate needs it") from error
    if done.returncode and check:
        raise EfficarchError(f"git {arguments[0]} failed: {last_line(done.stderr)}")
    return done.stdout.strip() if not done.returncode else ""
