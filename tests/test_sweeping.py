"""How a scaling cell is measured: what is called when and how often, with invented time."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from efficarch.contests.base import Call, LengthArm, ScalingContest, Settings
from efficarch.errors import EfficarchError
from efficarch.record import CosSim, Measurement, Weights
from efficarch.sweeping import (
    FLOOR_LENGTH,
    MOST_CALLS,
    POINT_MS,
    WARM_UP_PASSES,
    Point,
    Sweeper,
    calls_per_round,
    measure_scaling,
    shared_length,
)

ROUNDS = 6
SUBJECT, REFERENCE = (4, 8, 16), (2, 8)
POINTS = {
    *(Point("subject", length) for length in (1, *SUBJECT)),
    *(Point("reference", length) for length in (1, *REFERENCE)),
}


@dataclass
class Stage:
    """Two sides whose calls only note who they are, and a clock with known times for them."""

    times_ms: Callable[[Point, int], float] = lambda point, turn: POINT_MS
    """Milliseconds of a point at its nth timed call."""
    built: list[Point] = field(default_factory=list)
    ran: list[Point] = field(default_factory=list)
    timed: list[Point] = field(default_factory=list)
    woken_by: list[Point] = field(default_factory=list)
    """What ran, untimed, just before each timed call."""

    def contest(
        self, subject: tuple[int, ...] = SUBJECT, reference: tuple[int, ...] = REFERENCE
    ) -> ScalingContest:
        """Return the contest; the subject's slope is fitted from 8 on."""
        return ScalingContest(
            subject=LengthArm(self._builder("subject"), subject, lambda n: 10 * n, 8),
            reference=LengthArm(self._builder("reference"), reference, lambda n: n * n),
            cossim=lambda: CosSim(0.9, 0.8, 0.7, 32),
            batch=2,
            weights=Weights.NONE,
            source="a sample",
            backend="chunked",
        )

    def _builder(self, side: str) -> Callable[[int], Call]:
        def build(length: int) -> Call:
            point = Point(side, length)
            self.built.append(point)
            return lambda: self.ran.append(point)

        return build

    def time_ms(self, call: Call) -> float:
        """Run the call and return its time."""
        before = self.ran[-1]
        call()
        point = self.ran[-1]
        self.woken_by.append(before)
        self.timed.append(point)
        return self.times_ms(point, self.timed.count(point) - 1)

    def sweeper(self, seed: int = 0) -> Sweeper:
        """Return a sweeper over the contest."""
        return Sweeper(self.contest(), self, seed)

    def measure(self) -> tuple[Measurement, list[float]]:
        """Measure ``ROUNDS`` rounds; also return what the odometer was told."""
        advanced: list[float] = []

        def repeat(one_round: Callable[[], None], rounds: int) -> None:
            for _round in range(rounds):
                one_round()

        settings = Settings("cpu", "float32", Weights.NONE, {}, ROUNDS, seed=7)
        measurement = measure_scaling(
            self.contest(), clock=self, settings=settings, repeat=repeat, advance=advanced.append
        )
        return measurement, advanced


def orders(stage: Stage, sweeper: Sweeper, rounds: int) -> list[tuple[Point, ...]]:
    """Return the order of the timed calls of some rounds."""
    found = []
    for _round in range(rounds):
        start = len(stage.timed)
        sweeper.round()
        found.append(tuple(stage.timed[start:]))
    return found


def test_every_round_times_every_length_of_both_sides_and_the_floor() -> None:
    """Nothing is left to a block of its own: a drift meets all points alike."""
    stage = Stage()

    found = orders(stage, stage.sweeper(), 5)

    assert all(Counter(order) == Counter(POINTS) for order in found)


def test_the_order_is_new_each_round_and_seeded() -> None:
    """No length always follows the same other one; the same seed gives the same orders."""
    first, again, other = (
        orders(stage, stage.sweeper(seed), 6)
        for stage, seed in ((Stage(), 0), (Stage(), 0), (Stage(), 1))
    )

    assert len(set(first)) > 4
    assert first == again
    assert first != other


def test_repeated_calls_of_a_point_are_spread_over_the_round() -> None:
    """Fifteen calls at one length do not stand side by side."""
    stage = Stage(lambda point, turn: 0.01)
    sweeper = stage.sweeper()
    sweeper.warm_up(8)

    (order,) = orders(stage, sweeper, 1)

    assert Counter(order) == dict.fromkeys(POINTS, MOST_CALLS)
    runs = sum(a != b for a, b in pairwise(order))
    assert runs > len(order) / 2


def test_each_side_is_woken_before_it_is_timed() -> None:
    """Just before a timed call its own side ran at length 1, untimed, never the other side."""
    stage = Stage()
    stage.sweeper().round()

    assert stage.woken_by == [Point(point.side, FLOOR_LENGTH) for point in stage.timed]
    assert len(stage.ran) == 2 * len(stage.timed)


def test_inputs_are_built_once_and_outside_the_rounds() -> None:
    """Each point is prepared before anything is timed, length 1 included."""
    stage = Stage()
    sweeper = stage.sweeper()
    built = list(stage.built)
    sweeper.warm_up(8)
    sweeper.round()

    assert Counter(built) == Counter(POINTS)
    assert stage.built == built


@pytest.mark.parametrize(
    ("fastest_ms", "calls"),
    [
        pytest.param(0.001, MOST_CALLS, id="instant"),
        pytest.param(POINT_MS / 5, 5, id="odd"),
        pytest.param(POINT_MS / 4, 5, id="made odd"),
        pytest.param(POINT_MS, 1, id="fills a round"),
        pytest.param(1e4, 1, id="slow"),
    ],
)
def test_quick_calls_are_repeated(fastest_ms: float, calls: int) -> None:
    """Always an odd number, so that the median is one of them."""
    assert calls_per_round(fastest_ms) == calls


def test_the_fastest_pass_of_the_warm_up_settles_the_calls() -> None:
    """A burst in one pass does not make the rounds short; both sides share the fewer calls."""
    slow_once = {0: 10 * POINT_MS}
    per_call = {Point("subject", 8): POINT_MS / 3, Point("reference", 8): POINT_MS / 7}
    stage = Stage(lambda point, turn: slow_once.get(turn, per_call.get(point, POINT_MS)))
    sweeper = stage.sweeper()

    assert sweeper.warm_up(8) == 3
    (order,) = orders(stage, sweeper, 1)
    assert Counter(order) == {**dict.fromkeys(POINTS, 1), **dict.fromkeys(per_call, 3)}


def test_a_round_keeps_the_median_of_the_calls_of_a_point() -> None:
    """One call in three that was hit by a burst does not show."""
    point = Point("subject", 4)
    stage = Stage(lambda at, turn: (4.0, 400.0, 5.0)[turn % 3] if at == point else 99.0)
    sweeper = stage.sweeper()
    sweeper._counts[point] = 3

    assert sweeper.round()[point] == 5.0
    assert sweeper.rounds[point] == [5.0]


def test_the_measurement_is_that_of_the_longest_shared_length() -> None:
    """Latency, ratio and odometer are those at length 8; sweeps hold every round and the floor."""
    per_step = {"subject": 3.0, "reference": 6.0}
    stage = Stage(lambda point, turn: per_step[point.side] * point.length + 0.01 * turn)

    measured, advanced = stage.measure()

    first = WARM_UP_PASSES
    subject_ms = tuple(24.0 + 0.01 * (first + turn) for turn in range(ROUNDS))
    assert measured.rounds_ms == pytest.approx(subject_ms)
    assert advanced == pytest.approx(subject_ms)
    assert measured.ratio.value == pytest.approx(0.5, rel=1e-2)
    assert (measured.tokens, measured.items, measured.pairs_per_round) == ((8,), 16, 1)
    assert (measured.flops, measured.reference_flops) == (80, 64)
    assert (measured.backend, measured.seed) == ("chunked", 7)
    scaling = measured.scaling
    assert scaling is not None
    assert scaling.subject.lengths == SUBJECT
    assert scaling.reference.lengths == REFERENCE
    assert (scaling.subject.fitted_from, scaling.reference.fitted_from) == (8, 1)
    assert all(len(rounds) == ROUNDS for rounds in scaling.subject.rounds_ms)
    firsts = [rounds[0] for rounds in scaling.reference.rounds_ms]
    assert firsts == pytest.approx([12.0, 48.0], abs=0.1)


def test_the_floor_is_the_median_at_length_1() -> None:
    """It counts the calls of the rounds alone, not those of the warm-up."""
    warm_up = [900.0] * WARM_UP_PASSES
    rounds = [1.0, 2.0, 3.0, 4.0, 5.0, 60.0]
    floor = [*warm_up, *rounds]
    stage = Stage(
        lambda point, turn: floor[turn] if point == Point("subject", 1) else 30.0 * POINT_MS
    )

    measured, _advanced = stage.measure()

    assert measured.scaling is not None
    assert measured.scaling.subject.floor_ms == 3.5
    assert measured.scaling.reference.floor_ms == 30.0 * POINT_MS


def test_shared_length_is_the_longest_of_both() -> None:
    """The ratio needs one length that both sides were timed at."""
    assert shared_length(Stage().contest((2, 4, 8, 16), (3, 4, 8))) == 8


@pytest.mark.parametrize(
    ("subject", "reference", "words"),
    [
        pytest.param((2, 4), (3, 5), "share none", id="nothing shared"),
        pytest.param((4, 2), (2, 4), r"lengths of the subject are \[4, 2\]", id="falling"),
        pytest.param((2, 4), (2, 2), r"lengths of the reference are \[2, 2\]", id="twice"),
        pytest.param((1, 2), (2, 4), "where the floor is measured", id="the floor's own length"),
        pytest.param((), (2, 4), r"lengths of the subject are \[\]", id="none"),
    ],
)
def test_lengths_that_cannot_be_swept_are_refused(
    subject: tuple[int, ...], reference: tuple[int, ...], words: str
) -> None:
    """One sentence says which lengths and what to give."""
    with pytest.raises(EfficarchError, match=words):
        shared_length(Stage().contest(subject, reference))
