"""Verdicts on a change against a baseline: slowdowns, noise and CosSim, at their boundaries."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efficarch.gate import (
    COSSIM_TOLERANCE,
    PROCESS_FLOOR,
    PROCESS_FLOOR_UNLIKE,
    SLOWDOWN_FLOOR,
    Outcome,
    exit_code,
)
from efficarch.record import CosSim, Estimate, Measurement, Weights
from tests import samples
from tests.gate.cases import NOISY, QUIET, check_measured, compare_measured


@pytest.mark.parametrize(
    ("factor", "outcome"),
    [
        pytest.param(0.5, Outcome.PASS, id="twice as fast"),
        pytest.param(1.0, Outcome.PASS, id="the same"),
        # half-widths of 0.3 % on both sides make one of 0.425 %
        pytest.param(1.0450, Outcome.PASS, id="interval just below the floor"),
        pytest.param(1.0460, Outcome.INCONCLUSIVE, id="upper end above the floor"),
        pytest.param(1.0500, Outcome.INCONCLUSIVE, id="at the floor"),
        pytest.param(1.0540, Outcome.INCONCLUSIVE, id="lower end below the floor"),
        pytest.param(1.2500, Outcome.INCONCLUSIVE, id="what two processes can differ by"),
        pytest.param(1.2560, Outcome.FAIL, id="interval just above that"),
        pytest.param(2.0, Outcome.FAIL, id="twice as slow"),
    ],
)
def test_slowdown_against_the_baseline(factor: float, outcome: Outcome) -> None:
    """FAIL needs the whole interval above one floor, PASS below the other."""
    assert (SLOWDOWN_FLOOR, PROCESS_FLOOR) == (0.05, 0.25)

    verdict = compare_measured(samples.measurement(ratio=0.7 * factor), samples.measurement())

    assert verdict.outcome is outcome
    assert verdict.change is not None
    assert verdict.change.value == pytest.approx(factor)


@pytest.mark.parametrize(
    ("factor", "outcome"),
    [(1.04, Outcome.PASS), (1.99, Outcome.INCONCLUSIVE), (2.02, Outcome.FAIL)],
    ids=str,
)
def test_unlike_work_needs_a_clearer_slowdown(factor: float, outcome: Outcome) -> None:
    """Where a scan faces attention, two processes of one commit differ by more."""
    assert PROCESS_FLOOR_UNLIKE == 1.0
    now, base = samples.measurement(ratio=0.7 * factor), samples.measurement()

    verdict = compare_measured(
        samples.with_weights(now, Weights.NONE), samples.with_weights(base, Weights.NONE)
    )

    assert verdict.outcome is outcome


@pytest.mark.parametrize("noisy", ["run", "baseline", "both"])
def test_noise_is_inconclusive(noisy: str) -> None:
    """Noise on either side hides a change, so an equal figure is not called a pass."""
    now = samples.measurement(noise=NOISY if noisy != "baseline" else QUIET)
    base = samples.measurement(noise=NOISY if noisy != "run" else QUIET)

    verdict = compare_measured(now, base)

    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.reasons[0].endswith("one run a side cannot tell")


def test_slowdown_is_given_in_percent() -> None:
    """The reason of a slowdown holds the change and both its ends."""
    verdict = compare_measured(
        samples.measurement(ratio=0.91, noise=QUIET), samples.measurement(noise=QUIET)
    )

    expected = "latency ratio +30.0 % [+30.0, +30.0] against the baseline"
    assert verdict.reasons == (expected,)


def test_drift_of_the_machine_is_no_slowdown() -> None:
    """Twice the milliseconds on both arms is the same ratio, so it passes."""
    verdict = compare_measured(
        samples.measurement(dense_ms=200.0), samples.measurement(dense_ms=100.0)
    )

    assert verdict.outcome is Outcome.PASS


def test_reversal_turns_a_failure_into_an_improvement() -> None:
    """Run and baseline swapped, a slowdown is the inverse speed-up: direction is not lost."""
    slow, fast = samples.measurement(ratio=0.91), samples.measurement(ratio=0.7)

    there, back = compare_measured(slow, fast), compare_measured(fast, slow)

    assert (there.outcome, back.outcome) == (Outcome.FAIL, Outcome.PASS)
    assert there.change is not None
    assert back.change is not None
    assert back.change.high < 1 < there.change.low
    assert there.change.value * back.change.value == pytest.approx(1)


@st.composite
def measurements(draw: st.DrawFn) -> Measurement:
    """Return the sample measurement with another ratio and interval."""
    value = draw(st.floats(min_value=0.1, max_value=10))
    below, above = (draw(st.floats(min_value=1, max_value=1.5)) for _ in range(2))
    return replace(SAMPLE, timed_ratio=Estimate(value, value / below, value * above))


SAMPLE = samples.measurement()


@settings(deadline=None, derandomize=True)
@given(measurements(), measurements())
def test_latency_never_fails_both_ways(now: Measurement, base: Measurement) -> None:
    """No pair of figures is a regression in both directions."""
    outcomes = [compare_measured(now, base).outcome, compare_measured(base, now).outcome]

    assert outcomes != [Outcome.FAIL, Outcome.FAIL]


@pytest.mark.parametrize(
    ("cossim", "outcome"),
    [
        pytest.param(0.99, Outcome.PASS, id="better"),
        pytest.param(0.95, Outcome.PASS, id="the same"),
        pytest.param(0.95 - 0.9 * COSSIM_TOLERANCE, Outcome.PASS, id="within tolerance"),
        pytest.param(0.95 - 1.1 * COSSIM_TOLERANCE, Outcome.FAIL, id="beyond tolerance"),
    ],
)
def test_cossim_against_the_baseline(cossim: float, outcome: Outcome) -> None:
    """A drop of mean CosSim beyond the tolerance fails, a rise never does."""
    verdict = compare_measured(samples.measurement(cossim=cossim), samples.measurement(cossim=0.95))

    assert verdict.outcome is outcome
    assert verdict.cossim_change == pytest.approx(cossim - 0.95)


@pytest.mark.parametrize("side", ["run", "baseline", "both"])
@pytest.mark.parametrize("weights", list(Weights))
def test_cossim_that_is_not_a_number_fails_against_the_baseline(
    weights: Weights, side: str
) -> None:
    """NaN is no unchanged quality, on whichever side it stands."""
    good = samples.with_weights(samples.measurement(), weights)
    broken = replace(good, cossim=CosSim(float("nan"), float("nan"), float("nan"), items=32))

    verdict = compare_measured(
        good if side == "baseline" else broken, good if side == "run" else broken
    )

    assert verdict.outcome is Outcome.FAIL


def test_faster_but_worse_is_never_green() -> None:
    """No speed-up buys back quality: not against the limits, not against the baseline."""
    worse = samples.measurement(ratio=0.1, cossim=0.5)

    judged, compared = check_measured(worse), compare_measured(worse, samples.measurement())

    assert (judged.outcome, compared.outcome) == (Outcome.FAIL, Outcome.FAIL)
    assert compared.reasons == ("CosSim fell by 0.4500 against the baseline",)
    assert exit_code([judged]) == 1
    assert exit_code([check_measured(samples.measurement())], [compared]) == 1


def test_noisy_but_worse_is_a_failure() -> None:
    """Noise excuses an unclear latency, not a clear loss of quality."""
    verdict = compare_measured(
        samples.measurement(noise=NOISY, cossim=0.5), samples.measurement(noise=NOISY)
    )

    assert verdict.outcome is Outcome.FAIL


def test_random_weights_put_no_number_in_a_reason() -> None:
    """CosSim on random weights says that the output changed, never by how much."""
    worse = samples.with_weights(samples.measurement(cossim=0.5), Weights.RANDOM)
    base = samples.with_weights(samples.measurement(), Weights.RANDOM)

    verdicts = [check_measured(worse), compare_measured(worse, base)]

    assert [verdict.outcome for verdict in verdicts] == [Outcome.FAIL, Outcome.FAIL]
    reasons = [reason for verdict in verdicts for reason in verdict.reasons]
    assert len(reasons) == 2
    assert not any(character.isdigit() for reason in reasons for character in reason)
    assert reasons[1] == "the output on random weights changed against the baseline"


def test_random_weights_fail_on_any_change() -> None:
    """On random weights a higher CosSim is a changed output too; on pretrained ones it is not."""
    base, changed = samples.measurement(cossim=0.9), samples.measurement(cossim=0.95)

    random = [samples.with_weights(item, Weights.RANDOM) for item in (changed, base)]

    assert compare_measured(*random).outcome is Outcome.FAIL
    assert compare_measured(changed, base).outcome is Outcome.PASS


@pytest.mark.parametrize("weights", [Weights.PRETRAINED, Weights.NONE])
def test_meaningful_cossim_is_given(weights: Weights) -> None:
    """Where CosSim means quality or correctness, the reason gives it."""
    worse = samples.with_weights(samples.measurement(cossim=0.5), weights)
    base = samples.with_weights(samples.measurement(), weights)

    assert "0.50000" in check_measured(worse).reasons[0]
    assert "0.4500" in compare_measured(worse, base).reasons[0]
