"""Paired observations of cells, and the log-ratios of their metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, log, log1p
from statistics import median

from efficarch.observation import Observation, Sample
from efficarch.paired import lower_bound, shift, upper_bound
from efficarch.policy import Policy
from efficarch.record import Estimate

REFERENCES = "references"
"""Name of the line that judges the latency of all references together, where cells are judged by
their ratio to them."""

MEMORY = "peak memory"
"""Name of that metric."""

INTERVAL_ERROR = 0.025
"""One side of the 95 % intervals that are shown beside a verdict."""


@dataclass(frozen=True)
class Pairs:
    """The paired observations of one cell, in the order they were made; equally many a side."""

    base: tuple[Observation, ...]
    head: tuple[Observation, ...]
    base_first: tuple[bool, ...]
    places: tuple[int, ...]
    """Which of all pairs these are: not every pair measured every cell."""

    def first(self, count: int) -> "Pairs":
        """Return the pairs made first."""
        return Pairs(
            self.base[:count], self.head[:count], self.base_first[:count], self.places[:count]
        )

    def logs(self, name: str) -> tuple[float, ...]:
        """Return log(head / base) of a figure that all observations have, one per pair.

        Where the processes of a pair took turns, a latency's is the median over their rounds.
        """
        return tuple(
            log_ratio(name, base, head) for base, head in zip(self.base, self.head, strict=True)
        )

    @property
    def in_turns(self) -> bool:
        """Whether all pairs took turns, round by round."""
        return all(map(in_turns, self.base, self.head))

    def have(self, name: str) -> bool:
        """Whether all observations have a figure."""
        return all(getattr(each, name) is not None for each in (*self.base, *self.head))


@dataclass(frozen=True)
class Series:
    """The paired log-ratios of one metric of one cell, the higher the worse."""

    cell_id: str
    metric: str
    values: tuple[float, ...]
    base_first: tuple[bool, ...]
    floor: float
    """Smallest change that fails, as a logarithm."""
    null: float
    """Largest change that counts as none, as a logarithm."""

    def first(self, count: int) -> "Series":
        """Return what the pairs made first say."""
        return replace(self, values=self.values[:count], base_first=self.base_first[:count])

    @property
    def orders_agree(self) -> bool:
        """Whether both orders within a pair say worse; one that never occurred says nothing."""
        for order in (True, False):
            values = [
                value
                for value, first in zip(self.values, self.base_first, strict=True)
                if first is order
            ]
            if values and median(values) <= self.null:
                return False
        return True

    @property
    def words(self) -> str:
        """What was found, for people."""
        change = estimate(self.values)
        value, low, high = (100 * (x - 1) for x in (change.value, change.low, change.high))
        found = f"{value:+.1f} % [{low:+.1f}, {high:+.1f}]"
        return f"{self.metric} {found} over {counted_pairs(len(self.values))}"


def pairs_of(cell_id: str, base: Sequence[Sample], head: Sequence[Sample]) -> Pairs:
    """Return the pairs that measured a cell."""
    both = [
        (place, b, h)
        for place, (b, h) in enumerate(zip(base, head, strict=True))
        if cell_id in b.cells
    ]
    return Pairs(
        base=tuple(b.cells[cell_id] for _place, b, _h in both),
        head=tuple(h.cells[cell_id] for _place, _b, h in both),
        base_first=tuple(_base_first(cell_id, b, h) for _place, b, h in both),
        places=tuple(place for place, _b, _h in both),
    )


def _base_first(cell_id: str, base: Sample, head: Sample) -> bool:
    turn = base.cells[cell_id].turn
    return base.created <= head.created if turn is None else turn == 0


def in_turns(base: Observation, head: Observation) -> bool:
    """Whether two processes took turns, round by round."""
    return None not in (base.turn, head.turn) and len(base.rounds_ms) == len(head.rounds_ms)


def log_ratio(name: str, base: Observation, head: Observation) -> float:
    """Return log(head / base) of a figure of one pair; see `Pairs.logs`."""
    rounds = {"latency_ms": "rounds_ms", "reference_ms": "reference_rounds_ms"}
    if name in rounds and in_turns(base, head):
        both = zip(getattr(base, rounds[name]), getattr(head, rounds[name]), strict=True)
        return median(log(ours / theirs) for theirs, ours in both)
    before, after = getattr(base, name), getattr(head, name)
    if name == "peak_bytes":
        # a call that allocates nothing counts as one byte, which there are ratios of
        before, after = max(1, before), max(1, after)
    return log(after / before)


def series_of(cell_id: str, pairs: Pairs, policy: Policy, *, by_ratio: bool) -> list[Series]:
    """Return the series of a cell: its speed, and peak memory where that needs a test."""
    held, null = policy.of(cell_id), log1p(policy.null)
    name, metric = ("ratio", "latency ratio") if by_ratio else ("latency_ms", "latency")
    if not pairs.have(name):
        name, metric = "latency_ms", "latency"
    found = [Series(cell_id, metric, pairs.logs(name), pairs.base_first, log1p(held.floor), null)]
    if memory_varies(pairs):
        allowed = max(null, log1p(held.memory_tolerance))
        floor = max(allowed, log1p(held.floor))
        logs = pairs.logs("peak_bytes")
        found.append(Series(cell_id, MEMORY, logs, pairs.base_first, floor, allowed))
    return found


def memory_varies(pairs: Pairs) -> bool:
    """Whether peak memory differs between processes of one side, so that only a test can tell."""
    sides = ({each.peak_bytes for each in side} for side in (pairs.base, pairs.head))
    return pairs.have("peak_bytes") and any(len(side) > 1 for side in sides)


def references(pairs: Mapping[str, Pairs], policy: Policy) -> Series | None:
    """Return the latencies of the references, each value the median over the cells of a pair."""
    having = [each for each in pairs.values() if each.have("reference_ms")]
    if not having:
        return None
    of_place: dict[int, list[float]] = {}
    base_first: dict[int, bool] = {}
    # the cell that the most pairs measured says who began; the others fill the places it lacks
    for each in sorted(having, key=lambda each: -len(each.base)):
        values = each.logs("reference_ms")
        for place, value, first in zip(each.places, values, each.base_first, strict=True):
            of_place.setdefault(place, []).append(value)
            base_first.setdefault(place, first)
    return Series(
        REFERENCES,
        "latency of all references",
        tuple(median(of_place[place]) for place in sorted(of_place)),
        tuple(base_first[place] for place in sorted(of_place)),
        log1p(policy.floor),
        log1p(policy.null),
    )


def counted_pairs(count: int) -> str:
    """Return a number of pairs in words."""
    return "1 pair" if count == 1 else f"{count} pairs"


def estimate(values: Sequence[float]) -> Estimate:
    """Return the ratio behind logarithms with its 95 % interval; their range if they are few."""
    low, high = lower_bound(values, INTERVAL_ERROR), upper_bound(values, INTERVAL_ERROR)
    return Estimate(exp(shift(values)), exp(max(low, min(values))), exp(min(high, max(values))))
