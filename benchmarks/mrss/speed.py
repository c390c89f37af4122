"""Wall-clock saved on signals of known redundancy: python -m benchmarks.mrss.speed.

The fused scan of the ``cpp`` backend with planning and emission against the same backend's plain
scan, in turns in one run, with CosSim and its 5th percentile by token of the SSM term (without skip
term and gate). ``gated`` is the scan as a layer calls it, softplus, skip term and gate included;
``bare`` is the SSM term alone, of ready-made steps.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from benchmarks.output import say
from efficarch.contests.mrss import term_similarity
from efficarch.errors import EfficarchError
from efficarch.quality import summarise
from efficarch.record import CosSim, Estimate
from efficarch.scan import ScanInputs, cpp
from efficarch.scan.base import step_sizes
from efficarch.scan.mrss import Planner, Threshold, mrss_scan, observed, planner, score
from efficarch.scan.signals import Size, signal_inputs
from efficarch.stats import median, paired_ratio
from efficarch.store import write_text
from efficarch.timing import WallClock

SIZES = (Size(1, 1536, 16, 4096), Size(1, 384, 16, 4096), Size(1, 1536, 16, 16384))
NAMES = ("ar1-0.99", "piecewise", "ar1-0.0")
ROUNDS = 11


@dataclass(frozen=True)
class Row:
    """One planner on one signal; ``ratio`` is time over that of the plain scan."""

    signal: str
    size: Size
    kind: str
    planner: str
    saved: float
    cossim: CosSim
    ratio: Estimate
    plain_ms: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the JSON; return the exit code."""
    parser = argparse.ArgumentParser(prog="speed", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("mrss-speed.json"), help="JSON to write")
    parser.add_argument(
        "--sizes", type=int, default=len(SIZES), help="measure only this many (default: all)"
    )
    options = parser.parse_args(arguments)
    say(f"{torch.get_num_threads()} threads, {ROUNDS} rounds in turns, 95 % intervals")
    say("signal     channels  length kind   planner               saved  CosSim (p5)      time")
    try:
        rows = [
            row for size in SIZES[: options.sizes] for name in NAMES for row in _signal(name, size)
        ]
        write_text(options.out, json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    except EfficarchError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def _signal(name: str, size: Size) -> list[Row]:
    inputs = signal_inputs(name, size, seed=0)
    # a threshold is calibrated on other tokens of the same layer: here, the signal played backwards
    backwards = replace(
        inputs, **{key: getattr(inputs, key).flip(-1) for key in ("u", "delta", "B", "C", "z")}
    )
    planners: list[Planner] = [
        planner("none", 0.0),
        planner("stride", 0.75),
        planner("stride", 0.875),
        planner("step-size", 0.5),
        planner("step-size", 0.75),
        Threshold.calibrated(score("step-size"), [backwards], saving=0.75),
        Threshold.calibrated(score("step-size"), [backwards], saving=0.86),
    ]
    bare = replace(
        inputs, delta=step_sizes(inputs), delta_bias=None, delta_softplus=False, D=None, z=None
    )
    kinds = {"gated": inputs, "bare": bare}
    return [
        _told(row)
        for kind, each in kinds.items()
        for row in _rows(name, size, kind, each, planners)
    ]


def _rows(
    name: str, size: Size, kind: str, inputs: ScanInputs, planners: Sequence[Planner]
) -> list[Row]:
    """Time all planners and the plain scan in turns; every round begins with another one."""
    calls = [lambda: cpp.scan(inputs), *(_call(inputs, each) for each in planners)]
    clock, times = WallClock(), [list[float]() for _ in calls]
    for turn in range(-2, ROUNDS):
        order = [(turn + place) % len(calls) for place in range(len(calls))]
        taken = {index: clock.time_ms(calls[index]) for index in order}
        if turn >= 0:  # the first two warm up
            for index, milliseconds in taken.items():
                times[index].append(milliseconds)
    rows = []
    for each, spent in zip(planners, times[1:], strict=True):
        plan = each.plan(inputs)
        cossim = summarise(term_similarity(observed(0, inputs, plan, backend="cpp")))
        ratio = paired_ratio(spent, times[0])
        saved = plan.updates_saved
        rows.append(Row(name, size, kind, each.name, saved, cossim, ratio, median(times[0])))
    return rows


def _call(inputs: ScanInputs, plans: Planner) -> Callable[[], object]:
    return lambda: mrss_scan(inputs, plans.plan(inputs), backend="cpp")


def _told(row: Row) -> Row:
    ratio = row.ratio
    say(
        f"{row.signal:10} {row.size.channels:8} {row.size.length:7} {row.kind:6} {row.planner:21} "
        f"{row.saved:5.1%}  {row.cossim.mean:.4f} ({row.cossim.p5:.4f})  "
        f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}] of {row.plain_ms:.1f} ms"
    )
    return row


if __name__ == "__main__":
    sys.exit(main())
