"""What a policy can tell under recorded noise: simulated gates of a commit against itself.

A simulated gate takes the pairs it needs from recorded ones, each whole, so that what the cells of
a process share stays, and gives the sides of each their names by the toss of a coin, which for one
commit changes nothing. Then the head's figures are multiplied by a slowdown. Pairs are either drawn
with replacement, or taken as they ran, which keeps the drift of that hour. A disturbance multiplies
the figures of each process by what a bad hour would do to one alone.

What this shows is the decision under the recorded noise. It cannot show what was not recorded, nor
a slowdown that is more than a factor.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import exp
from statistics import stdev
from typing import TypeVar

from efficarch.decision import gate, uses_ratio
from efficarch.gate import Outcome, Verdict
from efficarch.observation import Observation, Sample
from efficarch.policy import Policy
from efficarch.record import Estimate
from efficarch.series import REFERENCES, in_turns, log_ratio, pairs_of, series_of

SLOWDOWNS = (0.0, 0.01, 0.02, 0.03, 0.05, 0.1)

T = TypeVar("T")

Pair = tuple[Sample, Sample]
"""Base and head."""

Draw = Callable[[random.Random, int], list[Pair]]
"""Returns so many pairs of one commit."""

Disturbance = Callable[[random.Random, int, int], list[list[float]]]
"""Returns, for so many processes in the order they run and so many cells, what each figure is
multiplied by."""


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


def table(pairs: Sequence[Pair], policy: Policy, *, gates: int = 100) -> list[str]:
    """Return in lines the noise of measured pairs, and what the policy can tell under it.

    Sides that differ count as noise, so the power for equal ones is no less.
    """
    pairs = prepared(pairs)
    if len(pairs) < 2 or not pairs[0][0].cells:
        return ["power: not known before a gate has measured two pairs"]
    lines = [f"noise between the processes of a pair (standard deviation over {len(pairs)} pairs):"]
    lines += [f"  {100 * sd:5.1f} %  {cell_id}" for cell_id, sd in noise(pairs, policy).items()]
    lines += [f"one slower cell, {gates} simulated gates each:"]
    lines += ["  slower     FAIL     PASS  INCONCLUSIVE   pairs"]
    draw = resampled(pairs)
    for slowdown in SLOWDOWNS:
        found = simulate(draw, policy, slowdown=slowdown, gates=gates, one_cell=True)
        lines.append(
            f"  {slowdown:6.0%} {found.failed:8.0%} {found.passed:8.0%} {found.inconclusive:13.0%}"
            f" {found.cell_pairs:7.1f}"
        )
    return lines


def noise(pairs: Sequence[Pair], policy: Policy) -> dict[str, float]:
    """Return the standard deviation of log(head / base) of each cell's speed, the noisiest first.

    At least two pairs, of the same cells.
    """
    base, head = [b for b, _h in pairs], [h for _b, h in pairs]
    cells = {cell_id: pairs_of(cell_id, base, head) for cell_id in base[0].cells}
    device = dict(base[0].machine).get("device", "")
    by_ratio = uses_ratio(policy, device, in_turns=all(each.in_turns for each in cells.values()))
    found = {
        cell_id: stdev(series_of(cell_id, each, policy, by_ratio=by_ratio)[0].values)
        for cell_id, each in cells.items()
    }
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def prepared(pairs: Sequence[Pair]) -> list[Pair]:
    """Keep of recorded pairs the cells that all of their processes measured, as one round each.

    Where both took turns, that round has the median ratio of theirs, which is what is judged.
    """
    measured = [
        {cell_id for cell_id, cell in side.cells.items() if cell.latency_ms is not None}
        for pair in pairs
        for side in pair
    ]
    shared = set.intersection(*measured) if measured else set()
    return [_prepared(*pair, shared) for pair in pairs]


def _prepared(base: Sample, head: Sample, shared: set[str]) -> Pair:
    order = [cell_id for cell_id in base.cells if cell_id in shared]
    cells = {each: _one_round(base.cells[each], head.cells[each]) for each in order}
    return (
        replace(base, cells={each: theirs for each, (theirs, _ours) in cells.items()}),
        replace(head, cells={each: ours for each, (_theirs, ours) in cells.items()}),
    )


def _one_round(base: Observation, head: Observation) -> tuple[Observation, Observation]:
    if not in_turns(base, head):
        return base, head
    ratio = exp(log_ratio("latency_ms", base, head))
    base, head = replace(base, rounds_ms=(1.0,)), replace(head, rounds_ms=(ratio,))
    if not base.reference_rounds_ms:
        return base, head
    reference = exp(log_ratio("reference_ms", base, head))
    return (
        replace(base, reference_rounds_ms=(1.0,)),
        replace(head, reference_rounds_ms=(reference,)),
    )


def resampled(
    pairs: Sequence[tuple[T, T]],
) -> Callable[[random.Random, int], list[tuple[T, T]]]:
    """Draw recorded pairs with replacement; each keeps which of its processes ran first."""

    def draw(rng: random.Random, count: int) -> list[tuple[T, T]]:
        return [_named(rng, *pair) for pair in rng.choices(pairs, k=count)]

    return draw


def as_they_ran(pairs: Sequence[Pair]) -> Draw:
    """Take recorded pairs in the order they ran, from anywhere on."""

    def draw(rng: random.Random, count: int) -> list[Pair]:
        start = rng.randrange(len(pairs) - count + 1)
        return [_named(rng, *pair) for pair in pairs[start : start + count]]

    return draw


def simulate(
    draw: Draw,
    policy: Policy,
    *,
    slowdown: float,
    gates: int,
    one_cell: bool = False,
    disturbance: Disturbance | None = None,
    seed: int = 0,
) -> Tally:
    """Judge simulated gates of a head slower by a share, in all cells or in one drawn each time."""
    rng = random.Random(seed)
    found: list[Verdict] = []
    failed_gates, gate_pairs = 0, 0
    for _gate in range(gates):
        pairs = draw(rng, policy.pairs[-1])
        cells = list(pairs[0][0].cells)
        slowed = {rng.choice(cells)} if one_cell else set(cells)
        if disturbance is not None:
            pairs = _disturbed(pairs, disturbance(rng, 2 * len(pairs), len(cells)))
        base = [theirs for theirs, _ours in pairs]
        head = [_slower(ours, dict.fromkeys(slowed, 1 + slowdown)) for _theirs, ours in pairs]
        verdicts = gate(base, head, {}, policy)
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


def _named(rng: random.Random, one: T, other: T) -> tuple[T, T]:
    return (one, other) if rng.random() < 0.5 else (other, one)


def _disturbed(pairs: Sequence[Pair], factors: Sequence[Sequence[float]]) -> list[Pair]:
    found = []
    for index, (base, head) in enumerate(pairs):
        turns = (0, 1) if base.created <= head.created else (1, 0)
        base, head = (
            _slower(side, dict(zip(side.cells, factors[2 * index + turn], strict=True)))
            for side, turn in zip((base, head), turns, strict=True)
        )
        found.append((base, head))
    return found


def _slower(sample: Sample, factors: dict[str, float]) -> Sample:
    cells = {
        cell_id: _times(cell, factors[cell_id]) if cell_id in factors else cell
        for cell_id, cell in sample.cells.items()
    }
    return replace(sample, cells=cells)


def _times(cell: Observation, factor: float) -> Observation:
    latency, ratio, interval = cell.latency_ms, cell.ratio, cell.ratio_interval
    return replace(
        cell,
        latency_ms=None if latency is None else latency * factor,
        ratio=None if ratio is None else ratio * factor,
        ratio_interval=None
        if interval is None
        else Estimate(interval.value * factor, interval.low * factor, interval.high * factor),
        rounds_ms=tuple(each * factor for each in cell.rounds_ms),
    )
