"""Means with bootstrap intervals, rows between rows, and fronts, beside naive twins."""

import tracemalloc
from collections.abc import Sequence
from math import inf, nan
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efficarch import stats
from efficarch.stats import (
    CONFIDENCE,
    MIN_IMAGES,
    RESAMPLES,
    blocks,
    mean_interval,
    pareto_front,
    row_at,
)

# no deadline: machines under load are slow
relaxed = settings(deadline=None, derandomize=True, max_examples=60)


def naive_interval(values: Sequence[float], resamples: int) -> tuple[float, float]:
    """Resample with the standard library's generator and cut 2.5 % off either side."""
    random = Random(1)
    means = sorted(
        sum(random.choices(values, k=len(values))) / len(values) for _ in range(resamples)
    )
    return means[round(0.025 * resamples)], means[round(0.975 * resamples) - 1]


def test_mean_interval_agrees_with_plain_resampling() -> None:
    """Another generator and another quantile rule give the same interval but for chance."""
    values = [Random(0).expovariate(1) * (i % 7) for i in range(40)]
    found = mean_interval(values)
    low, high = naive_interval(values, 4_000)

    assert found.value == pytest.approx(sum(values) / 40)
    width = high - low
    assert found.low == pytest.approx(low, abs=0.06 * width)
    assert found.high == pytest.approx(high, abs=0.06 * width)


def test_mean_interval_is_seeded() -> None:
    """The same values and seed give the same interval to the last bit; another seed does not."""
    values = [float(i * i % 11) for i in range(20)]
    assert mean_interval(values) == mean_interval(values)
    assert mean_interval(values) != mean_interval(values, seed=1)


def in_one_piece(values: Sequence[float], seed: int) -> tuple[float, float]:
    """Draw all resamples at once, as long as they fit into memory."""
    drawn = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.asarray(values)[drawn].mean(axis=1), (tail, 1 - tail))
    return float(low), float(high)


@pytest.mark.parametrize("at_once", [1, 1000, 4_000_000])
@pytest.mark.parametrize("count", [8, 9, 32, 101, 1000])
def test_blocks_draw_what_one_piece_does(
    count: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit, whether a block is one resample or all of them."""
    monkeypatch.setattr(stats, "AT_ONCE", at_once)
    values = [Random(count).gauss(0, 1) * (i % 5) for i in range(count)]

    found = mean_interval(values, seed=3)

    assert (found.low, found.high) == in_one_piece(values, 3)


def test_many_images_take_little_memory() -> None:
    """Fifty thousand of them, whose resamples would be 250 million numbers at once."""
    values = [Random(1).random() for _ in range(50_000)]
    tracemalloc.start()
    try:
        found = mean_interval(values)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert found.low <= found.value <= found.high
    assert peak < 150e6


@pytest.mark.parametrize(
    ("total", "most", "expected"),
    [
        (10, 4, [4, 4, 2]),
        (8, 4, [4, 4]),
        (3, 4, [3]),
        (3, 0, [1, 1, 1]),
    ],
    ids=["a rest", "no rest", "one", "a row is too much"],
)
def test_blocks_make_up_the_total(total: int, most: int, expected: list[int]) -> None:
    """In order, none empty."""
    assert blocks(total, most) == expected


@pytest.mark.parametrize("value", [0.0, 0.1, -3.0])
def test_equal_values_have_no_width(value: float) -> None:
    """Values that do not vary give an interval of no width around themselves."""
    found = mean_interval([value] * 12)
    assert (found.low, found.value, found.high) == pytest.approx((value, value, value))
    assert found.low <= found.value <= found.high


def test_mean_interval_covers_the_true_mean() -> None:
    """Over samples of 32 the interval holds the true mean nearly as often as it promises."""
    random = Random(0)
    trials = 200
    covered = 0
    for _ in range(trials):
        found = mean_interval([random.gauss(0, 1) for _ in range(32)])
        covered += found.low <= 0 <= found.high
    # a percentile bootstrap of 32 draws falls a little short; and two deviations of chance
    assert covered / trials >= CONFIDENCE - 0.05


@pytest.mark.parametrize("amount", [0, 1, MIN_IMAGES - 1])
def test_too_few_images_are_refused(amount: int) -> None:
    """A handful of images gives no interval, and the message counts them."""
    with pytest.raises(ValueError, match=f"^{amount} values give no interval; use at least 8$"):
        mean_interval([0.5] * amount)


@pytest.mark.parametrize("bad", [nan, inf])
def test_value_that_is_not_finite_is_refused(bad: float) -> None:
    """NaN cannot slip into an interval."""
    with pytest.raises(ValueError, match="not a finite number"):
        mean_interval([0.0] * 10 + [bad])


@pytest.mark.parametrize(
    ("x", "row"),
    [
        pytest.param(0.4, [0.0, 8.0], id="first"),
        pytest.param(0.5, [0.5, 8.0], id="halfway"),
        pytest.param(0.55, [0.75, 8.0], id="three quarters"),
        pytest.param(0.6, [1.0, 8.0], id="second"),
        pytest.param(0.8, [2.0, 4.0], id="other piece"),
        pytest.param(1.0, [3.0, 0.0], id="last"),
        pytest.param(1.5, [3.0, 0.0], id="beyond the last"),
        pytest.param(0.3, [-0.5, 8.0], id="before the first"),
    ],
)
def test_row_at(x: float, row: list[float]) -> None:
    """Each value lies on the straight line between its neighbours."""
    rows = [[0.0, 8.0], [1.0, 8.0], [3.0, 0.0]]
    assert row_at(x, [0.4, 0.6, 1.0], rows) == pytest.approx(row)


def test_rows_at_one_place_are_averaged() -> None:
    """Two rows at the same place divide by no zero."""
    assert row_at(0.5, [0.5, 0.5, 1.0], [[0.0], [1.0], [2.0]]) == [0.5]


def naive_front(points: Sequence[tuple[float, float]]) -> set[tuple[float, float]]:
    """Return the points that no other point betters, by comparing all with all."""
    return {
        (cost, value)
        for cost, value in points
        if not any(
            other <= cost and gain >= value and (other, gain) != (cost, value)
            for other, gain in points
        )
    }


COARSE = st.integers(min_value=0, max_value=6).map(float)


@relaxed
@given(st.lists(st.tuples(COARSE, COARSE), max_size=25))
def test_front_agrees_with_comparing_all(points: list[tuple[float, float]]) -> None:
    """One pass over sorted points finds the same front, cheapest first and each place once."""
    front = [points[index] for index in pareto_front(points)]
    assert set(front) == naive_front(points)
    assert front == sorted(front)
    assert len(front) == len(set(front))


def test_of_equal_points_the_first_stays() -> None:
    """Indices, not values, are returned."""
    assert pareto_front([(1.0, 0.5), (0.5, 0.5), (0.5, 0.5), (0.7, 0.4), (2.0, 1.0)]) == [1, 4]


def test_skewed_mean_lies_inside_its_interval() -> None:
    """The mean lies inside its interval, also for skewed values."""
    found = mean_interval([0.0] * 31 + [1.0])
    assert found.value == pytest.approx(1 / 32)
    assert found.low == 0 < found.value < found.high
