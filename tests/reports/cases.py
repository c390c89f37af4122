"""Runs that show every state a report must tell apart."""

from collections.abc import Sequence
from dataclasses import replace

from efficarch.record import (
    Cell,
    CellRun,
    CosSim,
    Estimate,
    Measurement,
    Quality,
    Run,
    Scaling,
    Status,
    Weights,
)
from tests import samples

STEEP = replace(samples.scaling(), subject=samples.sweep(exponent=1.3))
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
        timed_ratio=known,
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
        measured=replace(measured, cossim=quality, cossim_items=()),
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


def swept(
    method: str = "chunked",
    *,
    scaling: Scaling | None = None,
    slope: tuple[float, float] | None = (0.90, 1.10),
) -> CellRun:
    """Return a line that swept over length; linear against quadratic, crossing at 4,096."""
    cell = Cell(
        id=f"scan/{method}/scaling=scan/float32/cpu",
        suite="scan",
        model="scan",
        method=method,
        keep=None,
        length=None,
        batch=1,
        dtype="float32",
        device="cpu",
    )
    measured = replace(
        samples.with_weights(samples.measurement(), Weights.NONE),
        backend=method,
        scaling=scaling or samples.scaling(),
    )
    limits = replace(
        samples.LIMITS,
        slope=slope,
        reference_slope=None if slope is None else (1.85, 2.10),
    )
    return replace(samples.line(cell, measured=measured), limits=limits)


def saved(
    planner: str,
    share: float,
    cossim: float,
    *,
    lost: float | None = None,
    segments: int = 8,
    signal: str = "",
) -> CellRun:
    """Return a line that deferred updates: in a model where bits are lost, else of a signal."""
    way = f"/signal={signal}" if signal else ""
    model = "scan" if lost is None else "mamba-byte"
    cell = Cell(
        id=f"mrss/{model}/{planner}/saving={share:g}{way}/float32/cpu",
        suite="mrss",
        model=model,
        method=planner,
        keep=None,
        length=None if lost is not None else 4096,
        batch=1,
        dtype="float32",
        device="cpu",
    )
    saving = samples.saving(lost=lost or 0.0, updates_saved=share)
    bits = saving.bits[:segments], saving.reference_bits[:segments]
    if lost is None:
        saving = replace(saving, layers=(), bits=(), reference_bits=())
    else:
        bits_now, bits_then = bits
        saving = replace(
            saving, relative_l2=None, state_error=None, bits=bits_now, reference_bits=bits_then
        )
    weights = Weights.NONE if lost is None else Weights.PRETRAINED
    measured = replace(
        samples.with_weights(samples.measurement(ratio=1 - 0.7 * share), weights),
        cossim=CosSim(cossim, cossim - 0.02, cossim - 0.3, 4096),
        cossim_items=(),
        quality=Quality(),
        source=f"signal {signal}" if signal else "8 held-out segments",
        backend="cpp",
        saving=saving,
    )
    return roomy(samples.line(cell, measured=measured))


def every_saving() -> Run:
    """Return a run with each way a planner stands to random, in a model and on signals."""
    return samples.run(
        saved("none", 0.0, 1.0, lost=0.0),
        saved("random", 0.35, 0.95, lost=0.04),
        saved("stride", 0.35, 0.955, lost=0.0395),
        saved("input-change", 0.35, 0.985, lost=0.008),
        saved("worse", 0.35, 0.93, lost=0.06),
        saved("random", 0.5, 0.9, lost=0.08),
        saved("input-change", 0.5, 0.97, lost=0.02),
        saved("random", 0.35, 0.97, signal="ar1-0.99"),
        saved("input-change", 0.35, 0.992, signal="ar1-0.99"),
        saved("input-change", 0.35, 0.65, signal="ar1-0"),
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
