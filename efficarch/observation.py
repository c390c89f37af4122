"""What the gate reads of one process: a latency and a few figures per cell.

A process is one observation of each of its cells, however many rounds it ran: rounds share what
differs from process to process, such as where memory lies, so they are no replicates. Rounds are
kept only where they took turns with those of the other process of a pair.
"""

from dataclasses import dataclass, fields, replace

from efficarch.process_record import ProcessRecord
from efficarch.record import (
    CellRun,
    Conditions,
    CosSim,
    Estimate,
    Limits,
    Machine,
    Measurement,
    Run,
    Status,
)


@dataclass(frozen=True)
class Observation:
    """One cell in one process; the figures are ``None`` where it was not measured.

    ``identity`` is what both sides must share for the figures to be comparable, by name. ``ratio``
    is that to the reference, the median over paired rounds of the same process.
    """

    cell_id: str
    status: Status
    message: str
    latency_ms: float | None = None
    reference_ms: float | None = None
    ratio: float | None = None
    ratio_interval: Estimate | None = None
    """That ratio with the interval over its rounds."""
    cossim: CosSim | None = None
    peak_bytes: int | None = None
    conditions: Conditions | None = None
    turn: int | None = None
    """0 or 1 where the rounds took turns with those of the other process of the pair."""
    rounds_ms: tuple[float, ...] = ()
    reference_rounds_ms: tuple[float, ...] = ()
    """Those rounds; empty where the process measured alone, since they then belong to no others."""
    judged_by_quality: bool = True
    """False on random weights, where any change of CosSim is a change of the output."""
    identity: tuple[tuple[str, str], ...] = ()
    limits: Limits | None = None


@dataclass(frozen=True)
class Sample:
    """One process: its machine's fingerprint by name, when it began, and its cells by id."""

    machine: tuple[tuple[str, str], ...]
    created: str
    cells: dict[str, Observation]
    schema: int | None = None
    """Of its file; ``None`` for one of another project."""
    record: ProcessRecord | None = None
    """What the gate's agent saw; ``None`` for a file that no gate measured."""


def observe(run: Run, schema: int | None = None) -> Sample:
    """Reduce a run, read from a file of some schema, to what the gate reads of it."""
    machine = tuple(
        (field.name, str(getattr(run.machine, field.name))) for field in fields(Machine)
    )
    cells = {line.cell.id: _observation(line) for line in run.cells}
    return Sample(machine, run.created, cells, schema)


def _observation(line: CellRun) -> Observation:
    if line.measurement is None:
        return Observation(line.cell.id, line.status, line.message, limits=line.limits)
    measured = line.measurement
    return Observation(
        cell_id=line.cell.id,
        status=line.status,
        message=line.message,
        latency_ms=measured.latency_ms.value,
        reference_ms=_value(measured.timed_reference_ms),
        ratio=_value(measured.timed_ratio),
        ratio_interval=measured.timed_ratio,
        cossim=measured.cossim,
        peak_bytes=measured.peak_bytes,
        conditions=measured.conditions,
        turn=measured.turn,
        rounds_ms=() if measured.turn is None else measured.rounds_ms,
        reference_rounds_ms=() if measured.turn is None else measured.reference_rounds_ms,
        judged_by_quality=measured.weights.value != "random",
        identity=_identity(measured),
        limits=line.limits,
    )


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value


def _identity(measured: Measurement) -> tuple[tuple[str, str], ...]:
    names = ("source", "seed", "autocast", "items", "backend")
    plain = tuple((name, str(getattr(measured, name))) for name in names)
    return (("weights", measured.weights.value), *plain)


def with_record(sample: Sample, record: ProcessRecord) -> Sample:
    """Add what the agent saw: tests that pytest-benchmark forgets, and how every test ended.

    Test files that cannot be loaded stand for their tests. A process that measured nothing says
    nothing of its machine either.
    """
    cells = dict(sample.cells)
    for cell_id in record.cells:
        if cell_id not in record.tests:
            words = "the session passed it over"
            cells[cell_id] = Observation(cell_id, Status.NOT_RUN, words)
    for name, message in record.errors.items():
        cells[name] = Observation(name, Status.ERROR, message)
    for cell_id, test in record.tests.items():
        seen = cells.get(cell_id) or Observation(cell_id, test.status, "")
        excused = "excused by xfail: " if test.outcome == "xfailed" else ""
        cells[cell_id] = replace(seen, status=test.status, message=excused + test.message)
    machine = sample.machine if any(c.latency_ms is not None for c in cells.values()) else ()
    return replace(sample, machine=machine, cells=cells, record=record)
