"""Verdicts on what only some cells measure: slopes over length, the 5th percentile, bits lost."""

from dataclasses import replace

import pytest

from efficarch.gate import Outcome, slope_breaches
from efficarch.record import CosSim, Limits, Measurement, Scaling, Sweep, Weights
from tests import samples
from tests.gate.cases import check_measured

LIMITS = replace(
    samples.LIMITS, latency_ratio=9.0, slope=(0.90, 1.10), reference_slope=(1.85, 2.10)
)


def bent(sweep: Sweep, by: float) -> Sweep:
    """Return the sweep with every second length slower, which widens its slope's interval."""
    return replace(
        sweep,
        rounds_ms=tuple(
            tuple(value * (1 + by * (index % 2)) for value in rounds)
            for index, rounds in enumerate(sweep.rounds_ms)
        ),
    )


def scaled(
    exponent: float = 1.0, reference: float = 2.0, *, by: float = 0.0, reference_by: float = 0.0
) -> Measurement:
    """Return a measurement whose sides grow with these exponents."""
    return replace(
        samples.measurement(),
        scaling=Scaling(
            bent(samples.sweep(exponent=exponent), by),
            bent(samples.sweep(exponent=reference), reference_by),
        ),
    )


@pytest.mark.parametrize(
    ("measured", "outcome", "reasons"),
    [
        pytest.param(scaled(), Outcome.PASS, [], id="both within"),
        pytest.param(scaled(0.95, 1.9), Outcome.PASS, [], id="still within"),
        pytest.param(
            scaled(1.2),
            Outcome.FAIL,
            ["slope 1.200 [1.200, 1.200] is outside [0.90, 1.10]"],
            id="too steep",
        ),
        pytest.param(
            scaled(0.8),
            Outcome.FAIL,
            ["slope 0.800 [0.800, 0.800] is outside [0.90, 1.10]"],
            id="too flat",
        ),
        pytest.param(
            scaled(reference=1.7),
            Outcome.FAIL,
            ["slope of the reference 1.700 [1.700, 1.700] is outside [1.85, 2.10]"],
            id="reference too flat",
        ),
        pytest.param(
            scaled(by=0.2),
            Outcome.INCONCLUSIVE,
            ["slope 1.023 [0.920, 1.125] cannot be told to lie within [0.90, 1.10]"],
            id="interval too wide",
        ),
        pytest.param(
            scaled(reference_by=0.2),
            Outcome.INCONCLUSIVE,
            [
                "slope of the reference 2.023 [1.920, 2.125] cannot be told to lie within "
                "[1.85, 2.10]"
            ],
            id="interval of the reference too wide",
        ),
        pytest.param(
            scaled(1.2, reference_by=0.2),
            Outcome.FAIL,
            ["slope 1.200 [1.200, 1.200] is outside [0.90, 1.10]"],
            id="one outside, one in doubt",
        ),
    ],
)
def test_a_slope_is_judged_by_its_whole_interval(
    measured: Measurement, outcome: Outcome, reasons: list[str]
) -> None:
    """A point inside is no pass, a point outside no failure: the interval decides, or cannot."""
    verdict = check_measured(measured, LIMITS)

    assert verdict.outcome is outcome
    assert list(verdict.reasons) == reasons


def test_both_slopes_are_named() -> None:
    """One breach does not hide the other."""
    assert [reason.partition(" 1.4")[0] for reason in slope_breaches(scaled(1.4, 1.4), LIMITS)] == [
        "slope",
        "slope of the reference",
    ]


def test_no_slope_is_no_pass() -> None:
    """A sweep that gives no slope neither holds nor breaks its limit, and says what is missing."""
    measured = scaled()
    assert measured.scaling is not None
    subject = replace(measured.scaling.subject, fitted_from=4096)
    short = replace(measured, scaling=replace(measured.scaling, subject=subject))

    verdict = check_measured(short, LIMITS)

    assert verdict.outcome is Outcome.INCONCLUSIVE
    (reason,) = verdict.reasons
    assert reason.startswith("slope: compute dominates at 3 of 6 lengths from 4,096 on")


def test_a_slope_without_a_limit_is_not_judged() -> None:
    """A cell may sweep over length and be held to its latency alone."""
    verdict = check_measured(scaled(3.0, 3.0), replace(LIMITS, slope=None, reference_slope=None))

    assert verdict.outcome is Outcome.PASS


@pytest.mark.parametrize("name", ["slope", "reference_slope"])
def test_a_slope_that_was_not_measured_does_not_pass(name: str) -> None:
    """A limit on something the cell does not measure is an error in budgets.toml."""
    limits = replace(samples.LIMITS, **{name: (0.9, 1.1)})

    verdict = check_measured(samples.measurement(), limits)

    assert verdict.outcome is Outcome.FAIL
    assert verdict.reasons == (
        f"budgets.toml limits its {name}, but the cell has no sweep over length; remove the limit",
    )


P5 = replace(samples.LIMITS, cossim_p5=0.97)


def with_p5(p5: float, weights: Weights = Weights.PRETRAINED) -> Measurement:
    """Return a measurement whose mean CosSim is high and whose 5th percentile is known."""
    found = CosSim(mean=0.99, p5=p5, minimum=0.1, items=4096)
    return replace(samples.measurement(), cossim=found, weights=weights)


@pytest.mark.parametrize(
    ("p5", "outcome"),
    [
        pytest.param(0.98, Outcome.PASS, id="above"),
        pytest.param(0.97, Outcome.PASS, id="at the floor"),
        pytest.param(0.9699, Outcome.FAIL, id="below"),
        pytest.param(float("nan"), Outcome.FAIL, id="not a number"),
    ],
)
def test_p5_floor(p5: float, outcome: Outcome) -> None:
    """A good mean does not excuse a bad 5th percentile."""
    verdict = check_measured(with_p5(p5), P5)

    assert verdict.outcome is outcome
    if outcome is Outcome.FAIL:
        assert verdict.reasons == (
            f"the 5th percentile of CosSim {p5:.5f} is below its floor 0.97000",
        )


def test_p5_without_a_floor_is_not_judged() -> None:
    """Only a floor that budgets.toml states counts."""
    assert check_measured(with_p5(0.0), samples.LIMITS).outcome is Outcome.PASS


def test_p5_on_random_weights_is_an_output_check() -> None:
    """It says that the output changed and shows no CosSim."""
    assert check_measured(with_p5(0.5, Weights.RANDOM), P5).reasons == (
        "the output on random weights changed beyond its check",
    )


def lost(bits: float) -> Measurement:
    """Return a measurement of a saving that costs so many bits per byte."""
    return replace(samples.measurement(), saving=samples.saving(lost=bits))


@pytest.mark.parametrize(
    ("limit", "reasons"),
    [
        pytest.param(0.02, (), id="below the limit"),
        pytest.param(0.005, ("0.0100 bits per byte lost is above the limit 0.0050",), id="above"),
    ],
)
def test_bits_lost_limit(limit: float, reasons: tuple[str, ...]) -> None:
    """The mean over the segments is judged."""
    verdict = check_measured(lost(0.01), replace(samples.LIMITS, bits_lost=limit))

    assert verdict.reasons == reasons
    assert verdict.outcome is (Outcome.FAIL if reasons else Outcome.PASS)


def test_bits_gained_pass() -> None:
    """A saving that reads better than the exact model has lost nothing."""
    verdict = check_measured(lost(-0.01), replace(samples.LIMITS, bits_lost=0.0))

    assert verdict.outcome is Outcome.PASS


@pytest.mark.parametrize(
    "measured",
    [
        pytest.param(samples.measurement(), id="no saving"),
        pytest.param(
            replace(
                samples.measurement(), saving=replace(samples.saving(), bits=(), reference_bits=())
            ),
            id="no text",
        ),
    ],
)
def test_bits_that_were_not_measured_do_not_pass(measured: Measurement) -> None:
    """A limit on bits needs a cell that reads text."""
    limits: Limits = replace(samples.LIMITS, bits_lost=0.1)

    assert check_measured(measured, limits).reasons == (
        "budgets.toml limits its bits_lost, but the cell measures no bits per byte; "
        "remove the limit",
    )
