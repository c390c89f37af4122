"""Error rates on resampled pairs: python -m benchmarks.gate_calibration.resampled RUNS.

RUNS is the folder that a gate of a commit against itself wrote. A simulated gate draws as many of
its pairs as it needs, with replacement and whole, so that what cells of a process share stays, and
exchanges the two sides of each by the toss of a coin, which for one commit changes nothing. Then
the head's figures are multiplied by a slowdown, in all cells or in the first.

What this shows is the decision under the recorded noise. It cannot show what was not recorded: an
hour with another neighbour, or a slowdown that is more than a factor.
"""

import argparse
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from efficarch.decision import gate
from efficarch.errors import EfficarchError
from efficarch.experiment import load_pairs
from efficarch.gate import Outcome, Verdict
from efficarch.observation import Observation, Sample
from efficarch.policy import Policy, load_policy
from efficarch.series import REFERENCES

SLOWDOWNS = (0.0, 0.01, 0.02, 0.03, 0.05, 0.1)

Pair = tuple[Sample, Sample]


@dataclass(frozen=True)
class Tally:
    """What became of the cells of simulated gates.

    Shares of gates with a FAIL, of cells by verdict (those that were slowed, or all of an unchanged
    head), and the mean number of pairs per cell and per gate.
    """

    failed_gates: float
    failed: float
    passed: float
    inconclusive: float
    cell_pairs: float
    gate_pairs: float


def recorded(folder: Path) -> list[Pair]:
    """Read the pairs of a gate's folder, with the cells that all of them measured.

    Raises:
        EfficarchError: fewer than two pairs, or no cell that all measured.
    """
    pairs = load_pairs(folder)
    measured = [
        {cell_id for cell_id, cell in side.cells.items() if cell.latency_ms is not None}
        for pair in pairs
        for side in pair
    ]
    shared = set.intersection(*measured) if measured else set()
    if len(pairs) < 2 or not shared:
        raise EfficarchError(
            f"{folder} holds {len(pairs)} pairs with {len(shared)} cells that all measured; "
            "record some with efficarch gate --base HEAD --head HEAD"
        )
    return [(_only(base, shared), _only(head, shared)) for base, head in pairs]


def simulate(
    pairs: Sequence[Pair],
    policy: Policy,
    *,
    slowdown: float,
    gates: int,
    one_cell: bool = False,
    seed: int = 0,
) -> Tally:
    """Judge simulated gates of a head slower by a share, in all cells or in the first alone."""
    rng = random.Random(seed)
    cells = list(pairs[0][0].cells)
    slowed = cells[:1] if one_cell else cells
    found: list[Verdict] = []
    failed_gates, gate_pairs = 0, 0
    for _gate in range(gates):
        verdicts = gate(*_drawn(pairs, policy.pairs[-1], rng, slowdown, slowed), {}, policy)
        failed_gates += any(verdict.outcome is Outcome.FAIL for verdict in verdicts)
        counted = [verdict for verdict in verdicts if verdict.cell_id != REFERENCES]
        gate_pairs += max(verdict.pairs or 0 for verdict in counted)
        found += [verdict for verdict in counted if verdict.cell_id in slowed]
    share = {
        outcome: sum(verdict.outcome is outcome for verdict in found) / len(found)
        for outcome in Outcome
    }
    return Tally(
        failed_gates / gates,
        share[Outcome.FAIL],
        share[Outcome.PASS],
        share[Outcome.INCONCLUSIVE],
        sum(verdict.pairs or 0 for verdict in found) / len(found),
        gate_pairs / gates,
    )


def _drawn(
    pairs: Sequence[Pair], count: int, rng: random.Random, slowdown: float, slowed: Sequence[str]
) -> tuple[list[Sample], list[Sample]]:
    base, head = [], []
    for pair in rng.choices(pairs, k=count):
        theirs, ours = pair if rng.random() < 0.5 else pair[::-1]
        base.append(theirs)
        head.append(_slower(ours, 1 + slowdown, slowed))
    return base, head


def _slower(sample: Sample, factor: float, slowed: Sequence[str]) -> Sample:
    cells = {
        cell_id: _times(cell, factor) if cell_id in slowed else cell
        for cell_id, cell in sample.cells.items()
    }
    return replace(sample, cells=cells)


def _times(cell: Observation, factor: float) -> Observation:
    latency, ratio = cell.latency_ms, cell.ratio
    return replace(
        cell,
        latency_ms=None if latency is None else latency * factor,
        ratio=None if ratio is None else ratio * factor,
    )


def _only(sample: Sample, cells: set[str]) -> Sample:
    return replace(sample, cells={k: cell for k, cell in sample.cells.items() if k in cells})


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, print the table, return the exit code."""
    parser = argparse.ArgumentParser(prog="resampled", description=__doc__.partition("\n")[0])
    parser.add_argument("runs", type=Path, help="folder of a gate of a commit against itself")
    parser.add_argument("--policy", type=Path, default=Path("pyproject.toml"))
    parser.add_argument("--gates", type=int, default=10_000, help="for no slowdown; else a tenth")
    options = parser.parse_args(arguments)
    try:
        pairs, policy = recorded(options.runs), load_policy(options.policy)
    except EfficarchError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    cells = len(pairs[0][0].cells)
    _say(f"{len(pairs)} recorded pairs of {cells} cells; shares of gates, then of slowed cells")
    _say("slowdown  cells  gates  any FAIL     FAIL     PASS  INCONCLUSIVE  pairs: cell   gate")
    for slowdown in SLOWDOWNS:
        for one_cell in (False, True) if slowdown else (False,):
            gates = options.gates if not slowdown else max(1, options.gates // 10)
            tally = simulate(pairs, policy, slowdown=slowdown, gates=gates, one_cell=one_cell)
            _say(
                f"{slowdown:8.0%}  {'one' if one_cell else 'all':5} {gates:6}  "
                f"{tally.failed_gates:8.2%} {tally.failed:8.1%} {tally.passed:8.1%} "
                f"{tally.inconclusive:13.1%} {tally.cell_pairs:12.1f} {tally.gate_pairs:6.1f}"
            )
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
