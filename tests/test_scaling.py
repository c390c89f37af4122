"""Slopes, the nested test and crossovers, on curves whose answers are known."""

import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf

import numpy as np
import pytest

from efficarch import scaling
from efficarch.record import Scaling, Sweep
from efficarch.scaling import (
    DOMINATES,
    MIN_LENGTHS,
    Crossover,
    Growth,
    Nested,
    Refusal,
    Slope,
    crossover,
    dominating,
    fit_nested,
    fit_slope,
)
from tests import samples

LENGTHS = (1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288)


def swept(
    latency_ms: Callable[[float], float],
    *,
    noise: float = 0.0,
    drift: Sequence[float] = (1.0,) * 8,
    lengths: Sequence[int] = LENGTHS,
    seed: int = 0,
) -> Sweep:
    """Return a sweep of a known curve: each round scaled by its drift, each call by its noise."""
    rng = np.random.default_rng(seed)
    return Sweep(
        lengths=tuple(lengths),
        rounds_ms=tuple(
            tuple(latency_ms(n) * d * float(np.exp(noise * rng.standard_normal())) for d in drift)
            for n in lengths
        ),
        floor_ms=1e-3,
    )


def slope_of(sweep: Sweep) -> Slope:
    """Return the slope, which there must be."""
    found = fit_slope(sweep)
    assert isinstance(found, Slope), found
    return found


def nested_of(sweep: Sweep) -> Nested:
    """Return the nested test, which there must be."""
    found = fit_nested(sweep)
    assert isinstance(found, Nested), found
    return found


def crossing(subject: Sweep, reference: Sweep) -> Crossover:
    """Return the crossover, which there must be."""
    found = crossover(Scaling(subject, reference))
    assert isinstance(found, Crossover), found
    return found


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.5, 2.0])
def test_a_power_law_gives_its_exponent(exponent: float) -> None:
    """Without noise the slope is exact, its interval empty and both checks agree."""
    found = slope_of(swept(lambda n: 0.01 * n**exponent))

    assert found.lengths == LENGTHS
    for value in (*vars(found.estimate).values(), found.without_smallest, found.resampled.value):
        assert value == pytest.approx(exponent, abs=1e-9)
    assert found.fitted_ms == pytest.approx([0.01 * n**exponent for n in LENGTHS])


def test_the_interval_covers_the_exponent_as_often_as_it_says() -> None:
    """Of 100 noisy curves about 95 % have the true exponent in their interval."""
    fits = [slope_of(swept(lambda n: 0.01 * n, noise=0.05, seed=seed)) for seed in range(100)]

    covered = sum(fit.estimate.low <= 1 <= fit.estimate.high for fit in fits)
    assert 89 <= covered <= 99


def test_the_interval_is_that_of_the_textbook() -> None:
    """b -+ t(K - 2) s / sqrt(Sxx), written out for three decimals of another library's quantile."""
    sweep = swept(lambda n: n * (1.1 if n == 4096 else 1.0))
    x, y = np.log(LENGTHS), np.log([rounds[0] for rounds in sweep.rounds_ms])
    b, a = np.polyfit(x, y, 1)
    s = np.sqrt(np.sum((y - a - b * x) ** 2) / 6)
    half = 2.447 * s / np.sqrt(np.sum((x - x.mean()) ** 2))

    found = slope_of(sweep).estimate

    assert found.value == pytest.approx(b)
    assert (found.low, found.high) == pytest.approx((b - half, b + half), rel=1e-4)


def test_a_round_on_a_slower_machine_changes_nothing() -> None:
    """What all lengths of a round have in common does not bend the line or widen its interval."""
    calm = swept(lambda n: 0.01 * n, noise=0.01)
    drifting = swept(lambda n: 0.01 * n, noise=0.01, drift=(1, 1.9, 1, 2.1, 1.4, 1, 0.8, 1.7))

    a, b = slope_of(calm).estimate, slope_of(drifting).estimate

    assert b.value == pytest.approx(a.value, abs=0.01)
    assert b.high - b.low < 2 * (a.high - a.low)


def test_a_burst_on_single_calls_changes_little() -> None:
    """A call in each of three rounds that took ten times as long leaves the slope where it was."""
    calm = swept(lambda n: 0.01 * n, noise=0.01)
    rounds = [list(each) for each in calm.rounds_ms]
    for length, turn in ((0, 1), (0, 4), (7, 2)):
        rounds[length][turn] *= 10

    hit = replace(calm, rounds_ms=tuple(map(tuple, rounds)))

    assert slope_of(hit).estimate.value == pytest.approx(1.0, abs=0.02)


def test_the_same_sweep_gives_the_same_slope() -> None:
    """The bootstrap is seeded."""
    sweep = swept(lambda n: 0.01 * n, noise=0.05)

    assert fit_slope(sweep) == fit_slope(sweep)


def test_lengths_below_ten_floors_are_left_out() -> None:
    """A fixed cost does not flatten the slope: only lengths it hardly touches are fitted."""
    sweep = replace(swept(lambda n: 0.01 * n), floor_ms=2.048)

    assert [LENGTHS[index] for index in dominating(sweep)] == [2048, 3072, 4096, 6144, 8192, 12288]
    assert slope_of(sweep).lengths[0] == 2048


def test_lengths_below_the_stated_one_are_left_out() -> None:
    """What the suite stated counts even where the floor would allow more."""
    bent = swept(lambda n: 0.01 * n if n >= 2048 else 20.0)

    assert slope_of(bent).estimate.value < 0.9
    assert slope_of(replace(bent, fitted_from=2048)).estimate.value == pytest.approx(1.0)
    assert nested_of(replace(bent, fitted_from=2048)).growth is Growth.LINEAR


@pytest.mark.parametrize("fit", [fit_slope, fit_nested], ids=["slope", "nested"])
def test_too_few_lengths_are_refused_in_words(fit: Callable[[Sweep], object]) -> None:
    """Four lengths give no slope; the sentence says how many, why, and what to do."""
    sweep = replace(swept(lambda n: 0.01 * n), floor_ms=4.096, fitted_from=1536)

    assert fit(sweep) == Refusal(
        "compute dominates at 4 of 8 lengths from 1,536 on (latency at least 10 times the 4.096 ms "
        "of length 1), a slope needs 5; measure longer ones, on an idle machine"
    )
    assert (DOMINATES, MIN_LENGTHS) == (10, 5)


def test_checks_that_disagree_are_named() -> None:
    """A slope that hangs on its shortest length says so."""
    found = slope_of(swept(lambda n: 0.01 * n if n > 64 else 6.0, lengths=(64, *LENGTHS)))

    assert [words[:17] for words in found.disagreements] == ["without length 64"]
    assert slope_of(swept(lambda n: 0.01 * n, noise=0.01)).disagreements == ()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("curve", "growth"),
    [
        pytest.param(lambda n: 0.5 + 0.01 * n, Growth.LINEAR, id="linear with a fixed cost"),
        pytest.param(lambda n: 1e-5 * n * n, Growth.QUADRATIC, id="quadratic"),
        pytest.param(
            lambda n: 1e-5 * (n * n + 512 * n), Growth.QUADRATIC, id="quadratic with a linear part"
        ),
        pytest.param(
            lambda n: 1e-2 * n + 1e-2 * n * n / 12288, Growth.BETWEEN, id="half at the longest"
        ),
    ],
)
def test_the_nested_test_tells_curves_apart(
    curve: Callable[[float], float], growth: Growth, seed: int
) -> None:
    """The quadratic term's share of the longest latency decides, at 1 % noise."""
    assert nested_of(swept(curve, noise=0.01, seed=seed)).growth is growth


def test_the_share_is_that_of_the_quadratic_term() -> None:
    """Half of the longest latency is half; without noise its interval is empty."""
    found = nested_of(swept(lambda n: 1e-2 * n + 1e-2 * n * n / 12288))

    for share in vars(found.share).values():
        assert share == pytest.approx(0.5, abs=1e-6)


def test_aicc_prefers_the_model_that_is_true() -> None:
    """The quadratic term gains where there is one and costs where there is none."""
    straight = nested_of(swept(lambda n: 0.01 * n, noise=0.02))
    bent = nested_of(swept(lambda n: 1e-5 * n * n, noise=0.02))

    assert straight.aicc_gain is not None
    assert bent.aicc_gain is not None
    assert straight.aicc_gain < 0 < bent.aicc_gain


def test_aicc_needs_six_lengths() -> None:
    """With five its correction divides by zero."""
    assert nested_of(swept(lambda n: 0.01 * n, lengths=LENGTHS[:5])).aicc_gain is None


def test_noise_that_hides_everything_is_called_unclear() -> None:
    """A share above 0.8 whose interval holds 0 says nothing."""
    noisy = [nested_of(swept(lambda n: 1e-5 * n * n, noise=0.8, seed=seed)) for seed in range(20)]

    unclear = [found for found in noisy if found.growth is Growth.UNCLEAR]
    assert unclear
    assert all(found.share.low <= 0 and found.share.value > 0.8 for found in unclear)


def test_two_lines_cross_where_they_meet() -> None:
    """Interpolation in logarithms is exact for power laws; without noise the interval is empty."""
    found = crossing(swept(lambda n: 0.01 * n), swept(lambda n: 1e-2 * n * n / 5000))

    assert found.length == pytest.approx(5000)
    assert (found.low, found.high) == pytest.approx((5000, 5000))
    assert str(found) == "5,000 [5,000, 5,000]"


def test_noise_widens_the_crossover() -> None:
    """Its interval is as wide as the noise makes it, and mostly holds the true length."""
    found = [
        crossing(
            swept(lambda n: 0.01 * n, noise=0.1, seed=seed),
            swept(lambda n: 1e-2 * n * n / 5000, noise=0.1, seed=100 + seed),
        )
        for seed in range(20)
    ]

    assert sum(each.low < 5000 < each.high for each in found) >= 15
    assert all(1.02 < each.high / each.low < 1.5 for each in found)


def test_a_crossover_compares_the_sides_of_a_round() -> None:
    """A machine that slows both sides of a round leaves their crossover where it is."""
    drift = (1, 3, 1, 0.5, 2, 1, 1, 2)
    found = crossing(
        swept(lambda n: 0.01 * n, drift=drift),
        swept(lambda n: 1e-2 * n * n / 5000, drift=drift),
    )

    assert (found.low, found.high) == pytest.approx((5000, 5000))


def test_sides_may_be_timed_at_different_lengths() -> None:
    """Each is interpolated at the other's lengths, within those that both enclose."""
    found = crossing(
        swept(lambda n: 0.01 * n, lengths=(512, 2048, 8192, 32768)),
        swept(lambda n: 1e-2 * n * n / 5000, lengths=(1024, 4096, 16384)),
    )

    assert found.length == pytest.approx(5000)
    assert (found.shortest, found.longest) == (1024, 16384)


def test_no_crossover_up_to_the_longest_length() -> None:
    """Nothing is extrapolated: a subject that is still slower has none so far."""
    found = crossing(swept(lambda n: 0.1 * n), swept(lambda n: 1e-2 * n))

    assert (found.length, found.always, found.high) == (None, False, inf)
    assert str(found) == "none up to 12,288"


def test_a_subject_that_is_always_faster_crosses_below() -> None:
    """Where it begins to be faster was not measured."""
    found = crossing(swept(lambda n: 1e-3 * n), swept(lambda n: 1e-2 * n))

    assert (found.length, found.always, found.low) == (None, True, 0.0)
    assert str(found) == "below 1,024"


def test_a_subject_that_is_faster_in_between_only_does_not_cross() -> None:
    """What counts is to stay faster up to the longest length."""
    found = crossing(swept(lambda n: 0.01 * n if n < 8192 else 0.1 * n), swept(lambda n: 0.02 * n))

    assert str(found) == "none up to 12,288"


def test_bounds_outside_the_measured_lengths_are_open() -> None:
    """A crossover near an end whose interval leaves the lengths says so."""
    wobble = (0.8, 1.0, 1.1, 0.9, 1.3, 1.0, 1.2, 0.85)
    near_end = swept(lambda n: 1e-2 * n * n / 12000, drift=wobble)
    near_start = swept(lambda n: 1e-2 * n * n / 1050, drift=wobble)

    assert str(crossing(swept(lambda n: 0.01 * n), near_end)).endswith(", beyond 12,288]")
    assert "[below 1,024, " in str(crossing(swept(lambda n: 0.01 * n), near_start))


def test_lengths_that_do_not_overlap_give_no_crossover() -> None:
    """The sentence names both ranges."""
    short = swept(lambda n: 0.01 * n, lengths=(64, 128))
    found = crossover(Scaling(short, swept(lambda n: 0.01 * n)))

    assert found == Refusal("lengths 64 to 128 and 1,024 to 12,288 do not overlap")


def test_the_samples_of_other_tests_are_what_they_say() -> None:
    """The sample scaling is linear against quadratic, crossing at 4,096."""
    scaling = samples.scaling()

    assert slope_of(scaling.subject).estimate.value == pytest.approx(1.0)
    assert slope_of(scaling.reference).estimate.value == pytest.approx(2.0)
    assert crossing(scaling.subject, scaling.reference).length == pytest.approx(4096)


@pytest.mark.parametrize("at_once", [1, 5_000])
def test_blocks_of_draws_give_what_one_piece_gives(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slopes and crossovers to the last bit: their draws are the same ones."""
    subject = swept(lambda n: 0.01 * n, noise=0.1, seed=1)
    reference = swept(lambda n: 3e-6 * n**2, noise=0.1, seed=2)
    expected = slope_of(subject), crossing(subject, reference)

    monkeypatch.setattr(scaling, "AT_ONCE", at_once)

    assert (slope_of(subject), crossing(subject, reference)) == expected


def test_a_sweep_of_many_rounds_takes_little_memory() -> None:
    """A thousand lengths of twenty rounds: their draws are 40 million numbers at once."""
    many = swept(lambda n: 0.01 * n, noise=0.1, lengths=range(1024, 2024), drift=(1.0,) * 20)
    tracemalloc.start()
    try:
        slope_of(many)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 250e6


@pytest.mark.parametrize("first", [10**9, 10**11, 10**12 - 10])
def test_lengths_that_are_too_alike_tell_no_curve_from_a_line(first: int) -> None:
    """A sentence, not a singular matrix; a slope there may be, however wide its interval."""
    alike = swept(lambda n: 0.01 * n, lengths=range(first, first + 8))

    found = fit_nested(alike)

    assert isinstance(found, Refusal)
    assert found.reason == (
        f"lengths {first:,} to {first + 7:,} are too alike to tell a curve from a line"
    )
    assert isinstance(fit_slope(alike), Slope)
