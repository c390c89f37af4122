"""The paired experiment: two commits, measured by turns in fresh processes.

Each process is a pytest session of the side's own suites with the side's own code. Both processes
of a pair run side by side and measure the same cells in the same order, round by round in turns;
which side begins is drawn, balanced over every two pairs (ABBA or BAAB). Files are in place only
when both are complete, so whatever interrupts an experiment, the same command goes on behind the
last finished pair.
"""

import json
import random
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from efficarch.errors import EfficarchError
from efficarch.experiment.acceptance import accept, check_loaded, check_measured
from efficarch.experiment.collected import Collected
from efficarch.experiment.complaint import shorten
from efficarch.experiment.ledger import RUNS, Ledger, finished_pairs, run_file
from efficarch.experiment.processes import Start, run_pair
from efficarch.experiment.side import Files, Side
from efficarch.experiment.worktree import SIDES, Arms, changes
from efficarch.observation import Sample, with_record
from efficarch.patterns import expression
from efficarch.process_plan import ProcessPlan
from efficarch.process_record import ProcessRecord, load_record
from efficarch.series import in_turns
from efficarch.store import load_sample, write_text
from efficarch.timing import now, seconds_now
from efficarch.turns import Conductor

Pair = tuple[Sample, Sample]
"""Base and head."""


@dataclass(frozen=True)
class Options:
    """How every process of an experiment measures."""

    pytest: tuple[str, ...]
    """Further arguments of pytest: ``-k`` and what it selects."""
    efficarch: tuple[str, ...]
    """Options of efficarch's plugin, for sides that have it: device, dtype, weights."""
    suites: tuple[str, ...]
    """Folders or files of the benchmarks, relative to the project."""
    seed: int
    timeout_s: int
    """Longest a pair may take."""
    cells: tuple[str, ...] | None = None
    """Patterns of the cells to begin with; ``None`` for all that pytest selects."""
    cuda: str = ""
    """What promises CUDA, if anything does."""
    subject_alone: bool = False
    """Whether later pairs need not time the reference, if both sides of the first are alike."""


@dataclass(frozen=True)
class Experiment:
    """Where an experiment keeps its files, what it compares and how."""

    ledger: Ledger
    sides: Mapping[str, Side]
    options: Options
    lock: int | None
    """A descriptor that every process keeps open while it measures."""

    @property
    def arms(self) -> Arms:
        """Both checkouts."""
        return self.sides["base"].arms

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return self.ledger.folder

    def measure_pair(
        self, pair: int, cells: Sequence[str] | None, *, subject_alone: bool = False
    ) -> float:
        """Measure a pair, with its references or without, and return how many seconds it took.

        Raises:
            EfficarchError: a process failed, hung or measured nothing, a pattern of cells names
                none, or measured code changed a tree; finished pairs stay.
        """
        start = seconds_now()
        plan = ProcessPlan(
            cells=self.options.cells if cells is None else tuple(cells),
            seed=self.options.seed + pair,
            timing_only=pair > 0,
            subject_alone=subject_alone,
        )
        files = {
            side: Files(run_file(self.folder, pair, side), self.sides[side].workspace / "control")
            for side in order(self.options.seed, pair)
        }
        self._make_room(files)
        try:
            codes = self._run(files, plan, first=pair == 0)
            for side in (each for each in SIDES if each in codes):
                accept(codes[side], side, files[side], self.options.cuda)
            check_measured(files, self.options.suites, self.options.pytest)
            self._keep(files)
        finally:
            for each in files.values():
                each.partial.unlink(missing_ok=True)
                shorten(each.log)
        return seconds_now() - start

    def _make_room(self, files: Mapping[str, Files]) -> None:
        """Remove what an interrupted gate left of a pair; the ledger knows it for the gate's."""
        lasting = [path for each in files.values() for path in each.lasting]
        self.ledger.expect(lasting)
        (self.folder / RUNS).mkdir(exist_ok=True)
        for path in (
            *lasting,
            *(path for each in files.values() for path in (each.collected, each.heard)),
        ):
            path.unlink(missing_ok=True)

    def _run(self, files: Mapping[str, Files], plan: ProcessPlan, *, first: bool) -> dict[str, int]:
        """Run both processes, the first of which begins every cell."""
        wanted = None if plan.cells is None else [expression(each) for each in plan.cells]
        starts = {}
        for side, each in files.items():
            plan.write(each.plan)
            self.sides[side].tell(
                each, wanted, self.options.efficarch, cuda=bool(self.options.cuda)
            )
            starts[side] = self._start(side, each)
        collected = Collected(files, (plan.cells or ()) if first else (), self.options.cuda)

        def conductor(connections: Mapping[str, socket.socket]) -> Conductor:
            return Conductor(connections, lambda name: collected.place(name, plan))

        codes = run_pair(
            starts,
            conductor,
            timeout_s=self.options.timeout_s,
            lock=self.lock,
            collected=collected.has,
        )
        check_loaded(codes, collected, files)
        return codes

    def _start(self, side: str, files: Files) -> Start:
        arguments = (*self.options.suites, *self.options.pytest)
        return Start(
            command=lambda: self.sides[side].command(files, arguments),
            variables=lambda turns: self.sides[side].variables(files, turns),
            folder=self.arms.of(side).project,
            log=files.log,
        )

    def _keep(self, files: Mapping[str, Files]) -> None:
        """Put the files of a pair in place; what went wrong stays to be read."""
        for side in files:
            altered = changes(self.arms.of(side))
            if altered:
                raise EfficarchError(
                    f"the code that was measured changed the tree of the {side} ({altered[0]}), "
                    "so that what is measured is no longer that commit; keep benchmarks from "
                    "writing code"
                )
        kept = []
        for each in files.values():
            if each.partial.is_file():
                each.partial.replace(each.target)
            else:
                write_text(each.target, json.dumps({**NOTHING, "datetime": now()}))
            kept += [each.target, each.record]
        self.ledger.add(kept)
        if not any(_troubles(load_record(each.record)) for each in files.values()):
            for each in files.values():
                each.log.unlink()


NOTHING: dict[str, Any] = {"machine_info": {}, "commit_info": {}, "benchmarks": []}
"""Stands for what pytest-benchmark does not write where no benchmark came to its end."""


def _troubles(record: ProcessRecord) -> bool:
    return any(each.outcome in ("failed", "error") for each in record.tests.values())


def load_pair(folder: Path, pair: int) -> Pair:
    """Read base and head of a finished pair.

    Raises:
        RunFileError: one of them cannot be read.
    """
    base, head = (_result(run_file(folder, pair, side)) for side in SIDES)
    return base, head


def _result(path: Path) -> Sample:
    sample, record = load_sample(path), path.with_suffix(".record.json")
    return with_record(sample, load_record(record)) if record.is_file() else sample


def load_pairs(folder: Path) -> list[Pair]:
    """Read all finished pairs, in order; see `load_pair`."""
    return [load_pair(folder, pair) for pair in range(finished_pairs(folder))]


def order(seed: int, pair: int) -> tuple[str, str]:
    """Return which side of a pair goes first: drawn for two pairs, the second the other way."""
    base_first = random.Random(f"{seed} {pair // 2}").random() < 0.5
    first = base_first if pair % 2 == 0 else not base_first
    return ("base", "head") if first else ("head", "base")


def measure(
    experiment: Experiment,
    looks: Sequence[int],
    undecided: Callable[[list[Pair]], list[str]],
    tell: Callable[[int, int, float], None],
) -> list[Pair]:
    """Measure pairs until no cell is undecided at a look, and return all of them.

    ``tell`` hears, before each pair, how many are finished, how many the next look needs, and how
    many seconds a pair last took (0 where none has).
    """
    pairs = load_pairs(experiment.folder)[: experiment.ledger.resumed_pairs]
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
