"""Claims about how a cell is measured: rounds, pairs and figures, with invented time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest
import torch

from efficarch import bench
from efficarch.bench import (
    MOST_PAIRS,
    ROUND_MS,
    Latency,
    LatencyBudget,
    Result,
    Rounds,
    calls_per_round_alone,
    measure,
    pairs_per_round,
)
from efficarch.contests.base import Arm, Contest, Costs, Settings
from efficarch.record import CosSim, Estimate, Limits, Measurement, Quality, Weights

ROUNDS = 6
SETTINGS = Settings(
    device="cpu", dtype="float32", weights=Weights.RANDOM, locations={}, rounds=ROUNDS, seed=7
)


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    """Run as the suites do, without autograd."""
    with torch.inference_mode():
        yield


@dataclass
class Stage:
    """A contest of two calls that only note they ran, and a clock with known times for them."""

    subject_ms: list[float] = field(default_factory=list)
    reference_ms: list[float] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def contest(self) -> Contest:
        """Return the contest."""
        return Contest(
            subject=Arm(call=lambda: self.log.append("subject"), context=self._context),
            reference=Arm(call=lambda: self.log.append("reference")),
            costs=Costs((17, 9), 50, 5),
            reference_costs=Costs((17, 17), 100, 10),
            cossim=CosSim(0.9, 0.8, 0.7, 32),
            cossim_items=(0.9,),
            quality=Quality(),
            items=8,
            weights=Weights.PRETRAINED,
            source="a sample",
        )

    def time_ms(self, call: Callable[[], object]) -> float:
        """Run the call and return the next time of whichever it was."""
        self.log.append("start")
        call()
        ran = self.log[-1]
        self.log.append("stop")
        return {"subject": self.subject_ms, "reference": self.reference_ms}[ran].pop(0)

    @contextmanager
    def _context(self) -> Iterator[None]:
        self.log.append("enter")
        yield
        self.log.append("leave")

    def measure(self, settings: Settings = SETTINGS) -> tuple[Measurement, list[float]]:
        """Measure ``ROUNDS`` rounds or more; also return what the odometer was told."""
        advanced: list[float] = []

        def repeat(one_round: Callable[[], None], rounds: int) -> None:
            for _round in range(rounds):
                one_round()

        measurement = measure(
            self.contest(), clock=self, settings=settings, repeat=repeat, advance=advanced.append
        )
        return measurement, advanced


def test_rounds_alternate_the_order() -> None:
    """Subject first, then reference first, and so on, so that a drift favours neither."""
    stage = Stage([1.0] * 4, [2.0] * 4)
    rounds = Rounds(stage.contest(), stage)

    for _pair in range(4):
        rounds.pair()

    ran = [line[0] for line in stage.log if line in ("subject", "reference")]
    assert "".join(ran) == "srrssrrs"


def test_a_pair_is_subject_then_reference_whoever_ran_first() -> None:
    """Alternating does not swap the numbers."""
    stage = Stage([1.0, 2.0], [10.0, 20.0])
    rounds = Rounds(stage.contest(), stage)

    assert [rounds.pair(), rounds.pair()] == [(1.0, 10.0), (2.0, 20.0)]


def test_the_subject_s_context_is_outside_the_timing() -> None:
    """Attaching a method is not timed, and the reference runs without it."""
    stage = Stage([1.0, 1.0], [1.0, 1.0])
    rounds = Rounds(stage.contest(), stage)

    rounds.pair()
    rounds.pair()

    subject = ["enter", "start", "subject", "stop", "leave"]
    reference = ["start", "reference", "stop"]
    assert stage.log == [*subject, *reference, *reference, *subject]


def test_slow_calls_give_one_pair_a_round() -> None:
    """The rounds are the pairs after the warm-up, in order and unrounded, both sides of each."""
    subject, reference = [20.0, 21, 19, 22, 20, 20.5], [40.0, 42, 38, 44, 40, 41]
    # a warm-up of equal pairs ends after three, and they fill a round each
    stage = Stage([90.0] * 3 + subject, [80.0] * 3 + reference)

    measurement, advanced = stage.measure()

    assert measurement.pairs_per_round == 1
    assert measurement.rounds_ms == tuple(subject)
    assert measurement.reference_rounds_ms == tuple(reference)
    assert advanced == subject
    assert stage.subject_ms == stage.reference_ms == []


def test_measuring_known_times_gives_the_known_ratio() -> None:
    """Every round half as long as its reference is a ratio of 0.5 with no width."""
    reference = [400.0, 500, 300, 450, 420, 390]
    stage = Stage([100.0] * 3 + [t / 2 for t in reference], [100.0] * 3 + reference)

    measurement, _advanced = stage.measure()

    ratio = measurement.ratio
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((0.5, 0.5, 0.5))
    assert measurement.latency_ms.value == pytest.approx(205)
    assert measurement.reference_ms.value == pytest.approx(410)


def test_throughput_is_items_over_the_median_latency() -> None:
    """Eight images in 200 ms are 40 per second."""
    measurement, _advanced = Stage([200.0] * 9, [400.0] * 9).measure()

    assert measurement.throughput_per_s == pytest.approx(40)


def test_measuring_carries_the_contest_over() -> None:
    """What needed no clock arrives unchanged, with the session's seed and autocast."""
    measurement, _advanced = Stage([200.0] * 9, [400.0] * 9).measure()

    assert (measurement.tokens, measurement.reference_tokens) == ((17, 9), 17)
    assert (measurement.flops, measurement.reference_flops) == (50, 100)
    assert (measurement.peak_bytes, measurement.reference_peak_bytes) == (5, 10)
    assert measurement.cossim == CosSim(0.9, 0.8, 0.7, 32)
    assert (measurement.items, measurement.weights) == (8, Weights.PRETRAINED)
    assert (measurement.source, measurement.seed) == ("a sample", 7)
    assert measurement.autocast is False


def test_autocast_is_recorded() -> None:
    """A run under autocast is told apart from one without."""
    with torch.autocast("cpu", torch.bfloat16):
        measurement, _advanced = Stage([200.0] * 9, [400.0] * 9).measure()

    assert measurement.autocast is True


@pytest.mark.parametrize(("limit", "holds"), [(0.6, True), (0.4, False)])
def test_a_result_compares_with_its_budget(limit: float, holds: bool) -> None:
    """The ratio of 0.5 keeps a budget of 0.6 and breaks one of 0.4; CosSim is the mean."""
    measurement, _advanced = Stage([200.0] * 9, [400.0] * 9).measure()
    result = Result(measurement, Limits(0.85, limit, None, ("sample",)))

    assert (result.latency <= result.budget.latency) is holds
    assert bool(result.latency.breaches(result.budget.latency)) is not holds
    assert result.cossim == 0.9 > result.budget.cossim


@pytest.mark.parametrize(
    ("pair_ms", "pairs"),
    [
        pytest.param(1000.0, 1, id="a second: 1"),
        pytest.param(ROUND_MS, 1, id="just a round: 1"),
        pytest.param(99.0, 2, id="just below: 2"),
        pytest.param(40.0, 4, id="40 ms: 4, not 3"),
        pytest.param(30.0, 4, id="30 ms: 4"),
        pytest.param(20.0, 6, id="20 ms: 6, not 5"),
        pytest.param(9.0, 12, id="9 ms: 12"),
        pytest.param(3.5, 30, id="3.5 ms: 30, not 29"),
        pytest.param(0.01, MOST_PAIRS, id="10 us: the most"),
        pytest.param(0.0, MOST_PAIRS, id="nothing: the most"),
    ],
)
def test_a_round_takes_the_pairs_that_fill_it(pair_ms: float, pairs: int) -> None:
    """Both sides together fill a round, with one pair or the next even number of pairs."""
    assert pairs_per_round([(pair_ms / 4, pair_ms * 3 / 4)]) == pairs


@pytest.mark.parametrize(
    ("subject_ms", "calls"),
    [
        pytest.param(70.0, 1, id="70 ms: 1"),
        pytest.param(20.0, 4, id="20 ms: 4, not 3"),
        pytest.param(0.01, 2 * MOST_PAIRS, id="10 us: the most"),
    ],
)
def test_a_round_of_the_subject_alone_is_half_as_long(subject_ms: float, calls: int) -> None:
    """A shorter one would mostly see the turns change; the fastest call of the warm-up counts."""
    assert calls_per_round_alone([(3 * subject_ms,), (subject_ms,)]) == calls


def test_a_burst_in_the_warm_up_does_not_shorten_the_rounds() -> None:
    """The fastest pair of the warm-up sets the pairs of a round."""
    assert pairs_per_round([(500.0, 500.0), (10.0, 10.0), (80.0, 80.0)]) == 6


def test_a_round_is_the_median_of_each_side_and_order() -> None:
    """One slow call of three in an order changes nothing; the order goes on turning."""
    # subject first: 1, 1, 50; reference first: 4, 4, 4
    stage = Stage([1.0, 4, 1, 4, 50, 4, 3], [10.0, 40, 90, 40, 10, 40, 30])
    rounds = Rounds(stage.contest(), stage)

    assert rounds.round(6) == pytest.approx((2.0, 20.0))
    assert rounds.round(1) == (3.0, 30.0)
    ran = [line[0] for line in stage.log if line in ("subject", "reference")]
    assert "".join(ran) == "srrssrrssrrssr"


@pytest.mark.parametrize("pairs", [2, 4, 6, 30])
def test_what_a_call_follows_favours_no_round(pairs: int) -> None:
    """A subject that is slower right after the reference has the same round every time."""
    stage = Stage([9.0, 4.0] * 60, [1.0] * 120)
    rounds = Rounds(stage.contest(), stage)

    found = {rounds.round(pairs) for _round in range(4)}

    assert found == {(6.0, 1.0)}


@pytest.mark.parametrize("pairs", [2, 4, 6])
def test_a_steady_drift_favours_neither_side(pairs: int) -> None:
    """Calls slower one after the other, whichever side they belong to, leave the ratio at 1."""
    order = ("srrs" * pairs)[: 2 * pairs]
    stage = Stage(
        [100.0 + i for i, side in enumerate(order) if side == "s"],
        [100.0 + i for i, side in enumerate(order) if side == "r"],
    )

    subject, reference = Rounds(stage.contest(), stage).round(pairs)

    assert subject / reference == pytest.approx(1, abs=3e-4)


@pytest.mark.parametrize(
    ("measured_ms", "rounds"),
    [
        pytest.param(0.0, 6, id="nothing asked: as few as may be"),
        pytest.param(900.0, 6, id="six suffice"),
        pytest.param(901.0, 8, id="a little more: 8, not 7"),
        pytest.param(3000.0, 20, id="3 s"),
    ],
)
def test_a_cell_is_measured_as_long_as_is_asked(measured_ms: float, rounds: int) -> None:
    """Rounds of one pair of 150 ms; always an even number of them beyond the least."""
    stage = Stage([50.0] * 23, [100.0] * 23)

    measurement, _advanced = stage.measure(replace(SETTINGS, measured_ms=measured_ms))

    assert len(measurement.rounds_ms) == rounds


def test_later_pairs_of_a_gate_time_the_subject_alone() -> None:
    """Three equal calls are warm, then rounds of one for 400 ms; there is no ratio."""
    subject = [50.0] * 6 + [80.0] * 2
    stage = Stage([50.0] * 3 + subject, [])

    measurement, advanced = stage.measure(
        replace(SETTINGS, measured_ms=400.0, subject_alone=True, timing_only=True)
    )

    assert measurement.rounds_ms == tuple(advanced) == tuple(subject)
    assert measurement.latency_ms.high == 80.0
    assert measurement.reference_rounds_ms == ()
    assert measurement.timed_ratio is measurement.timed_reference_ms is None
    assert stage.subject_ms == []


def test_without_a_ratio_only_a_budget_in_milliseconds_can_break() -> None:
    """Nothing is known that the other could be held against."""
    latency = Latency(Estimate(10.0, 9.0, 11.0), None)

    assert latency <= LatencyBudget(Limits(0.9, 0.01, 9.5, ()))
    assert not latency <= LatencyBudget(Limits(0.9, 0.01, 8.5, ()))


def test_a_later_pair_of_a_gate_is_warm_sooner() -> None:
    """Two pairs of 150 ms instead of three."""
    stage = Stage([50.0] * 8, [100.0] * 8)

    measurement, _advanced = stage.measure(replace(SETTINGS, timing_only=True))

    assert len(measurement.rounds_ms) == 6
    assert stage.subject_ms == stage.reference_ms == []


@pytest.mark.parametrize(
    ("subject_ms", "calls", "rounds"),
    [
        pytest.param(60.0, 1, 18, id="17 rounds of one call, made even"),
        pytest.param(50.0, 1, 20, id="one call fills a round"),
        pytest.param(20.0, 4, 14, id="three calls, made even"),
        pytest.param(0.5, 60, 34, id="no more than sixty"),
        pytest.param(0.0017, 60, 64, id="nor more than 64 rounds, after each of which it rests"),
    ],
)
def test_rounds_of_the_subject_alone_fill_the_time(
    subject_ms: float, calls: int, rounds: int
) -> None:
    """1 s of rounds of 50 ms."""
    stage = Stage([subject_ms] * 4000, [])

    measurement, _advanced = stage.measure(
        replace(SETTINGS, measured_ms=1000.0, subject_alone=True)
    )

    assert measurement.pairs_per_round == calls
    assert len(measurement.rounds_ms) == rounds


@dataclass
class Burst:
    """A clock on which the subject takes 4 ms and the reference 1 ms, but for one burst.

    For 100 ms from ``start_ms`` another process holds the machine: subject calls that begin then
    take 10 ms, reference calls slip through.
    """

    start_ms: float
    now_ms: float = 0.0

    def time_ms(self, call: Callable[[], object]) -> float:
        """Run the call and return what it would take at this moment."""
        subject = call() == "subject"
        hit = self.start_ms <= self.now_ms < self.start_ms + 100
        latency = (10.0 if hit else 4.0) if subject else 1.0
        self.now_ms += latency
        return latency

    def result(self) -> Result:
        """Measure ten rounds under a ratio budget of 6."""
        silent = Stage().contest()
        contest = replace(
            silent, subject=Arm(lambda: "subject"), reference=Arm(lambda: "reference")
        )

        def repeat(one_round: Callable[[], None], _rounds: int) -> None:
            for _round in range(10):
                one_round()

        measurement = measure(
            contest, clock=self, settings=SETTINGS, repeat=repeat, advance=lambda _ms: None
        )
        return Result(measurement, Limits(0.85, 6.0, None, ("sample",)))


@pytest.mark.parametrize("start_ms", range(0, 1100, 7))
def test_one_burst_does_not_change_the_verdict(start_ms: float) -> None:
    """Wherever a burst of 100 ms falls, the median stays what it is without one."""
    result = Burst(start_ms).result()

    assert result.latency <= result.budget.latency
    assert result.latency.ratio.value == pytest.approx(4)


def test_rounds_of_one_pair_would_all_lie_within_the_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same burst right after the warm-up breaks a budget that rounds of one pair hold."""
    monkeypatch.setattr(bench, "pairs_per_round", lambda _discarded: 1)
    result = Burst(15.0).result()

    assert not result.latency <= result.budget.latency
