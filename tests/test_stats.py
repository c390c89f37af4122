"""Intervals, paired ratios and slopes, against values worked out by hand."""

from collections.abc import Sequence
from dataclasses import replace
from math import exp, inf, nan
from random import Random
from statistics import median as reference_median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import quantile_test

from efficarch.record import Estimate
from efficarch.stats import (
    CONFIDENCE,
    MIN_ROUNDS,
    median,
    median_interval,
    paired_ratio,
    ratio_change,
    relative_slope,
)

# no deadline: scipy is imported inside an example, and machines under load are slow
relaxed = settings(deadline=None, derandomize=True, max_examples=60)

TIMINGS_MS = st.floats(min_value=1e-3, max_value=1e4)
PAIRS = st.lists(st.tuples(TIMINGS_MS, TIMINGS_MS), min_size=MIN_ROUNDS, max_size=20)


@st.composite
def estimates(draw: st.DrawFn) -> Estimate:
    """Return a positive figure somewhere inside its interval."""
    value = draw(st.floats(min_value=1e-2, max_value=1e2))
    below, above = (draw(st.floats(min_value=0, max_value=2)) for _ in range(2))
    return Estimate(value, value * exp(-below), value * exp(above))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([3.0], 3.0, id="one"),
        pytest.param([5.0, 1.0, 3.0], 3.0, id="odd"),
        pytest.param([4.0, 1.0, 2.0, 100.0], 3.0, id="even"),
        pytest.param([1, 2], 1.5, id="whole numbers"),
    ],
)
def test_median(values: list[float], expected: float) -> None:
    """The median is the middle value, or the mean of the two middle ones, whatever the order."""
    assert median(values) == expected


@relaxed
@given(st.lists(TIMINGS_MS, min_size=1, max_size=30))
def test_median_agrees_with_the_standard_library(values: list[float]) -> None:
    """Python's own median gives the same figure."""
    assert median(values) == pytest.approx(reference_median(values), rel=1e-12)


@pytest.mark.parametrize(
    ("rounds", "low", "high"),
    [
        pytest.param(6, 1, 6, id="6: the extremes"),
        pytest.param(8, 1, 8, id="8: the extremes"),
        pytest.param(9, 2, 8, id="9: 2nd and 8th"),
        pytest.param(10, 2, 9, id="10: 2nd and 9th"),
        pytest.param(12, 3, 10, id="12: 3rd and 10th"),
        pytest.param(20, 6, 15, id="20: 6th and 15th"),
        pytest.param(30, 10, 21, id="30: 10th and 21st"),
    ],
)
def test_interval_ends_at_the_order_statistics_of_the_sign_test(
    rounds: int, low: int, high: int
) -> None:
    """The interval runs between the ranks that tables of the sign test give for 95 %."""
    values = list(range(1, rounds + 1))
    Random(0).shuffle(values)

    assert median_interval(values) == Estimate((rounds + 1) / 2, low, high)


@pytest.mark.parametrize("rounds", [*range(MIN_ROUNDS, 120), 1000, 4999, 20_001])
def test_interval_is_scipys(rounds: int) -> None:
    """The ends are those of the quantile test, of unsorted values with ties among them."""
    values = [Random(rounds + i).randrange(3 * rounds) / 7 for i in range(rounds)]
    expected = quantile_test(values, p=0.5).confidence_interval(CONFIDENCE)

    found = median_interval(values)

    assert (found.low, found.high) == (expected.low, expected.high)


def test_interval_covers_the_true_median() -> None:
    """Over skewed samples the interval holds the true median as often as it promises."""
    random = Random(0)
    trials = 600
    covered = 0
    for _ in range(trials):
        interval = median_interval([random.lognormvariate(0, 1) for _ in range(12)])
        covered += interval.low <= 1 <= interval.high

    # two standard deviations of a proportion of 0.95 over 600 trials
    assert covered / trials >= CONFIDENCE - 0.018


@pytest.mark.parametrize("rounds", [0, 1, MIN_ROUNDS - 1])
def test_too_few_rounds_are_refused(rounds: int) -> None:
    """Rounds that can give no 95 % interval are refused, and the message counts them."""
    with pytest.raises(ValueError, match=f"^{rounds} rounds give no 95 % interval; .* at least 6$"):
        median_interval([1.0] * rounds)


@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_round_that_is_not_finite_is_refused(bad: float) -> None:
    """NaN and infinity cannot slip into an interval."""
    with pytest.raises(ValueError, match="not a finite number"):
        median_interval([1.0, 2.0, 3.0, bad, 5.0, 6.0, 7.0])


@pytest.mark.parametrize(
    ("subject", "reference"),
    [
        pytest.param(nan, 1.0, id="subject NaN"),
        pytest.param(1.0, nan, id="reference NaN"),
        pytest.param(inf, 1.0, id="subject infinite"),
        pytest.param(1.0, inf, id="reference infinite"),
        pytest.param(inf, inf, id="both infinite"),
        pytest.param(0.0, 1.0, id="subject zero"),
        pytest.param(1.0, 0.0, id="reference zero"),
        pytest.param(-1.0, 1.0, id="subject negative"),
        pytest.param(1.0, -1.0, id="reference negative"),
        pytest.param(-1.0, -1.0, id="both negative"),
    ],
)
def test_pair_that_is_not_positive_and_finite_is_refused(subject: float, reference: float) -> None:
    """One broken round on either side spoils the whole ratio, with a sentence."""
    with pytest.raises(ValueError, match=r"^a round is not a positive finite number$"):
        paired_ratio([*[1.0] * 6, subject], [*[2.0] * 6, reference])


def test_paired_ratio_of_too_few_pairs_is_refused() -> None:
    """Five pairs are as few as five rounds."""
    with pytest.raises(ValueError, match=r"^5 rounds"):
        paired_ratio([1.0] * 5, [2.0] * 5)


@pytest.mark.parametrize(
    ("subject", "reference"), [(6, 7), (7, 6), (0, 6)], ids=["shorter", "longer", "empty"]
)
def test_rounds_that_do_not_pair_are_refused(subject: int, reference: int) -> None:
    """Rounds without a partner are not silently dropped; the message gives both numbers."""
    sentence = f"^{subject} rounds cannot be paired with {reference}$"
    with pytest.raises(ValueError, match=sentence):
        paired_ratio([1.0] * subject, [1.0] * reference)


def test_paired_ratio_ignores_common_drift() -> None:
    """A machine that slows to a third still shows the ratio, with an interval of no width."""
    drift = [1 + 0.2 * i for i in range(11)]
    subject, reference = [0.7 * d for d in drift], drift

    ratio = paired_ratio(subject, reference)

    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((0.7, 0.7, 0.7), rel=1e-12)
    # the drift was there: the latency itself is all but unknown
    latency = median_interval(subject)
    assert latency.high / latency.low > 2


def test_paired_ratio_has_the_interval_of_its_ratios() -> None:
    """The ends are ratios of actual pairs: with ten pairs the 2nd and the 9th."""
    ratios = [0.50, 0.55, 0.60, 0.65, 0.70, 0.70, 0.75, 0.80, 0.85, 0.90]

    ratio = paired_ratio([100 * r for r in ratios], [100.0] * 10)

    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((0.55, 0.70, 0.85), rel=1e-12)


@relaxed
@given(PAIRS)
def test_swapping_the_sides_inverts_the_ratio(pairs: list[tuple[float, float]]) -> None:
    """A to B is the inverse of B to A: the value and both ends of the interval."""
    subject, reference = zip(*pairs, strict=True)

    there, back = paired_ratio(subject, reference), paired_ratio(reference, subject)

    inverse = (1 / back.value, 1 / back.high, 1 / back.low)
    assert (there.value, there.low, there.high) == pytest.approx(inverse, rel=1e-9)


def test_same_figure_has_not_changed() -> None:
    """A figure against itself changed by a factor of exactly 1, inside a symmetric interval."""
    same = Estimate(0.7, 0.65, 0.8)

    change = ratio_change(same, same)

    assert change.value == 1
    assert change.low < 1 < change.high
    assert change.low * change.high == pytest.approx(1)


def test_change_adds_half_widths_in_quadrature() -> None:
    """Half-widths of 3 and 4 (in logarithms) make one of 5, around the ratio of the values."""
    now = Estimate(0.8, 0.8 * exp(-0.03), 0.8 * exp(0.03))
    base = Estimate(0.4, 0.4 * exp(-0.04), 0.4 * exp(0.04))

    change = ratio_change(now, base)

    expected = (2.0, 2 * exp(-0.05), 2 * exp(0.05))
    assert (change.value, change.low, change.high) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("side", "end", "widened"),
    [
        pytest.param("now", "low", "low", id="now lower: change lower"),
        pytest.param("now", "high", "high", id="now higher: change higher"),
        pytest.param("base", "low", "high", id="baseline lower: change higher"),
        pytest.param("base", "high", "low", id="baseline higher: change lower"),
    ],
)
def test_noise_of_either_side_widens_the_change(side: str, end: str, widened: str) -> None:
    """Each of the four ends moves the end of the change it can move, and no other."""
    sides = {"now": Estimate(0.7, 0.68, 0.72), "base": Estimate(0.7, 0.68, 0.72)}
    before = ratio_change(**sides)
    sides[side] = replace(sides[side], **{end: {"low": 0.5, "high": 0.9}[end]})

    after = ratio_change(**sides)

    moved = {"low": before.low - after.low, "high": after.high - before.high}
    assert moved.pop(widened) > 0.01
    assert list(moved.values()) == [0]
    assert after.value == before.value


@relaxed
@given(estimates(), estimates())
def test_reversal_inverts_the_change(now: Estimate, base: Estimate) -> None:
    """Swapping run and baseline turns a change into its inverse, the interval with it."""
    there, back = ratio_change(now, base), ratio_change(base, now)

    inverse = (1 / back.value, 1 / back.high, 1 / back.low)
    assert (there.value, there.low, there.high) == pytest.approx(inverse, rel=1e-9)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([5.0, 5.0, 5.0], 0.0, id="flat"),
        pytest.param([10.0, 11.0, 12.0, 13.0, 14.0], 1 / 12, id="rising line"),
        pytest.param([14.0, 13.0, 12.0, 11.0, 10.0], -1 / 12, id="falling line"),
        pytest.param([100.0, 110.0], 10 / 105, id="two values"),
        pytest.param([2.0, 1.0, 2.0], 0.0, id="a dip is not a slope"),
    ],
)
def test_relative_slope(values: Sequence[float], expected: float) -> None:
    """The slope is that of the fitted line, as a part of the median."""
    assert relative_slope(values) == pytest.approx(expected, abs=1e-15)
