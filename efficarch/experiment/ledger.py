"""The folder of an experiment: what was measured for which commits, and that nobody changed it."""

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

from efficarch.errors import EfficarchError
from efficarch.experiment.worktree import SIDES
from efficarch.files import resolved
from efficarch.output_folder import claim
from efficarch.store import write_text
from efficarch.timing import now

FORMAT = 2
RESULTS = ("verdicts.json", "index.html", "summary.md")
"""What a gate concludes with; those of an earlier one do not stay beside a new one."""


class Ledger:
    """Which files belong to an experiment, with their digests, in ``experiment.json``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._facts: dict[str, Any] = {}
        self._state = "unclaimed"
        self._path = folder / "experiment.json"
        self._files: dict[str, str] = {}
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
        earlier = self._earlier()
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

    def add(self, files: Iterable[Path]) -> None:
        """Note the files of a pair that is finished."""
        self._files |= {self._name(path): _digest(path) for path in files}
        self._write(concluded=False)

    def conclude(self) -> None:
        """Note that the experiment is over: the same command measures anew."""
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

    def _lock(self) -> None:
        claim(self.folder, (*RESULTS, self._path.name))
        # held until this process ends, however it does
        self._descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise EfficarchError(
                f"another gate is at work in {self.folder}; wait for it or choose another --out"
            ) from error

    def _earlier(self) -> dict[str, Any] | None:
        """Return what an earlier experiment noted; ``None`` where there was none."""
        if not os.path.lexists(self._path):
            return None
        try:
            data = json.loads(self._path.read_bytes())
            if data["format"] == FORMAT and {"facts", "started", "files", "concluded"} <= set(data):
                return {**data, "files": {str(k): str(v) for k, v in data["files"].items()}}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass
        raise EfficarchError(
            f"{self._path} is not what this efficarch writes; choose another --out or remove it"
        )

    def _difference(self, earlier: dict[str, Any]) -> str:
        theirs = earlier["facts"] if isinstance(earlier["facts"], dict) else {}
        names = [name for name, value in self._facts.items() if theirs.get(name) != value]
        return f"other {', '.join(names)}" if names else "other facts"

    def _begin(self, earlier: dict[str, Any] | None) -> None:
        """Start empty; only what the ledger names or a gate is sure to have written goes."""
        stale = [self.folder / name for name in RESULTS] if earlier else []
        stale += [self.folder / name for name in (earlier or {"files": {}})["files"]]
        for path in stale:
            if path.is_file() and resolved(path).is_relative_to(resolved(self.folder)):
                path.unlink()
        self._write(concluded=False)

    def _resume(self, earlier: dict[str, Any]) -> None:
        for name, digest in earlier["files"].items():
            path = self.folder / name
            if not path.is_file() or _digest(path) != digest:
                raise EfficarchError(
                    f"{path} is not the file that was measured, it was changed since; choose "
                    "another --out, or remove the folder to measure anew"
                )
        self._files = dict(earlier["files"])
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
        }
        write_text(self._path, json.dumps(data, indent=1) + "\n")


def run_file(folder: Path, pair: int, side: str) -> Path:
    """Return where the run file of a process lies; pairs count from 0."""
    return folder / "runs" / f"{pair + 1:02d}-{side}.json"


def finished_pairs(folder: Path) -> int:
    """Return how many pairs, from the first on, have both of their files."""
    pair = 0
    while all(run_file(folder, pair, side).is_file() for side in SIDES):
        pair += 1
    return pair


def _digest(path: Path) -> str:
    with suppress(OSError):
        return sha256(path.read_bytes()).hexdigest()
    return ""
