"""Processes for the paired gate, built from latencies; no timing is behind them."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from efficarch.observation import Observation, Sample
from efficarch.record import CosSim, Status

CELL = "toy/one"

GPU = (("device", "cuda"), ("gpu_uuid", "GPU-1"), ("torch", "2.13.0"))
CPU = (("device", "cpu"), ("cpu_model", "Sample CPU"), ("torch", "2.13.0"))


def observation(
    latency_ms: float = 10.0,
    *,
    cell_id: str = CELL,
    reference_ms: float | None = None,
    cossim: float | None = None,
    items: int = 32,
    peak_bytes: int | None = None,
) -> Observation:
    """Return a measured cell."""
    return Observation(
        cell_id=cell_id,
        status=Status.PASSED,
        message="",
        latency_ms=latency_ms,
        reference_ms=reference_ms,
        ratio=None if reference_ms is None else latency_ms / reference_ms,
        cossim=None if cossim is None else CosSim(cossim, cossim - 0.02, cossim - 0.05, items),
        peak_bytes=peak_bytes,
    )


def sample(
    *cells: Observation, created: int = 0, machine: tuple[tuple[str, str], ...] = GPU
) -> Sample:
    """Return a process that began at some second."""
    return Sample(machine, f"2026-01-01T00:00:{created:02d}", {c.cell_id: c for c in cells})


def sides(
    pairs: Sequence[tuple[Sequence[Observation], Sequence[Observation]]],
    machine: tuple[tuple[str, str], ...] = GPU,
) -> tuple[list[Sample], list[Sample]]:
    """Return base and head of pairs of cells; the order within pairs is ABBA."""
    base, head = [], []
    for index, (theirs, ours) in enumerate(pairs):
        first = index % 4 in (0, 3)
        base.append(sample(*theirs, created=2 * index + (0 if first else 1), machine=machine))
        head.append(sample(*ours, created=2 * index + (1 if first else 0), machine=machine))
    return base, head


def changed(ratios: Sequence[float], cell_id: str = CELL) -> tuple[list[Sample], list[Sample]]:
    """Return pairs of one cell whose head takes this many times as long."""
    return sides(
        [
            ([observation(cell_id=cell_id)], [observation(10 * ratio, cell_id=cell_id)])
            for ratio in ratios
        ]
    )


def around(ratio: float, count: int, spread: float = 0.002) -> list[float]:
    """Return ratios that lie evenly about one, no two at the same distance, shuffled a little."""
    steps = [spread * (1 + 0.1 * k) * (1 if k % 2 else -1) for k in range(count)]
    return [ratio + step for step in steps]


def with_status(cell: Observation, status: Status, message: str = "") -> Observation:
    """Return a cell that was not measured."""
    return replace(cell, status=status, message=message, latency_ms=None, cossim=None)


def plain_file(
    path: Path,
    medians: dict[str, float],
    created: int,
    cpu: str = "A CPU",
    timer: str = "perf_counter",
) -> Path:
    """Write a file as pytest-benchmark does, with what the gate reads of it."""
    options = {"disable_gc": False, "timer": timer, "warmup": False}
    data: dict[str, Any] = {
        "machine_info": {
            "node": "host",
            "cpu": {"brand_raw": cpu},
            "system": "Linux",
            "release": "6.1",
            "python_version": "3.11.7",
        },
        "datetime": f"2026-01-01T00:00:{created:02d}",
        "benchmarks": [
            {"fullname": n, "options": options, "stats": {"median": m}} for n, m in medians.items()
        ],
    }
    path.write_text(json.dumps(data), encoding="utf-8")
    return path
