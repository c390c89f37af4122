"""Runs that show every state a report must tell apart."""

from collections.abc import Sequence
from dataclasses import replace

from efficarch.record import (
    Cell,
    CellRun,
    CosSim,
    Estimate,
    Measurement,
    Run,
    Status,
    Weights,
)
from tests import samples

EVIL = '<script>alert("1")</script>|x`_@you'


def named(cell_id: str, method: str = "tome") -> Cell:
    """Return a sample cell under another id."""
    return replace(samples.cell(method), id=cell_id)


def reduced(method: str, cossim: float, *, ratio: float = 0.7, batch: int = 8) -> CellRun:
    """Return a measured line of a method."""
    return samples.line(
        samples.cell(method, batch=batch),
        measured=samples.measurement(ratio=ratio, cossim=cossim),
    )


def roomy(line: CellRun) -> CellRun:
    """Return the line under a latency budget that it holds."""
    return replace(line, limits=replace(samples.LIMITS, latency_ratio=50.0))


def beside(
    method: str, ratio: Estimate | float, items: Sequence[float], *, keep: float | None = 0.5
) -> CellRun:
    """Return a line of a known latency ratio and a known CosSim of each image."""
    known = ratio if isinstance(ratio, Estimate) else Estimate(ratio, ratio, ratio)
    mean = sum(items) / len(items)
    measured = replace(
        samples.measurement(),
        ratio=known,
        cossim=CosSim(mean, min(items), min(items), len(items)),
        cossim_items=tuple(items),
    )
    return roomy(samples.line(samples.cell(method, keep=keep), measured=measured))


def every_standing() -> Run:
    """Return a run with each way to stand to random pruning; random is at 0.9 at ratio 0.75."""
    return samples.run(
        beside("random", 0.5, [0.8] * 8),
        beside("tome", Estimate(0.75, 0.74, 0.76), [0.95] * 8),
        beside("norm", 0.75, [0.85] * 8),
        beside("open", 0.75, [0.8, 1.0] * 4),
        beside("quick", 0.4, [0.8] * 8),
    )


def on_random_weights(cossim: float) -> CellRun:
    """Return a line whose CosSim must never be shown."""
    measured = samples.with_weights(samples.measurement(), Weights.RANDOM)
    quality = CosSim(mean=cossim, p5=cossim, minimum=cossim, items=8)
    return samples.line(
        named("clip/random-weights", "of-another-project"),
        measured=replace(measured, cossim=quality),
    )


def scan(method: str, length: int, latency_ms: float) -> CellRun:
    """Return a line of the scan suite, timed against causal attention."""
    cell = Cell(
        id=f"scan/{method}/length={length}",
        suite="scan",
        model="scan-d64",
        method=method,
        keep=None,
        length=length,
        batch=1,
        dtype="float32",
        device="cpu",
    )
    attention_ms = 1e-6 * length**2
    measured = samples.measurement(ratio=latency_ms / attention_ms, dense_ms=attention_ms)
    return samples.line(cell, measured=samples.with_weights(measured, Weights.NONE))


def every_state() -> Run:
    """Return a run with each status, each kind of weights and each kind of chart."""
    return samples.run(
        roomy(reduced("dense", 1.0, ratio=1.0)),
        reduced("tome", 0.976),
        reduced("norm", 0.812),
        reduced("random", 0.955),
        reduced("slow", 0.95, ratio=0.9),
        on_random_weights(0.123456),
        samples.line(named("clip/error"), status=Status.ERROR, message="out of memory"),
        samples.line(named("clip/skipped"), status=Status.SKIPPED, message="needs a GPU"),
        samples.line(named("clip/not-run"), status=Status.NOT_RUN),
        *(roomy(scan("chunked", length, 0.001 * length)) for length in (256, 1024, 4096)),
    )


def slower(line: CellRun, factor: float, *, noise: tuple[float, ...] = ()) -> CellRun:
    """Return the same cell measured at another latency ratio."""
    assert line.measurement is not None
    again: Measurement = samples.measurement(
        ratio=line.measurement.ratio.value * factor,
        cossim=line.measurement.cossim.mean,
        noise=noise,
    )
    return replace(line, measurement=again)
