"""The paired experiment: two commits in worktrees, measured by turns in fresh processes.

Each process is a pytest session of the arm's own suites with the arm's own code. Both processes of
a pair run side by side and measure the same cells in the same shuffled order, round by round in
turns; which arm begins is drawn, balanced over every two pairs (ABBA or BAAB). Files are in place
only when both are complete, so whatever interrupts an experiment, the same command goes on behind
the last finished pair.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Thread
from typing import IO

from efficarch.errors import EfficarchError, RunFileError
from efficarch.observation import Sample
from efficarch.process_plan import VARIABLE as PLAN
from efficarch.process_plan import ProcessPlan
from efficarch.series import in_turns
from efficarch.store import load_sample, write_text
from efficarch.timing import seconds_now
from efficarch.turns import VARIABLE as TURNS
from efficarch.turns import Conductor
from efficarch.worktree import Arms

ARMS = ("base", "head")

KILL_AFTER_S = 10
POLL_S = 0.1

ENDED = (0, 1)
"""Exit codes of pytest: all passed, or some test failed and says so in the file."""

STEADY_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TOP_PAD_": str(2**26),
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
"""For glibc: keep freed memory instead of returning it, and ask for huge pages. Otherwise the same
process is faster or slower by where its memory came to lie (docs/measuring.md)."""


@dataclass(frozen=True)
class Options:
    """How every process of an experiment measures."""

    pytest: tuple[str, ...]
    """Arguments of pytest after the suites: device, dtype, weights, ``-k``."""
    suites: str
    """Folder of the suites, relative to the top of either worktree."""
    seed: int
    timeout_s: int
    """Longest a pair may take."""
    cells: tuple[str, ...] | None = None
    """Cell ids or globs of them to begin with; ``None`` for all that pytest selects."""
    subject_alone: bool = False
    """Whether later pairs need not time the reference, if both sides of the first are alike."""


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

    def measure_pair(
        self, pair: int, cells: Sequence[str] | None, *, subject_alone: bool = False
    ) -> float:
        """Measure a pair, with its references or without, and return how many seconds it took.

        Raises:
            EfficarchError: a process failed, hung or measured nothing; finished pairs stay.
        """
        start = seconds_now()
        plan = ProcessPlan(
            cells=self.options.cells if cells is None else tuple(cells),
            seed=self.options.seed + pair,
            timing_only=pair > 0,
            subject_alone=subject_alone,
        )
        files = {arm: _Files(self.path(pair, arm)) for arm in order(self.options.seed, pair)}
        try:
            codes = self._processes(files, plan)
            for arm, code in codes.items():
                self._accept(code, arm, files[arm])
            for each in files.values():
                each.partial.replace(each.target)
        finally:
            for each in files.values():
                each.partial.unlink(missing_ok=True)
                each.plan.unlink(missing_ok=True)
        for each in files.values():
            each.log.unlink()
        return seconds_now() - start

    def _processes(self, files: Mapping[str, "_Files"], plan: ProcessPlan) -> dict[str, int]:
        """Run both processes of a pair, the first of which begins every cell; return exit codes.

        Where one ends badly, the other is stopped: its pair is lost.
        """
        running: dict[str, subprocess.Popen[bytes]] = {}
        connections: dict[str, socket.socket] = {}
        codes: dict[str, int] = {}
        with ExitStack() as stack:
            for arm, each in files.items():
                plan.write(each.plan)
                ours, theirs = socket.socketpair()
                connections[arm] = ours
                with theirs:
                    running[arm] = stack.enter_context(self._process(arm, each, theirs))
            conductor = Conductor(connections, plan.place)
            Thread(target=conductor.run, daemon=True).start()
            end = seconds_now() + self.options.timeout_s
            while running:
                for arm, process in list(running.items()):
                    with suppress(subprocess.TimeoutExpired):
                        codes[arm] = process.wait(POLL_S)
                        del running[arm]
                if any(code not in ENDED for code in codes.values()):
                    break
                if seconds_now() > end:
                    late = conductor.awaited if len(running) > 1 else next(iter(running))
                    raise EfficarchError(
                        f"a process of the {late} took more than {self.options.timeout_s} s and "
                        f"was stopped; see {files[late].log}, or allow more with --timeout"
                    )
        return codes

    @contextmanager
    def _process(
        self, arm: str, files: "_Files", turns: socket.socket
    ) -> Iterator["subprocess.Popen[bytes]"]:
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
            f"--benchmark-json={files.partial}",
            *self.options.pytest,
        ]
        environment = {
            **STEADY_MEMORY,
            **os.environ,
            PLAN: str(files.plan),
            TURNS: str(turns.fileno()),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with (
            files.log.open("wb") as output,
            _child(command, tree.path, environment, output, turns.fileno()) as process,
        ):
            yield process

    def _accept(self, code: int, arm: str, files: "_Files") -> None:
        """Refuse a process that did not end by itself or left nothing to read."""
        partial, log = files.partial, files.log
        if code < 0:
            raise EfficarchError(
                f"a process of the {arm} was killed by {signal.Signals(-code).name}; finished "
                "pairs are kept, run the same command to go on"
            )
        if code not in ENDED or not partial.is_file():
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


@dataclass(frozen=True)
class _Files:
    """What a process writes, reads and says, beside the run file it becomes."""

    target: Path

    @property
    def partial(self) -> Path:
        return self.target.with_suffix(".partial")

    @property
    def plan(self) -> Path:
        return self.target.with_suffix(".plan")

    @property
    def log(self) -> Path:
        return self.target.with_suffix(".log")


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
    command: Sequence[str],
    folder: Path,
    environment: dict[str, str],
    output: IO[bytes],
    descriptor: int,
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
        pass_fds=(descriptor,),
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
            alone = experiment.options.subject_alone and bool(pairs) and _alike(*pairs[0])
            seconds = experiment.measure_pair(len(pairs), cells, subject_alone=alone)
            pairs.append(load_pair(experiment.folder, len(pairs)))
        cells = undecided(pairs[:look])
        if not cells:
            return pairs[:look]
    return pairs


def _alike(base: Sample, head: Sample) -> bool:
    """Whether two processes took turns in all cells that both measured, and write the same files.

    An efficarch of another schema may not know how to leave the reference out: its rounds would
    then begin with other caches than those of the other side.
    """
    return base.schema == head.schema and all(
        in_turns(cell, head.cells[cell_id])
        for cell_id, cell in base.cells.items()
        if cell.latency_ms is not None
        and cell_id in head.cells
        and head.cells[cell_id].latency_ms is not None
    )


def interpreter() -> Path:
    """Return the Python that runs this; the environment of both arms where they need the same."""
    return Path(sys.executable)
