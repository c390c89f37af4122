"""Shifts of paired log-ratios with exact error rates: no normal distribution, only symmetry.

One value is log(head / base) of one pair of fresh processes. Where the order within a pair is drawn
at random, exchanging the two sides of an unchanged commit changes nothing, so these values are
symmetric about zero; with a true slowdown, about its logarithm. That is all the signed-rank test
(Wilcoxon 1945) asks for, whatever the tails. The estimate is that of Hodges & Lehmann (1963), and
the bounds invert the test. Tests and multiplicity are those of scipy and statsmodels.
"""

from collections.abc import Sequence
from math import ceil, inf, log2
from statistics import median
from typing import Literal

# scipy and statsmodels are imported where they are used: together they take seconds


def shift(values: Sequence[float]) -> float:
    """Return the Hodges-Lehmann estimate: the median of all pairwise means."""
    return median(_pairwise_means(values))


def p_above(values: Sequence[float], threshold: float) -> float:
    """Return the exact p-value against a shift of at most ``threshold``."""
    return _signed_rank([value - threshold for value in values], "greater")


def p_below(values: Sequence[float], threshold: float) -> float:
    """Return the exact p-value against a shift of at least ``threshold``."""
    return _signed_rank([value - threshold for value in values], "less")


def upper_bound(values: Sequence[float], error: float) -> float:
    """Return what the shift exceeds with at most this probability; infinite for too few values."""
    if fewest_pairs(error) > len(values):
        return inf
    means = sorted(_pairwise_means(values), reverse=True)
    # the p-value only changes at these means, and falls from each to the one above it
    low, high = 0, len(means) - 1  # the first mean at which the shift is no longer rejected is here
    while low < high:
        middle = (low + high) // 2
        # just below the mean, as values that lie on the threshold have no sign
        below = (means[middle] + means[middle + 1]) / 2
        if p_below(values, below) <= error:
            low = middle + 1
        else:
            high = middle
    return means[low]


def lower_bound(values: Sequence[float], error: float) -> float:
    """Return what the shift falls below with at most this probability."""
    return -upper_bound([-value for value in values], error)


def fewest_pairs(error: float) -> int:
    """Return with how many pairs a test can reject at all: its smallest p-value is 2 ** -pairs."""
    return max(1, ceil(log2(1 / error) - 1e-9))


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Return p-values as Holm (1979) adjusts them, to be compared with the family-wise error."""
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(p_values, method="holm")[1]] if p_values else []


def _pairwise_means(values: Sequence[float]) -> list[float]:
    return [(a + b) / 2 for i, a in enumerate(values) for b in values[i:]]


def _signed_rank(values: Sequence[float], alternative: Literal["greater", "less"]) -> float:
    from scipy.stats import wilcoxon

    return float(
        wilcoxon(values, alternative=alternative, method="exact", zero_method="zsplit").pvalue
    )
