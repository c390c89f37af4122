"""Verdicts on a run by its own limits: every outcome and its boundaries."""

from dataclasses import replace

import pytest

from efficarch.gate import Outcome, Verdict, check_limits
from efficarch.record import CellRun, CosSim, Limits, Measurement, Status
from tests import samples
from tests.gate.cases import NOISY, QUIET, check, check_measured


def test_cell_within_its_limits_passes() -> None:
    """A cell that keeps its budget and its floor passes, without a reason."""
    line = samples.line()

    assert check(line) == Verdict(line.cell.id, Outcome.PASS)


def test_noisy_cell_whose_interval_straddles_its_budget_passes() -> None:
    """The budget is judged by the interval's lower bound, so noise alone cannot break it."""
    measured = samples.measurement(ratio=0.82, noise=NOISY)
    assert measured.ratio.low < 0.8 < measured.ratio.value

    assert check_measured(measured).outcome is Outcome.PASS


def test_cell_whose_whole_interval_is_above_its_budget_fails() -> None:
    """The same figure with a tight interval breaks the budget; the reason gives both."""
    measured = samples.measurement(ratio=0.82)
    assert measured.ratio.low > 0.8

    verdict = check_measured(measured)

    assert verdict.outcome is Outcome.FAIL
    (reason,) = verdict.reasons
    assert reason.startswith("latency ratio 0.820 [")
    assert reason.endswith("is above its budget 0.800")


def test_cell_exactly_at_its_budget_passes() -> None:
    """A budget is the last value allowed."""
    measured = samples.measurement(ratio=0.8, noise=QUIET)
    limits = Limits(0.9, measured.ratio.low, measured.latency_ms.low, ())

    assert check_measured(measured, limits).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("budget_ms", "outcome"),
    [
        pytest.param(69.0, Outcome.FAIL, id="below the interval"),
        pytest.param(71.0, Outcome.PASS, id="inside the interval, below the median"),
        pytest.param(90.0, Outcome.PASS, id="above the interval"),
    ],
)
def test_absolute_budget_is_judged_by_the_lower_bound(budget_ms: float, outcome: Outcome) -> None:
    """A budget in milliseconds is judged like the ratio's, also where it is the only one."""
    measured = samples.measurement(ratio=0.7, dense_ms=100.0)
    assert 69 < measured.latency_ms.low < 71 < measured.latency_ms.value < 90

    verdict = check_measured(measured, Limits(0.9, None, budget_ms, ()))

    assert verdict.outcome is outcome
    assert [f"above its budget {budget_ms:.3f} ms" in reason for reason in verdict.reasons] == (
        [True] if outcome is Outcome.FAIL else []
    )


@pytest.mark.parametrize(
    ("cossim", "outcome"),
    [
        pytest.param(0.91, Outcome.PASS, id="above"),
        pytest.param(0.9, Outcome.PASS, id="at the floor"),
        pytest.param(0.8999, Outcome.FAIL, id="just below"),
    ],
)
def test_cossim_floor(cossim: float, outcome: Outcome) -> None:
    """The floor is the lowest mean CosSim allowed."""
    assert check_measured(samples.measurement(cossim=cossim)).outcome is outcome


def test_reason_gives_cossim_and_its_floor() -> None:
    """Who reads the reason needs no other file."""
    verdict = check_measured(samples.measurement(cossim=0.8999))

    assert verdict.reasons == ("CosSim 0.89990 is below its floor 0.90000",)


def test_cossim_that_is_not_a_number_fails() -> None:
    """Broken output passes no floor."""
    broken = CosSim(float("nan"), float("nan"), float("nan"), items=32)

    verdict = check_measured(replace(samples.measurement(), cossim=broken))

    assert verdict.outcome is Outcome.FAIL


def test_every_broken_limit_is_named() -> None:
    """Ratio, milliseconds and CosSim at once give three reasons."""
    measured = samples.measurement(ratio=0.95, cossim=0.5)

    verdict = check_measured(measured, replace(samples.LIMITS, latency_ms=1.0))

    assert [reason.split(" ")[:2] for reason in verdict.reasons] == [
        ["latency", "ratio"],
        ["latency", f"{measured.latency_ms.value:.3f}"],
        ["CosSim", "0.50000"],
    ]


def test_suite_test_that_failed_for_another_reason_fails() -> None:
    """Limits that hold do not excuse a failed assertion; its message is the reason."""
    line = samples.line(status=Status.FAILED, message="kept tokens are not sorted")

    verdict = check(line)

    assert verdict.outcome is Outcome.FAIL
    assert verdict.reasons == ("the suite test failed: kept tokens are not sorted",)


@pytest.mark.parametrize("measured", [None, samples.measurement()], ids=["without", "with"])
def test_error_fails_with_or_without_numbers(measured: Measurement | None) -> None:
    """A cell that raised is a failure, not something unmeasured; its message is the reason."""
    line = replace(
        samples.line(status=Status.ERROR, message="OutOfMemoryError: 2 GiB"), measurement=measured
    )

    verdict = check(line)

    assert verdict.outcome is Outcome.FAIL
    assert verdict.reasons == ("raised: OutOfMemoryError: 2 GiB",)


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.PASSED])
@pytest.mark.parametrize("measured", [True, False], ids=["measured", "unmeasured"])
def test_only_a_passed_cell_passes(status: Status, measured: bool) -> None:
    """Whatever else became of a cell, numbers within its limits do not make it a pass."""
    line = replace(
        samples.line(status=status, message="why"),
        measurement=samples.measurement() if measured else None,
    )

    assert check(line).outcome is not Outcome.PASS


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param(
            samples.line(status=Status.SKIPPED, message="no weights"),
            "skipped: no weights",
            id="skipped",
        ),
        pytest.param(samples.line(status=Status.NOT_RUN), "not run", id="not run"),
    ],
)
def test_cell_that_cannot_be_judged_is_not_comparable(line: CellRun, reason: str) -> None:
    """A cell without numbers says so."""
    assert check(line) == Verdict(line.cell.id, Outcome.NOT_COMPARABLE, (reason,))


def test_verdicts_follow_the_run() -> None:
    """Each cell gets one verdict, in the order of the run."""
    lines = [samples.line(samples.cell(method)) for method in ("tome", "norm", "attention")]

    verdicts = check_limits(samples.run(*lines))

    assert [verdict.cell_id for verdict in verdicts] == [line.cell.id for line in lines]
