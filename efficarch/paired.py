"""Shifts of paired log-ratios with exact error rates: no normal distribution, only symmetry.

One value is log(head / base) of one pair of fresh processes. Where the order within a pair is drawn
at random, exchanging the two sides of an unchanged commit changes nothing, so these values are
symmetric about zero; with a true slowdown, about its logarithm. That is all the signed-rank test
(Wilcoxon 1945) asks for, whatever the tails. The estimate is that of Hodges & Lehmann (1963), and
the bounds invert the test. The test is that of scipy; several are held together by Holm (1979).
"""

from collections.abc import Sequence
from functools import cache
from math import ceil, inf, log2
from statistics import median

# scipy is imported where it is used: it takes seconds


def shift(values: Sequence[float]) -> float:
    """Return the Hodges-Lehmann estimate: the median of all pairwise means."""
    return median(_pairwise_means(values))


def p_above(values: Sequence[float], threshold: float) -> float:
    """Return the exact p-value against a shift of at most ``threshold``."""
    # the null distribution is symmetric about half of the number of means
    return p_below([-value for value in values], -threshold)


def p_below(values: Sequence[float], threshold: float) -> float:
    """Return the exact p-value against a shift of at least ``threshold``."""
    return _at_most(len(values), ceil(_rank_sum(values, threshold)))


def upper_bound(values: Sequence[float], error: float) -> float:
    """Return what the shift exceeds with at most this probability; infinite for too few values."""
    if fewest_pairs(error) > len(values):
        return inf
    # a shift is rejected where few enough pairwise means lie above it
    return sorted(_pairwise_means(values), reverse=True)[_most_rejected(len(values), error)]


def lower_bound(values: Sequence[float], error: float) -> float:
    """Return what the shift falls below with at most this probability."""
    return -upper_bound([-value for value in values], error)


def smallest_p(pairs: int) -> float:
    """Return the smallest p-value of so many pairs: that of all of them on one side."""
    return 2.0**-pairs


def fewest_pairs(error: float) -> int:
    """Return with how many pairs a test can reject at all."""
    return max(1, ceil(log2(1 / error) - 1e-9))


def rejected(p_values: Sequence[float], family: int, error: float) -> list[bool]:
    """Return which tests Holm (1979) rejects at a family-wise error.

    From the smallest p-value up, each is held against the error over how many tests are left; the
    first that is larger ends it. ``family`` is how many tests there are in all; those without a
    p-value reject nothing.
    """
    decided = [False] * len(p_values)
    smallest_first = sorted(range(len(p_values)), key=p_values.__getitem__)
    for done, index in enumerate(smallest_first):
        if p_values[index] > error / (family - done):
            break
        decided[index] = True
    return decided


def _pairwise_means(values: Sequence[float]) -> list[float]:
    return [(a + b) / 2 for i, a in enumerate(values) for b in values[i:]]


def _rank_sum(values: Sequence[float], threshold: float) -> float:
    """Return Wilcoxon's rank sum of the values above a threshold.

    It is the number of pairwise means above it (Tukey); those on it count half, which is rounded to
    the side that rejects less.
    """
    means = _pairwise_means(values)
    return sum((mean > threshold) + 0.5 * (mean == threshold) for mean in means)


@cache
def _at_most(count: int, rank_sum: int) -> float:
    """Return how likely a rank sum is at most this large by chance, for so many values."""
    from scipy.stats import wilcoxon

    signed, left = [], rank_sum
    for rank in range(count, 0, -1):  # any values with this rank sum do
        signed.append(float(rank if rank <= left else -rank))
        left -= rank if rank <= left else 0
    return float(wilcoxon(signed, alternative="less", method="exact").pvalue)


@cache
def _most_rejected(count: int, error: float) -> int:
    """Return the largest rank sum that is as unlikely as the error, for enough values."""
    rank_sum = 0
    while _at_most(count, rank_sum + 1) <= error:
        rank_sum += 1
    return rank_sum
