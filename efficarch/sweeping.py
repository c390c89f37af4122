"""Measuring a scaling cell: all lengths of both sides, interleaved in a new random order a round.

Every call of a round has its own turn in the order: the calls at one length are spread over the
whole round, so that a burst of interference hits single calls of many lengths, not all of one, and
a call finds the caches as its predecessor at some other length left them. Just before it, its side
runs once untimed at length 1, which wakes the threads that slept through the other side's turn.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from random import Random

import torch

from efficarch.bench import Repeat
from efficarch.contests.base import Call, LengthArm, ScalingContest, Settings
from efficarch.errors import EfficarchError
from efficarch.probe import peak_bytes
from efficarch.record import Measurement, Quality, Scaling, Sweep
from efficarch.stats import median, median_interval, paired_ratio
from efficarch.timing import Clock

Side = str
SUBJECT, REFERENCE = "subject", "reference"
FLOOR_LENGTH = 1
"""Where a call computes next to nothing: its latency is the floor."""

POINT_MS = 20.0
MOST_CALLS = 15
"""Quick calls are repeated until a length has had ``POINT_MS`` of a round."""

WARM_UP_PASSES = 2


@dataclass(frozen=True)
class Point:
    """One length of one side."""

    side: Side
    length: int


def shared_length(contest: ScalingContest) -> int:
    """Return the longest length both sides are timed at.

    Raises:
        EfficarchError: there is none, or a side's lengths do not increase from 2 on.
    """
    for name, arm in ((SUBJECT, contest.subject), (REFERENCE, contest.reference)):
        lengths = arm.lengths
        if list(lengths) != sorted(set(lengths)) or not lengths or lengths[0] <= FLOOR_LENGTH:
            raise EfficarchError(
                f"lengths of the {name} are {list(lengths)}; give increasing ones, each above "
                f"{FLOOR_LENGTH}, where the floor is measured"
            )
    both = set(contest.subject.lengths) & set(contest.reference.lengths)
    if not both:
        raise EfficarchError(
            f"lengths {list(contest.subject.lengths)} of the subject and "
            f"{list(contest.reference.lengths)} of the reference share none; a cell needs one for "
            "its latency ratio"
        )
    return max(both)


def calls_per_round(fastest_ms: float) -> int:
    """Return how many calls of a length make up its share of a round; always an odd number."""
    needed = min(MOST_CALLS, max(1, ceil(POINT_MS / fastest_ms)))
    return needed if needed % 2 else needed + 1


class Sweeper:
    """Rounds over all points of a contest; ``rounds[point]`` holds one median a round."""

    def __init__(self, contest: ScalingContest, clock: Clock, seed: int) -> None:
        self._clock = clock
        self._random = Random(seed)
        self._calls: dict[Point, Call] = {
            Point(side, length): arm.build(length)
            for side, arm in ((SUBJECT, contest.subject), (REFERENCE, contest.reference))
            for length in (FLOOR_LENGTH, *arm.lengths)
        }
        self._counts = dict.fromkeys(self._calls, 1)
        self.rounds: dict[Point, list[float]] = {point: [] for point in self._calls}

    def warm_up(self, shared: int) -> int:
        """Discard some passes and settle how often each point is called in a round.

        Returns the number of calls at the shared length, where both sides have equally many.
        """
        passes = [self._pass() for _ in range(WARM_UP_PASSES)]
        for point in self._calls:
            self._counts[point] = calls_per_round(min(one[point][0] for one in passes))
        pair = Point(SUBJECT, shared), Point(REFERENCE, shared)
        fewest = min(self._counts[point] for point in pair)
        self._counts.update(dict.fromkeys(pair, fewest))
        return fewest

    def round(self) -> dict[Point, float]:
        """Time every point in a new random order and keep the median of its calls."""
        medians = {point: median(times) for point, times in self._pass().items()}
        for point, value in medians.items():
            self.rounds[point].append(value)
        return medians

    def call(self, side: Side, length: int) -> Call:
        """Return the call of a point."""
        return self._calls[Point(side, length)]

    def sweep(self, side: Side, arm: LengthArm) -> Sweep:
        """Return the rounds of one side."""
        return Sweep(
            lengths=arm.lengths,
            rounds_ms=tuple(tuple(self.rounds[Point(side, length)]) for length in arm.lengths),
            floor_ms=median(self.rounds[Point(side, FLOOR_LENGTH)]),
            fitted_from=arm.fitted_from,
        )

    def _pass(self) -> dict[Point, list[float]]:
        turns = [point for point, count in self._counts.items() for _ in range(count)]
        self._random.shuffle(turns)
        times: dict[Point, list[float]] = {point: [] for point in self._calls}
        for point in turns:
            self.call(point.side, FLOOR_LENGTH)()
            times[point].append(self._clock.time_ms(self._calls[point]))
        return times


def measure_scaling(
    contest: ScalingContest,
    *,
    clock: Clock,
    settings: Settings,
    repeat: Repeat,
    advance: Callable[[float], None],
) -> Measurement:
    """Warm up, let ``repeat`` run the rounds and gather everything known of the cell.

    Latency, ratio, FLOPs and memory are those at the longest length both sides share, and so is
    what ``advance`` is told of every round.
    """
    shared = shared_length(contest)
    sweeper = Sweeper(contest, clock, settings.seed)
    calls = sweeper.warm_up(shared)
    repeat(lambda: advance(sweeper.round()[Point(SUBJECT, shared)]), settings.rounds)
    subject, reference = contest.subject, contest.reference
    rounds, reference_rounds = (
        tuple(sweeper.rounds[Point(side, shared)]) for side in (SUBJECT, REFERENCE)
    )
    latency = median_interval(rounds)
    return Measurement(
        rounds_ms=rounds,
        reference_rounds_ms=reference_rounds,
        pairs_per_round=calls,
        latency_ms=latency,
        timed_reference_ms=median_interval(reference_rounds),
        timed_ratio=paired_ratio(rounds, reference_rounds),
        throughput_per_s=1e3 * contest.batch * shared / latency.value,
        cossim=contest.cossim(),
        cossim_items=(),
        quality=Quality(),
        tokens=(shared,),
        reference_tokens=shared,
        items=contest.batch * shared,
        flops=subject.flops(shared),
        reference_flops=reference.flops(shared),
        peak_bytes=peak_bytes(sweeper.call(SUBJECT, shared), settings.device),
        reference_peak_bytes=peak_bytes(sweeper.call(REFERENCE, shared), settings.device),
        weights=contest.weights,
        source=contest.source,
        seed=settings.seed,
        autocast=torch.is_autocast_enabled(settings.device),
        backend=contest.backend,
        scaling=Scaling(sweeper.sweep(SUBJECT, subject), sweeper.sweep(REFERENCE, reference)),
    )
