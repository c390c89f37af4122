"""Error rates on recorded pairs: python -m benchmarks.gate_calibration.resampled RUNS.

RUNS are the folders of gates whose commits did not differ in the cells looked at, on one machine.
One table: gates of the pairs as they ran, their sides named anew; unchanged gates of resampled
pairs, also in bad hours; power. What is simulated, and what it cannot show: `efficarch.power`.
"""

import argparse
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.gate_calibration.recordings import Recordings, add_arguments, asked_for
from benchmarks.output import say
from efficarch.errors import EfficarchError
from efficarch.observation import Sample
from efficarch.policy import load_policy
from efficarch.power import (
    SLOWDOWNS,
    Disturbance,
    Pair,
    Tally,
    as_they_ran,
    prepared,
    resampled,
    simulate,
)
from efficarch.store import load_sample

BURST = 3
"""Mean length of a neighbour's burst, in processes."""


def recorded(recordings: Recordings) -> list[Pair]:
    """Read the pairs of gates, with the cells that all of them measured.

    Raises:
        EfficarchError: fewer than two pairs, or no cell that all measured.
    """
    loaded = [(load_sample(base), load_sample(head)) for base, head in recordings.files()]
    pairs = [(_left(base, recordings), _left(head, recordings)) for base, head in prepared(loaded)]
    if len(pairs) < 2 or not pairs[0][0].cells:
        raise EfficarchError(
            f"{recordings}: {len(pairs)} pairs with no cell that all measured, or fewer than two; "
            "record some with efficarch gate --base HEAD --head HEAD"
        )
    return pairs


def _left(sample: Sample, recordings: Recordings) -> Sample:
    cells = {cell_id: cell for cell_id, cell in sample.cells.items() if recordings.has(cell_id)}
    return replace(sample, cells=cells)


def drift(_rng: random.Random, processes: int, cells: int) -> list[list[float]]:
    """Grow by 30 % over the gate."""
    return [[1 + 0.3 * i / processes] * cells for i in range(processes)]


def step(_rng: random.Random, processes: int, cells: int) -> list[list[float]]:
    """Jump by 20 % in the middle, within a pair."""
    return [[1.2 if i > processes // 2 else 1.0] * cells for i in range(processes)]


def periodic(rng: random.Random, processes: int, cells: int) -> list[list[float]]:
    """Swing by 10 % either way, every five processes, from a phase of its own."""
    phase = 2 * math.pi * rng.random()
    swing = [1 + 0.1 * math.sin(phase + 2 * math.pi * i / 5) for i in range(processes)]
    return [[factor] * cells for factor in swing]


def neighbour(rng: random.Random, processes: int, cells: int) -> list[list[float]]:
    """Slow half of the processes by 15 %, in bursts of a few."""
    busy, found = rng.random() < 0.5, []
    for _process in range(processes):
        busy = busy is not (rng.random() < 1 / BURST)
        found.append([1.15 if busy else 1.0] * cells)
    return found


def heavy_tails(rng: random.Random, processes: int, cells: int) -> list[list[float]]:
    """Multiply each cell of each process by noise of 3 % with Student's t of two degrees."""
    return [[math.exp(0.03 * _t2(rng)) for _c in range(cells)] for _p in range(processes)]


def two_modes(rng: random.Random, processes: int, cells: int) -> list[list[float]]:
    """Slow each cell of half of the processes by 20 %."""
    return [[rng.choice((1.0, 1.2)) for _c in range(cells)] for _p in range(processes)]


DISTURBANCES: dict[str, Disturbance | None] = {
    "resampled": None,
    "linear drift of 30 %": drift,
    "a step of 20 % in the middle": step,
    "periodic, 10 % either way": periodic,
    "a neighbour, 15 % half of the time": neighbour,
    "heavy tails": heavy_tails,
    "two modes 20 % apart": two_modes,
}


def _t2(rng: random.Random) -> float:
    # the quantile function of Student's t with two degrees of freedom (Shaw 2006, table 1)
    u = rng.random()
    return (2 * u - 1) / math.sqrt(2 * u * (1 - u)) if 0 < u < 1 else 0.0


HEADER = f"{'':36}  gates  any FAIL    FAIL    PASS  INCONCL.  pairs"


def row(name: str, gates: int, tally: Tally) -> str:
    """Return a line of a table: shares of gates, then of the slowed cells (or of all)."""
    return (
        f"{name:36} {gates:6} {tally.failed_gates:9.2%} {tally.failed:7.1%} {tally.passed:7.1%} "
        f"{tally.inconclusive:9.1%} {tally.gate_pairs:6.1f}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, print the table, return the exit code."""
    parser = argparse.ArgumentParser(prog="resampled", description=__doc__.partition("\n")[0])
    add_arguments(parser)
    parser.add_argument("--policy", type=Path, default=Path("pyproject.toml"))
    parser.add_argument("--gates", type=int, default=10_000, help="unchanged; a 25th elsewhere")
    options = parser.parse_args(arguments)
    try:
        pairs = recorded(asked_for(options))
        policy = load_policy(options.policy)
        if len(pairs) < policy.pairs[-1]:
            raise EfficarchError(
                f"{len(pairs)} pairs were recorded, a gate may take {policy.pairs[-1]}"
            )
    except EfficarchError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    in_order, drawn = as_they_ran(pairs), resampled(pairs)
    fewer = max(1, options.gates // 25)
    say(f"{len(pairs)} recorded pairs of {len(pairs[0][0].cells)} cells")
    say(HEADER)
    say(row("as they ran", fewer, simulate(in_order, policy, slowdown=0, gates=fewer)))
    for name, disturbance in DISTURBANCES.items():
        gates = fewer if disturbance else options.gates
        tally = simulate(drawn, policy, slowdown=0, gates=gates, disturbance=disturbance)
        say(row(name, gates, tally))
    for slowdown in SLOWDOWNS[1:]:
        for one_cell in (False, True):
            name = f"+{slowdown:.0%} in {'one cell' if one_cell else 'all cells'}"
            tally = simulate(drawn, policy, slowdown=slowdown, gates=fewer, one_cell=one_cell)
            say(row(name, fewer, tally))
    return 0


if __name__ == "__main__":
    sys.exit(main())
