"""Which measurement a file holds, whatever else it says: one that was saved twice is still one."""

import json
from typing import Any

from efficarch.observation import Sample

FIGURES = ("median", "mean", "stddev", "min", "max", "rounds", "iterations")
"""What pytest-benchmark writes of a benchmark into every file of a session."""


def identities(data: Any, sample: Sample) -> list[str]:
    """Return what files share that hold one measurement, by the JSON value and what was read of it.

    That is when and where it was made, and the latency of each cell. As pytest-benchmark dates each
    file of a session anew, it is also the figures alone, where they hold a spread: medians may
    agree by chance, but not in every digit with what was measured around them.
    """
    latencies = sorted((name, cell.latency_ms) for name, cell in sample.cells.items())
    found = [json.dumps([sample.machine, sample.created, latencies])]
    benches = [bench for bench in data["benchmarks"] if isinstance(bench.get("stats"), dict)]
    if any(_spread(bench["stats"]) for bench in benches):
        figures = [[bench.get("fullname"), *map(bench["stats"].get, FIGURES)] for bench in benches]
        found.append(json.dumps(sorted(figures, key=json.dumps)))
    return found


def _spread(stats: dict[str, Any]) -> bool:
    deviation = stats.get("stddev")
    return isinstance(deviation, int | float) and deviation > 0
