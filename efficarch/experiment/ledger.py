"""The folder of an experiment: what was measured for which commits, and that nobody changed it."""

import fcntl
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

from efficarch.errors import EfficarchError
from efficarch.experiment.worktree import SIDES
from efficarch.files import content
from efficarch.output_folder import OTHER, claim, refuse_foreign
from efficarch.store import write_text
from efficarch.timing import now

FORMAT = 2
RESULTS = ("verdicts.json", "index.html", "summary.md")
"""What a gate concludes with; those of an earlier one do not stay beside a new one."""

NAME = "experiment.json"
RUNS = "runs"
OF_PROCESSES = re.compile(
    rf"\d{{2,}}-({'|'.join(SIDES)})\.(json|partial|log|record\.json(\.partial)?)"
)
"""What the files of a process are called, those that are there while it runs included."""


class Ledger:
    """Which files belong to an experiment, with their digests, in ``experiment.json``.

    It names a file before the file is written: what a gate that was killed left is known for its
    own, and anything else of such a name for a user's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._facts: dict[str, Any] = {}
        self._state = "unclaimed"
        self._path = folder / NAME
        self._files: dict[str, str] = {}
        self._written: list[str] = []
        self.started = now()
        self.resumed_pairs = 0
        """How many pairs an interrupted run of the same experiment had finished."""

    def claim(self, facts: Mapping[str, Any]) -> None:
        """Take the folder for an experiment of these facts, or go on where it was interrupted.

        What an earlier experiment concluded is replaced; one that was interrupted is not, unless it
        is this one.

        Raises:
            EfficarchError: the folder is in use or holds an unfinished experiment, other files in
                its place, or one that was changed since; or it cannot be written.
        """
        self._facts = json.loads(json.dumps(facts))
        self._lock()
        refuse_others(self.folder)
        earlier = _noted(self.folder)
        if earlier is None or earlier["concluded"] or not earlier["files"]:
            self._begin(earlier)
        elif earlier["facts"] != self._facts:
            raise EfficarchError(
                f"{self.folder} holds finished pairs of an unfinished experiment "
                f"({self._difference(earlier)}); remove it to give that one up, or choose another "
                "--out"
            )
        else:
            self._resume(earlier)
        self._state = "claimed"

    def expect(self, files: Iterable[Path]) -> None:
        """Note which files of processes are going to be written."""
        self._written = list(dict.fromkeys([*self._left(), *(path.name for path in files)]))
        self._write(concluded=False)

    def add(self, files: Iterable[Path]) -> None:
        """Note the files of a pair that is finished."""
        self._files |= {self._name(path): _digest(path) for path in files}
        self._write(concluded=False)

    def conclude(self) -> None:
        """Note that the experiment is over: the same command measures anew."""
        self._written = self._left()
        self._write(concluded=True)
        self._state = "concluded"

    def kept(self) -> str:
        """Say what there is of this experiment, and what the same command does with it."""
        if self._state == "unclaimed":
            return f"nothing was measured, {self.folder} is as it was; run the same command again"
        if self._state == "concluded":
            return "all pairs are measured, but not all is written; the same command measures anew"
        pairs = next(pair for pair in count() if not self.has(pair))
        return f"{pairs} finished pairs are kept in {self.folder}, run the same command to go on"

    def _left(self) -> list[str]:
        """Return what is still there of the files that were to be written."""
        return [name for name in self._written if os.path.lexists(self.folder / RUNS / name)]

    def _lock(self) -> None:
        claim(self.folder, (*RESULTS, self._path.name))
        # held until this process ends, however it does
        self._descriptor = _locked(self.folder)

    def _difference(self, earlier: dict[str, Any]) -> str:
        theirs = earlier["facts"] if isinstance(earlier["facts"], dict) else {}
        names = [name for name, value in self._facts.items() if theirs.get(name) != value]
        return f"other {', '.join(names)}" if names else "other facts"

    def _begin(self, earlier: dict[str, Any] | None) -> None:
        """Start empty; what is here by our names was found to be ours."""
        _check_unchanged(self.folder, earlier["files"] if earlier else {}, complete=False)
        stale = [self.folder / name for name in RESULTS] if earlier else []
        for path in (*stale, *_of_processes(self.folder)):
            path.unlink(missing_ok=True)
        self._write(concluded=False)

    def _resume(self, earlier: dict[str, Any]) -> None:
        _check_unchanged(self.folder, earlier["files"], complete=True)
        self._files, self._written = dict(earlier["files"]), list(earlier["written"])
        self.started = str(earlier["started"])
        while self.has(self.resumed_pairs):
            self.resumed_pairs += 1

    def has(self, pair: int) -> bool:
        """Whether a pair is finished, by its files in this ledger."""
        return all(self._name(run_file(self.folder, pair, s)) in self._files for s in SIDES)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _write(self, *, concluded: bool) -> None:
        data = {
            "format": FORMAT,
            "started": self.started,
            "concluded": concluded,
            "facts": self._facts,
            "files": self._files,
            "written": self._written,
        }
        write_text(self._path, json.dumps(data, indent=1) + "\n")


@contextmanager
def claimed_alone(folder: Path) -> Iterator[None]:
    """Claim a folder for verdicts in which no gate is at work.

    Raises:
        EfficarchError: one is, or as for `claim`.
    """
    claim(folder, RESULTS)
    descriptor = _locked(folder)
    try:
        yield
    finally:
        os.close(descriptor)


def _locked(folder: Path) -> int:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise EfficarchError(
            f"another gate is at work in {folder}; wait for it or choose another --out"
        ) from error
    return descriptor


def refuse_others(folder: Path) -> None:
    """Refuse a folder in which something that no gate wrote is called like what one would write.

    Raises:
        EfficarchError: there is such a thing, or what a gate noted cannot be read.
    """
    for name in (*RESULTS, NAME):
        refuse_foreign(folder / name, name)
    runs = folder / RUNS
    if runs.is_symlink() or (runs.exists() and not runs.is_dir()):
        raise EfficarchError(f"{runs} is no folder that efficarch made; {OTHER}")
    # in this order, as a gate that is at work names its files first
    found, noted = _of_processes(folder), _noted(folder)
    known = {*noted["files"], *(f"{RUNS}/{name}" for name in noted["written"])} if noted else ()
    for path in found:
        if path.is_symlink() or path.is_dir() or f"{RUNS}/{path.name}" not in known:
            raise EfficarchError(
                f"{path} was written by no gate of which {NAME} there knows; {OTHER}, or move it"
            )


def _of_processes(folder: Path) -> list[Path]:
    """Return what is called like a file of a process."""
    try:
        found = sorted((folder / RUNS).iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise EfficarchError(f"cannot read {folder / RUNS}: {error.strerror}; {OTHER}") from error
    return [path for path in found if OF_PROCESSES.fullmatch(path.name)]


def _noted(folder: Path) -> dict[str, Any] | None:
    """Return what an earlier experiment noted; ``None`` where there was none."""
    path = folder / NAME
    if not os.path.lexists(path):
        return None
    try:
        data = json.loads(content(path))
        if data["format"] == FORMAT and {"facts", "started", "files", "concluded"} <= set(data):
            return {
                **data,
                "files": {str(k): str(v) for k, v in data["files"].items()},
                "written": [str(each) for each in data.get("written", ())],
            }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise EfficarchError(
        f"{path} is not what this efficarch writes; choose another --out or remove it"
    )


def _check_unchanged(folder: Path, files: Mapping[str, str], *, complete: bool) -> None:
    """Refuse files that are not those that were measured, and where all are needed missing ones."""
    for name, digest in files.items():
        path = folder / name
        if (complete or os.path.lexists(path)) and (not path.is_file() or _digest(path) != digest):
            raise EfficarchError(
                f"{path} is not the file that was measured, it was changed since; choose "
                "another --out, or remove the folder to measure anew"
            )


def run_file(folder: Path, pair: int, side: str) -> Path:
    """Return where the run file of a process lies; pairs count from 0."""
    return folder / RUNS / f"{pair + 1:02d}-{side}.json"


def finished_pairs(folder: Path) -> int:
    """Return how many pairs, from the first on, have both of their files."""
    pair = 0
    while all(run_file(folder, pair, side).is_file() for side in SIDES):
        pair += 1
    return pair


def _digest(path: Path) -> str:
    with suppress(OSError, ValueError):
        return sha256(content(path)).hexdigest()
    return ""
