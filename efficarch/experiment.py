"""The paired experiment: two commits in worktrees, measured by turns in fresh processes.

Each process is a pytest session of the arm's own suites with the arm's own code. Both processes of
a pair measure the same cells in the same shuffled order; which arm goes first is drawn, balanced
over every two pairs (ABBA or BAAB). A process's file is in place only when it is complete, so
whatever interrupts an experiment, the same command goes on behind the last finished pair.
"""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from efficarch.errors import EfficarchError, RunFileError
from efficarch.observation import Sample
from efficarch.process_plan import VARIABLE, ProcessPlan
from efficarch.store import load_sample, write_text
from efficarch.timing import seconds_now
from efficarch.worktree import Arms

ARMS = ("base", "head")

KILL_AFTER_S = 10


@dataclass(frozen=True)
class Options:
    """How every process of an experiment measures."""

    pytest: tuple[str, ...]
    """Arguments of pytest after the suites: device, dtype, weights, ``-k``."""
    suites: str
    """Folder of the suites, relative to the top of either worktree."""
    seed: int
    timeout_s: int
    """Longest a process may take."""


@dataclass(frozen=True)
class Experiment:
    """Where an experiment keeps its files, what it compares and how."""

    folder: Path
    arms: Arms
    options: Options

    def path(self, pair: int, arm: str) -> Path:
        """Return the run file of a process."""
        return run_file(self.folder, pair, arm)

    def claim(self) -> None:
        """Take the folder for this experiment, or go on with it where it was interrupted.

        Raises:
            EfficarchError: the folder holds another experiment, or cannot be written.
        """
        facts = json.dumps(
            {
                "base": self.arms.base.commit,
                "head": self.arms.head.tree,
                "options": asdict(self.options),
            },
            indent=1,
        )
        path = self.folder / "experiment.json"
        if not path.is_file():
            write_text(path, facts + "\n")
        elif path.read_text(encoding="utf-8").strip() != facts:
            raise EfficarchError(
                f"{self.folder} holds another experiment (other commits, options or seed); "
                "choose another --out or remove it"
            )

    def measure_pair(self, pair: int, cells: Sequence[str] | None) -> float:
        """Measure what is missing of a pair and return how many seconds it took.

        Raises:
            EfficarchError: a process failed, hung or measured nothing; finished pairs stay.
        """
        start = seconds_now()
        plan = ProcessPlan(
            cells=None if cells is None else tuple(cells),
            seed=self.options.seed + pair,
            timing_only=pair > 0,
        )
        for arm in order(self.options.seed, pair):
            if not self.path(pair, arm).is_file():
                self._run(pair, arm, plan)
        return seconds_now() - start

    def _run(self, pair: int, arm: str, plan: ProcessPlan) -> None:
        target = self.path(pair, arm)
        stem = target.with_suffix("")
        partial, told, log = (stem.with_suffix(end) for end in (".partial", ".plan", ".log"))
        plan.write(told)
        try:
            code = self._process(arm, partial, told, log)
            self._accept(code, arm, partial, log)
            partial.replace(target)
        finally:
            for path in (partial, told):
                path.unlink(missing_ok=True)
        log.unlink()

    def _process(self, arm: str, partial: Path, told: Path, log: Path) -> int:
        tree = self.arms.base if arm == "base" else self.arms.head
        command = [
            str(tree.python),
            "-m",
            "pytest",
            self.options.suites,
            "-p",
            "efficarch.plugin",
            "-p",
            "no:cacheprovider",
            "--benchmark-quiet",
            f"--benchmark-json={partial}",
            *self.options.pytest,
        ]
        environment = {**os.environ, VARIABLE: str(told), "PYTHONDONTWRITEBYTECODE": "1"}
        with log.open("wb") as output, _child(command, tree.path, environment, output) as process:
            try:
                return process.wait(self.options.timeout_s)
            except subprocess.TimeoutExpired as error:
                raise EfficarchError(
                    f"a process of the {arm} took more than {self.options.timeout_s} s and was "
                    f"stopped; see {log}, or allow more with --timeout"
                ) from error

    def _accept(self, code: int, arm: str, partial: Path, log: Path) -> None:
        """Refuse a process that did not end by itself or left nothing to read."""
        if code < 0:
            raise EfficarchError(
                f"a process of the {arm} was killed by {signal.Signals(-code).name}; finished "
                "pairs are kept, run the same command to go on"
            )
        # 0: all passed; 1: some test failed, and says so in the file
        if code not in (0, 1) or not partial.is_file():
            raise EfficarchError(
                f"the {arm} measured nothing (pytest's exit code {code}): "
                f"{_last_words(log)}; see {log}"
            )
        try:
            load_sample(partial)
        except RunFileError as error:
            what = str(error).removeprefix(f"{partial}: ")
            raise EfficarchError(
                f"a process of the {arm} left a file that cannot be read ({what}); finished pairs "
                f"are kept; is the disk full? See {log}"
            ) from error


def run_file(folder: Path, pair: int, arm: str) -> Path:
    """Return where the run file of a process lies; pairs count from 0."""
    return folder / "runs" / f"{pair + 1:02d}-{arm}.json"


def finished_pairs(folder: Path) -> int:
    """Return how many pairs, from the first on, have both of their files."""
    pair = 0
    while all(run_file(folder, pair, arm).is_file() for arm in ARMS):
        pair += 1
    return pair


def load_pair(folder: Path, pair: int) -> tuple[Sample, Sample]:
    """Read base and head of a finished pair.

    Raises:
        RunFileError: one of them cannot be read.
    """
    return load_sample(run_file(folder, pair, "base")), load_sample(run_file(folder, pair, "head"))


def load_pairs(folder: Path) -> list[tuple[Sample, Sample]]:
    """Read all finished pairs, in order; see `load_pair`."""
    return [load_pair(folder, pair) for pair in range(finished_pairs(folder))]


@contextmanager
def _child(
    command: Sequence[str], folder: Path, environment: dict[str, str], output: IO[bytes]
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a process in a group of its own, and leave none of the group behind."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    for sent in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sent)
        except ProcessLookupError:
            break
        try:
            process.wait(KILL_AFTER_S)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def order(seed: int, pair: int) -> tuple[str, str]:
    """Return which arm of a pair goes first: drawn for each two pairs, the second the other way."""
    base_first = random.Random(f"{seed} {pair // 2}").random() < 0.5
    first = base_first if pair % 2 == 0 else not base_first
    return ("base", "head") if first else ("head", "base")


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    # pytest marks the error itself with an E; its summary only names the file
    telling = [line[1:].strip() for line in lines if line.startswith("E  ")]
    words = (telling or [line for line in lines if line] or ["it said nothing"])[-1]
    return words if len(words) <= 200 else words[:197] + "..."


def measure(
    experiment: Experiment,
    looks: Sequence[int],
    undecided: Callable[[list[tuple[Sample, Sample]]], list[str]],
    tell: Callable[[int, int, float], None],
) -> list[tuple[Sample, Sample]]:
    """Measure pairs until no cell is undecided at a look, and return all of them.

    ``tell`` hears, before each pair, how many are finished, how many the next look needs, and how
    many seconds a pair last took (0 where none has).
    """
    pairs = load_pairs(experiment.folder)
    seconds = 0.0
    cells: list[str] | None = None
    for look in looks:
        while len(pairs) < look:
            tell(len(pairs), look, seconds)
            seconds = experiment.measure_pair(len(pairs), cells)
            pairs.append(load_pair(experiment.folder, len(pairs)))
        cells = undecided(pairs[:look])
        if not cells:
            return pairs[:look]
    return pairs


def interpreter() -> Path:
    """Return the Python that runs this; the environment of both arms where they need the same."""
    return Path(sys.executable)
