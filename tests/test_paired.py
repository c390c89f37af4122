"""Claims about shifts of paired log-ratios."""

import math
import random
import subprocess
import sys
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wilcoxon
from statsmodels.stats.multitest import multipletests

from efficarch.paired import (
    fewest_pairs,
    lower_bound,
    p_above,
    p_below,
    rejected,
    shift,
    upper_bound,
)

VALUES = st.lists(st.floats(-1, 1).map(lambda x: round(x, 9)), min_size=5, max_size=14, unique=True)


@given(VALUES)
def test_the_estimate_lies_among_the_values_and_follows_them(values: list[float]) -> None:
    """It moves and turns with them."""
    estimate = shift(values)

    assert min(values) <= estimate <= max(values)
    assert shift([value + 1 for value in values]) == pytest.approx(estimate + 1)
    assert shift([-value for value in values]) == pytest.approx(-estimate, abs=1e-12)


def test_one_wild_value_moves_the_estimate_little() -> None:
    """Half of the values are needed to carry it off; a mean goes with one."""
    values = [0.01 * k for k in range(-5, 6)]

    assert abs(shift([*values, 100.0])) < 0.02


def test_the_p_value_counts_sign_patterns() -> None:
    """Of all patterns of signs, those at least as far up; counted here one by one."""
    values = [0.5, -0.1, 0.7, 0.3, -0.2, 0.9, 0.4]
    ranks = {value: rank for rank, value in enumerate(sorted(values, key=abs), start=1)}
    found = sum(rank for value, rank in ranks.items() if value > 0)
    sums = [
        sum(rank for rank, up in zip(range(1, 8), signs, strict=True) if up)
        for signs in product((False, True), repeat=7)
    ]

    assert p_above(values, 0.0) == pytest.approx(sum(s >= found for s in sums) / 2**7)
    assert p_below(values, 0.0) == pytest.approx(sum(s <= found for s in sums) / 2**7)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-20, 20).map(float), min_size=3, max_size=12), st.integers(-3, 3))
def test_the_p_value_is_that_of_scipy(values: list[float], threshold: int) -> None:
    """With ties and values on the threshold it is the same or larger."""
    moved = [value - threshold for value in values]

    theirs = wilcoxon(moved, alternative="greater", method="exact", zero_method="zsplit").pvalue

    assert p_above(values, threshold) >= theirs - 1e-12
    if len({abs(value) for value in moved} | {0.0}) == len(moved) + 1:
        assert p_above(values, threshold) == pytest.approx(theirs)


@settings(deadline=None, max_examples=60)
@given(VALUES, st.sampled_from([0.2, 0.05, 0.0157]))
def test_the_bound_inverts_the_test(values: list[float], error: float) -> None:
    """Just above it a shift is rejected, just below it is not."""
    bound = upper_bound(values, error)
    if fewest_pairs(error) > len(values):
        assert bound == math.inf
        return
    step = 1e-12

    assert p_below(values, bound + step) <= error + 1e-12
    assert p_below(values, bound - step) > error - 1e-12
    assert lower_bound([-value for value in values], error) == -bound


def test_bounds_hold_their_error() -> None:
    """Of 2,000 samples with heavy tails about as many miss the shift as are allowed to."""
    rng = random.Random(0)
    missed = sum(
        upper_bound([0.03 + rng.gauss(0, 0.01) / (rng.random() + 0.05) for _ in range(8)], 0.05)
        < 0.03
        for _ in range(2_000)
    )

    assert 60 <= missed <= 125


def test_few_pairs_reject_nothing() -> None:
    """The fewest that can, do."""
    assert [fewest_pairs(error) for error in (0.5, 0.05, 1 / 64, 0.0156, 0.01 / 24)] == [
        1,
        5,
        6,
        7,
        12,
    ]
    assert upper_bound([0.1] * 4, 0.05) == math.inf
    assert upper_bound([0.1, 0.2, 0.3, 0.4, 0.5], 0.05) == 0.5


def test_holm_by_hand() -> None:
    """Sorted, each times how many are left; the first that is too large ends it."""
    p_values = [0.01, 0.04, 0.03, 0.005]  # held against the error: 0.02, 0.04, 0.06, 0.04

    assert rejected(p_values, 4, 0.05) == [True, False, False, True]
    assert rejected(p_values, 4, 0.02) == [False, False, False, True]
    assert rejected(p_values, 4, 0.07) == [True, True, True, True]
    assert rejected(p_values, 4, 0.01) == [False] * 4
    assert rejected(p_values, 8, 0.05) == [False, False, False, True]
    assert rejected([], 3, 0.05) == []


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.floats(0, 1) | st.sampled_from([0.0, 0.005, 0.01, 1.0]), min_size=1, max_size=12),
    st.integers(0, 8),
    st.sampled_from([0.01, 0.05, 0.2]),
)
def test_holm_is_that_of_statsmodels(p_values: list[float], others: int, error: float) -> None:
    """With ties, and with tests that have no p-value, which count as certain to hold."""
    everyone = [*p_values, *[1.0] * others]

    theirs, *_ = multipletests(everyone, alpha=error, method="holm")

    assert rejected(p_values, len(everyone), error) == list(theirs[: len(p_values)])


def test_judging_needs_no_pandas() -> None:
    """Nothing on the way to a verdict imports it, or what would bring it."""
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('pandas', 'patsy', 'statsmodels')))\n"
        "import efficarch.commands, efficarch.decision, efficarch.plugin, efficarch.power\n"
        "from efficarch.paired import p_above, rejected\n"
        "print(rejected([p_above([0.1, 0.2, 0.3, 0.4, 0.5], 0.0)], 1, 0.05))"
    )

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (run.returncode, run.stdout.strip()) == (0, "[True]"), run.stderr
