"""Claims about what paired processes must share."""

from dataclasses import fields, replace

import pytest

from efficarch.decision import gate
from efficarch.foreign import FINGERPRINT
from efficarch.gate import Outcome, Verdict
from efficarch.observation import Observation, Sample, observe
from efficarch.policy import DIFFERABLE, Policy
from efficarch.record import Conditions, Machine, Status
from tests import samples
from tests.gate.paired_cases import CELL, around, observation, sides, with_status

OTHER = {
    "gpu_name": "NVIDIA A100",
    "gpu_uuid": "GPU-2",
    "driver": "999",
    "cuda": "12.0",
    "power_limit_w": 350.0,
    "sm_clock_mhz": 1200,
    "memory_clock_mhz": 1593,
    "cpu_model": "Other CPU",
    "cpu_cores": 8,
    "threads": 8,
    "python": "3.12.1",
    "torch": "2.11.0",
    "transformers": "5.17.0",
    "persistence": True,
    "mig": True,
}

QUIET = Conditions(0.02, 1980, (), 0)


def judge(pairs: list[tuple[list[Observation], list[Observation]]]) -> list[Verdict]:
    """Judge pairs by the default policy."""
    return gate(*sides(pairs), {}, Policy())


def on(machine: Machine, created: str) -> Sample:
    """Return a process on a machine."""
    return replace(observe(replace(samples.run(samples.line()), machine=machine)), created=created)


def test_every_field_of_the_fingerprint_is_covered() -> None:
    """A new field needs a value here, and is compared from the day it exists."""
    named = {field.name for field in fields(Machine)} - {"device"}
    assert set(OTHER) == named
    assert set(DIFFERABLE) == named | set(FINGERPRINT)


@pytest.mark.parametrize("name", sorted(OTHER))
def test_another_machine_is_not_comparable(name: str) -> None:
    """Each field is named, with both values, and may differ where the policy says so."""
    machine = samples.GPU
    base = [on(machine, f"{i}") for i in range(6)]
    head = [on(replace(machine, **{name: OTHER[name]}), f"{i}") for i in range(6)]

    (verdict,) = gate(base, head, {}, Policy())

    assert verdict.outcome is Outcome.NOT_COMPARABLE
    assert verdict.reasons == (
        f"other machine: {name} is {getattr(machine, name)} and {OTHER[name]}",
    )
    assert not verdict.advisory
    (allowed,) = gate(base, head, {}, Policy(may_differ=(name,)))
    assert allowed.outcome is not Outcome.NOT_COMPARABLE


def test_one_process_elsewhere_is_enough() -> None:
    """Also one of many, on the same side."""
    base = [on(samples.GPU, f"{i}") for i in range(6)]
    moved = [*base[:5], on(replace(samples.GPU, gpu_uuid="GPU-2"), "5")]

    (verdict,) = gate(moved, base, {}, Policy())

    assert verdict.outcome is Outcome.NOT_COMPARABLE


@pytest.mark.parametrize("name", ["weights", "source", "seed", "items", "backend"])
def test_another_subject_is_not_comparable(name: str) -> None:
    """Weights, inputs and what ran."""
    pairs = []
    for ratio in around(1.0, 6):
        theirs = replace(observation(), identity=((name, "a"),))
        ours = replace(observation(10 * ratio), identity=((name, "b"),))
        pairs.append(([theirs], [ours]))

    (verdict,) = judge(pairs)

    assert (verdict.outcome, verdict.reasons) == (
        Outcome.NOT_COMPARABLE,
        (f"{name} is 'a' and 'b'",),
    )


def test_missing_cells_have_verdicts_of_their_own() -> None:
    """Gone is not comparable and counts; new is shown and does not."""
    kept, gone, new = (observation(cell_id=name) for name in ("kept", "gone", "new"))
    pairs = [
        ([kept, gone], [replace(kept, latency_ms=10 * ratio), new]) for ratio in around(1.0, 6)
    ]

    first, second, third = judge(pairs)

    assert (first.cell_id, first.outcome) == ("kept", Outcome.PASS)
    assert (second.cell_id, second.outcome, second.advisory) == (
        "new",
        Outcome.NOT_COMPARABLE,
        True,
    )
    assert (third.cell_id, third.outcome, third.advisory) == ("gone", Outcome.NOT_COMPARABLE, False)


@pytest.mark.parametrize(
    ("before", "after", "outcome", "advisory"),
    [
        (Status.PASSED, Status.ERROR, Outcome.FAIL, False),
        (Status.ERROR, Status.ERROR, Outcome.NOT_COMPARABLE, False),
        (Status.ERROR, Status.PASSED, Outcome.NOT_COMPARABLE, False),
        (Status.PASSED, Status.SKIPPED, Outcome.NOT_COMPARABLE, False),
        (Status.SKIPPED, Status.PASSED, Outcome.NOT_COMPARABLE, False),
        (Status.SKIPPED, Status.SKIPPED, Outcome.NOT_COMPARABLE, True),
        (Status.PASSED, Status.NOT_RUN, Outcome.NOT_COMPARABLE, False),
    ],
)
def test_what_was_not_measured_never_passes(
    before: Status, after: Status, outcome: Outcome, advisory: bool
) -> None:
    """An error of the head alone is its fault; what neither side can run here is shown only."""
    measured = observation()
    theirs, ours = (
        measured if status is Status.PASSED else with_status(measured, status, "why")
        for status in (before, after)
    )

    (verdict,) = judge([([theirs], [ours])] * 6)

    assert (verdict.cell_id, verdict.outcome, verdict.advisory) == (CELL, outcome, advisory)
    assert "why" in verdict.reasons[0]


def test_a_cell_that_one_side_lost_in_a_later_pair() -> None:
    """It was asked for, so it is missing."""
    pairs = [([observation()], [observation(10 * r)]) for r in around(1.2, 6)]
    pairs.append(([observation()], []))

    (verdict,) = judge(pairs)

    assert verdict.reasons == ("measured on one side of a pair only",)


def judge_under(
    base: list[Conditions], head: list[Conditions], *, ratio: float, device: str = "cuda"
) -> Verdict:
    """Judge a cell measured under conditions, one a process, when the head is slower or not."""
    pairs = [
        (
            [replace(observation(), conditions=theirs)],
            [replace(observation(10 * r), conditions=ours)],
        )
        for theirs, ours, r in zip(base, head, around(ratio, len(base)), strict=True)
    ]
    verdict, *_others = gate(*sides(pairs, (("device", device),)), {}, Policy())
    return verdict


@pytest.mark.parametrize("ratio", [1.0, 1.1])
@pytest.mark.parametrize(
    ("disturbed", "device", "words"),
    [
        (replace(QUIET, throttling=("temperature",)), "cuda", "throttled by temperature"),
        (replace(QUIET, foreign_gpu_processes=1), "cuda", "another process computed on the GPU"),
        (replace(QUIET, foreign_cpu_share=0.3), "cpu", "others took more than 10 % of the CPU"),
    ],
)
def test_a_disturbed_machine_decides_no_speed(
    disturbed: Conditions, device: str, words: str, ratio: float
) -> None:
    """Neither FAIL nor PASS, and the reason says in how many processes."""
    verdict = judge_under([disturbed] * 16, [disturbed, QUIET] * 8, ratio=ratio, device=device)

    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert words in verdict.reasons[0]
    assert "in 24 of 32 processes" in verdict.reasons[0]


@pytest.mark.parametrize(("ratio", "outcome"), [(1.0, Outcome.PASS), (1.1, Outcome.FAIL)])
def test_a_few_disturbed_processes_are_borne(ratio: float, outcome: Outcome) -> None:
    """The tests do; so is a busy CPU where the GPU is measured."""
    hot = replace(QUIET, throttling=("temperature",))
    busy = replace(QUIET, foreign_cpu_share=0.5)

    assert judge_under([QUIET] * 13 + [hot] * 3, [QUIET] * 16, ratio=ratio).outcome is outcome
    assert judge_under([busy] * 16, [busy] * 16, ratio=ratio).outcome is outcome


@pytest.mark.parametrize(("clock", "told"), [(1980, False), (1945, False), (1930, True)])
def test_other_clocks_decide_no_speed(clock: int, told: bool) -> None:
    """Two sides whose clocks differ by more than 2 % are no comparison."""
    slower = [replace(QUIET, sm_clock_mhz=clock)] * 16

    verdict = judge_under([QUIET] * 16, slower, ratio=1.1)

    assert (verdict.outcome is Outcome.INCONCLUSIVE) is told
    assert ("the SM clock was 1980 MHz in the base, 1930 in the head" in verdict.reasons) is told


def test_a_disturbed_machine_excuses_no_worse_output() -> None:
    """CosSim does not depend on who else is at work."""
    hot = replace(QUIET, throttling=("temperature",))
    base, head = (replace(observation(cossim=c), conditions=hot) for c in (0.99, 0.9))

    (verdict,) = judge([([base], [head])] * 6)

    assert verdict.outcome is Outcome.FAIL
    assert verdict.reasons == ("CosSim fell by 0.0900",)
