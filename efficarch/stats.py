"""Floats in, floats out: medians, paired ratios, means and their intervals, fronts.

Intervals of a median are distribution-free: the exact sign-test interval, as that of
``scipy.stats.quantile_test``. Rounds of one process are correlated through that process, so these
intervals describe one run; they are not evidence about the next one (docs/measuring.md).
"""

from bisect import bisect_left
from collections.abc import Sequence
from functools import cache
from math import exp, fsum, hypot, inf, isfinite, log

from efficarch.record import Estimate

CONFIDENCE = 0.95

MIN_ROUNDS = 6
"""Fewest rounds whose extremes bound the median with 95 % confidence: 1 - 2 * 0.5**6 = 0.969."""

MIN_IMAGES = 8
"""Fewest images whose resampled means say anything of the spread between images."""

RESAMPLES = 4_999

AT_ONCE = 4_000_000
"""Values drawn at once, at 16 bytes each: all resamples of 50,000 images would take 4 GB."""


def median_interval(values: Sequence[float]) -> Estimate:
    """Return the median of at least ``MIN_ROUNDS`` values with its exact 95 % interval.

    Raises:
        ValueError: too few values, or one that is not finite.
    """
    if len(values) < MIN_ROUNDS:
        raise ValueError(f"{len(values)} rounds give no 95 % interval; use at least {MIN_ROUNDS}")
    if not all(isfinite(value) for value in values):
        raise ValueError("a round is not a finite number")
    ordered = sorted(values)
    low, high = _ranks(len(ordered))
    return Estimate(value=median(ordered), low=float(ordered[low]), high=float(ordered[high]))


@cache
def _ranks(count: int) -> tuple[int, int]:
    """Return which of so many ordered values bound their median.

    The outermost ones that are left when the tails of the sign test's binomial distribution are
    cut off.
    """
    # imported here: scipy takes a while, and the plugin loads in every pytest run
    from scipy.special import bdtr

    tail = (1 - CONFIDENCE) / 2
    low = bisect_left(range(count), tail, key=lambda k: float(bdtr(k, count, 0.5))) - 1
    return low, count - 1 - low


def median(values: Sequence[float]) -> float:
    """Return the middle value, or the mean of the two middle ones."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return float(ordered[middle])
    return float(ordered[middle - 1] + ordered[middle]) / 2


def paired_ratio(subject: Sequence[float], reference: Sequence[float]) -> Estimate:
    """Return the median of subject/reference over pairs of rounds, with its 95 % interval.

    Worked in logarithms, so that the ratio of A to B is exactly the inverse of B to A.
    """
    if len(subject) != len(reference):
        raise ValueError(f"{len(subject)} rounds cannot be paired with {len(reference)}")
    if not all(isfinite(value) and value > 0 for value in (*subject, *reference)):
        raise ValueError("a round is not a positive finite number")
    logs = [log(a / b) for a, b in zip(subject, reference, strict=True)]
    estimate = median_interval(logs)
    return Estimate(exp(estimate.value), exp(estimate.low), exp(estimate.high))


def ratio_change(now: Estimate, base: Estimate) -> Estimate:
    """Return now/base; the intervals' half-widths add in quadrature, in logarithms."""
    point = log(now.value / base.value)
    below = hypot(log(now.value / now.low), log(base.high / base.value))
    above = hypot(log(now.high / now.value), log(base.value / base.low))
    return Estimate(exp(point), exp(point - below), exp(point + above))


def relative_slope(values: Sequence[float]) -> float:
    """Return the least-squares slope per step, relative to the median of the values."""
    count = len(values)
    centre = (count - 1) / 2
    spread = sum((i - centre) ** 2 for i in range(count))
    slope = sum((i - centre) * value for i, value in enumerate(values)) / spread
    return slope / median(values)


def mean_interval(values: Sequence[float], seed: int = 0) -> Estimate:
    """Return the mean of at least ``MIN_IMAGES`` values with its 95 % bootstrap interval.

    Percentile bootstrap (Efron & Tibshirani, An Introduction to the Bootstrap, chapter 13), which
    takes the values for independent draws.

    Raises:
        ValueError: too few values, or one that is not finite.
    """
    if len(values) < MIN_IMAGES:
        raise ValueError(f"{len(values)} values give no interval; use at least {MIN_IMAGES}")
    if not all(isfinite(value) for value in values):
        raise ValueError("a value is not a finite number")
    import numpy as np

    mean = fsum(values) / len(values)
    data, rng, count = np.asarray(values), np.random.default_rng(seed), len(values)
    means = np.concatenate(
        [
            # the generator goes on where it was, so blocks draw what one call would
            data[rng.integers(count, size=(rows, count))].mean(axis=1)
            for rows in blocks(RESAMPLES, AT_ONCE // count)
        ]
    )
    tail = (1 - CONFIDENCE) / 2
    low, high = (float(bound) for bound in np.quantile(means, (tail, 1 - tail)))
    # the mean of equal values may leave its own interval by a rounding error
    return Estimate(mean, min(mean, low), max(mean, high))


def blocks(total: int, most: int) -> list[int]:
    """Return sizes of blocks, each of at most so many rows (at least one), that make up a total."""
    size = max(1, min(most, total))
    whole, rest = divmod(total, size)
    return [size] * whole + [rest] * (rest > 0)


def row_at(x: float, xs: Sequence[float], rows: Sequence[Sequence[float]]) -> list[float]:
    """Interpolate between rows of values, each at its place on an ascending axis, linearly.

    Beyond the last place stands the last row; before the first, the first piece goes on.
    """
    here = min(x, xs[-1])
    right = min(max(bisect_left(xs, here), 1), len(xs) - 1)
    width = xs[right] - xs[right - 1]
    share = (here - xs[right - 1]) / width if width else 0.5
    return [a + share * (b - a) for a, b in zip(rows[right - 1], rows[right], strict=True)]


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return which points no other equals or betters in cost and value, the cheapest first.

    A point is (cost, value): less cost and more value are better. Of equal points the first stays.
    """
    best = -inf
    front = []
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if points[index][1] > best:
            front.append(index)
            best = points[index][1]
    return front
