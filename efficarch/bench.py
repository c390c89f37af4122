"""Measuring one cell: paired, interleaved rounds of a contest, and the result a test asserts on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import TypeVar

import torch

from efficarch.contests.base import Arm, Contest, Settings
from efficarch.errors import EfficarchError
from efficarch.gate import latency_breaches, slope_breaches
from efficarch.record import Estimate, Limits, Measurement
from efficarch.stats import median, median_interval, paired_ratio
from efficarch.timing import WARM_UP_AGAIN_MS, WARM_UP_ENOUGH_MS, Clock, warm_up

T = TypeVar("T")

Repeat = Callable[[Callable[[], None], int], None]
"""Runs a round so many times; pytest-benchmark's ``pedantic`` in a suite."""

ROUND_MS = 100.0
MOST_PAIRS = 30
"""A round of quick calls takes more pairs, until both sides fill ``ROUND_MS``; ``MOST_PAIRS`` is
the most. Ten rounds of single pairs of a few milliseconds would all lie within one burst of
interference, and an interval over them could not know (docs/measuring.md)."""

MOST_ROUNDS = 64
"""The most that are run to fill a span of time: after each, a process of a gate rests longer than
the quickest calls take."""


@dataclass(frozen=True)
class LatencyBudget:
    """The latency limits of a cell."""

    limits: Limits


@dataclass(frozen=True)
class Latency:
    """A measured latency; ``latency <= budget`` is false when a lower bound exceeds a limit."""

    latency_ms: Estimate
    ratio: Estimate | None
    """``None`` where the reference was not timed."""

    def __le__(self, budget: LatencyBudget) -> bool:
        return not self.breaches(budget)

    def breaches(self, budget: LatencyBudget) -> list[str]:
        """Say in words which limits are broken."""
        return latency_breaches(self.latency_ms, self.ratio, budget.limits)


@dataclass(frozen=True)
class SlopeBudget:
    """The ranges of a scaling cell's slopes; ``slopes in budget`` is false if one is outside."""

    limits: Limits

    def __contains__(self, slopes: "Slopes") -> bool:
        return not slopes.breaches(self)


@dataclass(frozen=True)
class Slopes:
    """How a scaling cell grew; outside its budget where a whole interval is outside its range."""

    measurement: Measurement

    def breaches(self, budget: SlopeBudget) -> list[str]:
        """Say in words which slopes are outside."""
        return slope_breaches(self.measurement, budget.limits)


def broken_limits(found: object, allowed: object) -> list[str] | None:
    """Say what broke in ``latency <= budget`` or ``slopes in budget``; None of anything else."""
    breaches = None
    if isinstance(found, Latency) and isinstance(allowed, LatencyBudget):
        breaches, limits = found.breaches(allowed), allowed.limits
    if isinstance(found, Slopes) and isinstance(allowed, SlopeBudget):
        breaches, limits = found.breaches(allowed), allowed.limits
    if breaches is None:
        return None
    return ["; ".join(breaches), *(f"budget: {reason}" for reason in limits.reasons)]


@dataclass(frozen=True)
class Budget:
    """What a suite test compares its result with; what budgets.toml does not limit is an error."""

    limits: Limits

    @property
    def latency(self) -> LatencyBudget:
        """The latency limits."""
        return LatencyBudget(self.limits)

    @property
    def cossim(self) -> float:
        """The floor of mean CosSim."""
        return self.limits.cossim

    @property
    def cossim_p5(self) -> float:
        """The floor of the 5th percentile of CosSim."""
        return _stated(self.limits.cossim_p5, "cossim_p5")

    @property
    def bits_lost(self) -> float:
        """The most bits per byte that may be lost."""
        return _stated(self.limits.bits_lost, "bits_lost")

    @property
    def slopes(self) -> SlopeBudget:
        """The ranges of both slopes."""
        _stated(self.limits.slope, "slope")
        _stated(self.limits.reference_slope, "reference_slope")
        return SlopeBudget(self.limits)


def _stated(limit: T | None, name: str) -> T:
    if limit is None:
        raise EfficarchError(f"budgets.toml gives this cell no {name}; add one to its [[limit]]")
    return limit


@dataclass(frozen=True)
class Result:
    """What the ``bench`` fixture returns: the measurement beside its limits."""

    measurement: Measurement
    limits: Limits

    @property
    def latency(self) -> Latency:
        """Latency in milliseconds and as a ratio to the reference, with intervals."""
        return Latency(self.measurement.latency_ms, self.measurement.timed_ratio)

    @property
    def cossim(self) -> float:
        """Mean cosine similarity to the reference."""
        return self.measurement.cossim.mean

    @property
    def cossim_p5(self) -> float:
        """5th percentile of the cosine similarity to the reference."""
        return self.measurement.cossim.p5

    @property
    def bits_lost(self) -> float:
        """Mean bits per byte lost on held-out text."""
        saving = self.measurement.saving
        lost = None if saving is None else saving.bits_lost
        if lost is None:
            raise EfficarchError("this cell measures no bits per byte; do not assert on bits_lost")
        return lost

    @property
    def slopes(self) -> Slopes:
        """How latency grew with length on both sides."""
        if self.measurement.scaling is None:
            raise EfficarchError("this cell has no sweep over length; do not assert on slopes")
        return Slopes(self.measurement)

    @property
    def budget(self) -> Budget:
        """The cell's limits."""
        return Budget(self.limits)


class Rounds:
    """Paired rounds of a contest; the order of the two arms alternates from pair to pair (ABBA)."""

    def __init__(self, contest: Contest, clock: Clock) -> None:
        self._contest = contest
        self._clock = clock
        self._turns = 0
        self.subject_ms: list[float] = []
        self.reference_ms: list[float] = []

    def pair(self) -> tuple[float, float]:
        """Time both arms once: milliseconds of the subject and of the reference."""
        subject_first = self._turns % 2 == 0
        self._turns += 1
        if subject_first:
            subject = self._time(self._contest.subject)
            return subject, self._time(self._contest.reference)
        reference = self._time(self._contest.reference)
        return self._time(self._contest.subject), reference

    def round(self, pairs: int) -> tuple[float, float]:
        """Time some pairs and keep, of each side, the geometric mean of its medians in both orders.

        A call that follows the other side finds colder caches than one that follows its own kind.
        One median over both would jump between the two from round to round.
        """
        subjects, references = zip(*(self.pair() for _pair in range(pairs)), strict=True)
        self.subject_ms.append(_centre(subjects))
        self.reference_ms.append(_centre(references))
        return self.subject_ms[-1], self.reference_ms[-1]

    def alone(self) -> tuple[float]:
        """Time the subject once: milliseconds."""
        return (self._time(self._contest.subject),)

    def round_alone(self, calls: int) -> float:
        """Time the subject alone so many times and keep its median, as of a round of pairs."""
        self.subject_ms.append(_centre([self.alone()[0] for _call in range(calls)]))
        return self.subject_ms[-1]

    def _time(self, arm: Arm) -> float:
        with arm.context():
            return self._clock.time_ms(arm.call)


def _centre(times: Sequence[float]) -> float:
    """Return the middle of calls that took the two orders in turns."""
    if len(times) == 1:
        return times[0]
    return sqrt(median(times[::2]) * median(times[1::2]))


def pairs_per_round(discarded: Sequence[tuple[float, ...]]) -> int:
    """Return how many pairs fill a round, from those of the warm-up; one or an even number.

    Even, so that both orders occur as often and a drift favours neither side. The fastest pair
    counts: a burst during the warm-up must not make the rounds short.
    """
    return _filling(sum(min(discarded, key=sum)), ROUND_MS, MOST_PAIRS)


def calls_per_round_alone(discarded: Sequence[tuple[float, ...]]) -> int:
    """Return how many calls of the subject alone fill half a round; one or an even number."""
    return _filling(sum(min(discarded, key=sum)), ROUND_MS / 2, 2 * MOST_PAIRS)


def _filling(each_ms: float, round_ms: float, most: int) -> int:
    if each_ms * most <= round_ms:
        return most
    needed = ceil(round_ms / each_ms)
    return needed if needed == 1 else needed + needed % 2


def rounds_needed(discarded: Sequence[tuple[float, ...]], turns: int, settings: Settings) -> int:
    """Return how many rounds of so many turns to measure: for as long as the settings ask."""
    round_ms = turns * sum(min(discarded, key=sum))
    if settings.rounds * round_ms >= settings.measured_ms:
        return settings.rounds
    needed = max(settings.rounds, min(MOST_ROUNDS, ceil(settings.measured_ms / round_ms)))
    return needed + needed % 2  # rounds of one pair: both orders as often


def measure(
    contest: Contest,
    *,
    clock: Clock,
    settings: Settings,
    repeat: Repeat,
    advance: Callable[[float], None],
) -> Measurement:
    """Warm up, let ``repeat`` run the rounds and gather everything known of the cell.

    ``advance`` is told the subject's milliseconds of every round.
    """
    alone = settings.subject_alone
    enough_ms = WARM_UP_AGAIN_MS if settings.timing_only else WARM_UP_ENOUGH_MS
    first = Rounds(contest, clock)
    discarded = warm_up(first.alone if alone else first.pair, enough_ms)
    # from the start of an order: the two processes of a gate's pair then have the same one
    rounds = Rounds(contest, clock)
    turns = calls_per_round_alone(discarded) if alone else pairs_per_round(discarded)

    def one_round() -> None:
        advance(rounds.round_alone(turns) if alone else rounds.round(turns)[0])

    repeat(one_round, rounds_needed(discarded, turns, settings))
    subject, reference = tuple(rounds.subject_ms), tuple(rounds.reference_ms)
    latency = median_interval(subject)
    return Measurement(
        rounds_ms=subject,
        reference_rounds_ms=reference,
        pairs_per_round=turns,
        latency_ms=latency,
        timed_reference_ms=None if alone else median_interval(reference),
        timed_ratio=None if alone else paired_ratio(subject, reference),
        throughput_per_s=1e3 * contest.items / latency.value,
        cossim=contest.cossim,
        cossim_items=contest.cossim_items,
        quality=contest.quality,
        tokens=contest.costs.tokens,
        reference_tokens=contest.reference_costs.tokens[0],
        items=contest.items,
        flops=contest.costs.flops,
        reference_flops=contest.reference_costs.flops,
        peak_bytes=contest.costs.peak_bytes,
        reference_peak_bytes=contest.reference_costs.peak_bytes,
        weights=contest.weights,
        source=contest.source,
        seed=settings.seed,
        autocast=torch.is_autocast_enabled(settings.device),
        backend=contest.backend,
        saving=contest.saving,
    )
