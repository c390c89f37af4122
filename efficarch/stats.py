"""Floats in, floats out: medians, paired ratios and their intervals.

Intervals of a median are distribution-free: the exact sign-test interval of
``scipy.stats.quantile_test``. Rounds of one process are correlated through that process, so these
intervals describe one run; they are not evidence about the next one (docs/measuring.md).
"""

from collections.abc import Sequence
from math import exp, hypot, isfinite, log
from typing import Any

from efficarch.record import Estimate

CONFIDENCE = 0.95

MIN_ROUNDS = 6
"""Fewest rounds whose extremes bound the median with 95 % confidence: 1 - 2 * 0.5**6 = 0.969."""


def median_interval(values: Sequence[float]) -> Estimate:
    """Return the median of at least ``MIN_ROUNDS`` values with its exact 95 % interval.

    Raises:
        ValueError: too few values, or one that is not finite.
    """
    if len(values) < MIN_ROUNDS:
        raise ValueError(f"{len(values)} rounds give no 95 % interval; use at least {MIN_ROUNDS}")
    if not all(isfinite(value) for value in values):
        raise ValueError("a round is not a finite number")
    # imported here: scipy.stats takes a second, and the plugin loads in every pytest run
    from scipy.stats import quantile_test

    test = quantile_test(values, p=0.5)
    interval: Any = test.confidence_interval(CONFIDENCE)
    return Estimate(value=median(values), low=float(interval.low), high=float(interval.high))


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
