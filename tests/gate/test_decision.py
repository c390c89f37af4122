"""Claims about verdicts on pairs of processes."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efficarch.decision import error_share, gate, undecided
from efficarch.errors import EfficarchError
from efficarch.gate import Outcome, Verdict
from efficarch.observation import Sample
from efficarch.policy import Override, Policy
from efficarch.record import Estimate, Limits
from efficarch.series import REFERENCES
from tests.gate.paired_cases import CELL, CPU, around, changed, observation, sample, sides

POLICY = Policy()
Sides = tuple[list[Sample], list[Sample]]


def judge(found: Sides, policy: Policy = POLICY, limits: Limits | None = None) -> Verdict:
    """Judge the one cell of some pairs."""
    return gate(*found, {CELL: limits} if limits else {}, policy)[0]


@pytest.mark.parametrize(
    ("ratio", "outcome"),
    [
        (0.9, Outcome.PASS),
        (1.0, Outcome.PASS),
        (1.02, Outcome.PASS),
        (1.029, Outcome.INCONCLUSIVE),
        (1.031, Outcome.FAIL),
        (1.05, Outcome.FAIL),
    ],
)
def test_quiet_pairs_are_told_to_a_tenth_of_a_per_cent(ratio: float, outcome: Outcome) -> None:
    """A slowdown fails from the floor on, and passes below it; where the two meet it cannot be."""
    verdict = judge(changed(around(ratio, 20)))

    assert verdict.outcome is outcome
    assert verdict.change is not None
    assert verdict.change.low <= ratio <= verdict.change.high
    assert verdict.change.value == pytest.approx(ratio, abs=1e-3)


def test_what_is_clear_is_clear_after_the_screen() -> None:
    """An unchanged cell passes on six pairs; a slow one takes as many as its error allows."""
    assert judge(changed(around(1.0, 6))).outcome is Outcome.PASS
    slow = judge(changed(around(1.1, 6)))
    assert (slow.outcome, slow.open, slow.pairs) == (Outcome.INCONCLUSIVE, True, 6)
    assert undecided(*changed(around(1.1, 6)), {}, POLICY) == [CELL]
    assert judge(changed(around(1.1, 14))).outcome is Outcome.FAIL
    assert undecided(*changed(around(1.1, 14)), {}, POLICY) == []


def test_a_cell_that_was_decided_stays_decided() -> None:
    """What later pairs say of it is not looked at."""
    verdict = judge(changed([*around(1.0, 5), *around(1.5, 9)]))

    assert (verdict.outcome, verdict.pairs) == (Outcome.PASS, 5)


def test_cells_that_were_decided_need_not_be_measured_again() -> None:
    """The other cell goes on alone; that is no missing cell."""
    both = [
        ([observation(cell_id=i) for i in "ab"], [observation(10 * a, cell_id="a"), other])
        for a, other in zip(
            around(1.0, 5), (observation(10 * r, cell_id="b") for r in around(1.1, 5)), strict=True
        )
    ]
    later = [
        ([observation(cell_id="b")], [observation(10 * r, cell_id="b")]) for r in around(1.1, 9)
    ]

    first, second = gate(*sides([*both, *later]), {}, POLICY)

    assert (first.cell_id, first.outcome, first.pairs) == ("a", Outcome.PASS, 5)
    assert (second.cell_id, second.outcome, second.pairs) == ("b", Outcome.FAIL, 10)


def test_noise_is_inconclusive_and_neither_of_the_others() -> None:
    """Ten per cent either way cannot be told from three."""
    verdict = judge(changed(around(1.0, 20, spread=0.1)))

    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert not verdict.open
    assert "cannot be told from 3.0 %" in verdict.reasons[0]


def test_one_wild_pair_neither_fails_nor_saves_a_cell() -> None:
    """A neighbour that wakes up once in twenty pairs changes nothing."""
    quiet, slow = around(1.0, 20), around(1.08, 20)
    quiet[7], slow[7] = 5.0, 0.2

    assert judge(changed(quiet)).outcome is Outcome.PASS
    assert judge(changed(slow)).outcome is Outcome.FAIL


def test_a_change_in_one_order_only_does_not_fail() -> None:
    """What appears only where the head goes second is an order effect."""
    base, head = changed(around(1.0, 20))
    for index, (theirs, ours) in enumerate(zip(base, head, strict=True)):
        if theirs.created < ours.created:
            cell = ours.cells[CELL]
            head[index] = replace(ours, cells={CELL: replace(cell, latency_ms=13.0)})

    assert judge((base, head)).outcome is Outcome.INCONCLUSIVE


def test_more_cells_ask_for_more_evidence() -> None:
    """Of 1 cell 14 pairs are enough to fail it, of 400 cells they are not."""
    ratios = around(1.1, 14)
    many = [
        (
            [observation(cell_id=str(i)) for i in range(400)],
            [observation(10 * (ratio if i == 0 else 1.0), cell_id=str(i)) for i in range(400)],
        )
        for ratio in ratios
    ]

    assert judge(changed(ratios)).outcome is Outcome.FAIL
    assert gate(*sides(many), {}, POLICY)[0].outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("tests", [1, 5, 24, 101, 1000])
@pytest.mark.parametrize("pairs", [(6, 14, 20), (5, 10, 16), (20,), (2, 4), (6, 8, 10, 12, 30)])
def test_looks_share_the_error(pairs: tuple[int, ...], tests: int) -> None:
    """All of it is spent at most once, and none where nothing could be rejected."""
    policy = Policy(pairs=pairs)
    shares = [error_share(policy, 0.01, tests, look) for look in pairs]

    assert sum(shares) == pytest.approx(0.01)
    for look, share in zip(pairs[:-1], shares[:-1], strict=True):
        assert share == 0 or 2.0**-look <= share / tests * (1 + 1e-9)


def test_an_early_look_may_take_more_than_its_share() -> None:
    """Five pairs pass one cell at 1/32 of the 5 %, the later looks share the rest."""
    policy = Policy(pairs=(5, 10, 16))

    assert [error_share(policy, 0.05, 1, look) for look in policy.pairs] == pytest.approx(
        [0.03125, 0.009375, 0.009375]
    )
    # four pairs would take more than two thirds
    assert error_share(replace(policy, pairs=(4, 10, 16)), 0.05, 1, 4) == 0


def test_unchanged_cells_fail_no_more_often_than_allowed() -> None:
    """In 600 null gates of 4 noisy cells, with an error of 10 % and no effect floor to help."""
    rng = random.Random(1)
    policy = Policy(pairs=(8, 12), family_error=0.1, floor=1e-9, null=0.0)
    failed = 0
    for _ in range(600):
        pairs = [
            (
                [observation(10 + rng.random(), cell_id=c) for c in "abcd"],
                [observation(10 + rng.random(), cell_id=c) for c in "abcd"],
            )
            for _ in range(12)
        ]
        verdicts = gate(*sides(pairs), {}, policy)
        failed += any(v.outcome is Outcome.FAIL for v in verdicts)

    # the orders have to agree as well, so far fewer than 60 are expected
    assert failed <= 60 + 3 * 7.4
    assert failed > 0


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0.8, 1.25), min_size=14, max_size=14, unique=True))
def test_the_other_way_round_slower_is_faster(ratios: list[float]) -> None:
    """What fails one way is no failure the other, and the change is the inverse."""
    base, head = changed(ratios)

    there, back = judge((base, head)), judge((head, base))

    assert there.change is not None
    assert back.change is not None
    if there.pairs == back.pairs:  # as it mostly is, unless one of them was clear earlier
        assert back.change.value == pytest.approx(1 / there.change.value)
        assert back.change.low == pytest.approx(1 / there.change.high)
    if there.outcome is Outcome.FAIL:
        assert back.outcome is Outcome.PASS


def quality(before: float, after: float, later: float | None = None) -> Sides:
    """Return six pairs of equal speed; ``later`` is CosSim of one image in all but the first."""
    pairs = []
    for index, ratio in enumerate(around(1.0, 6)):
        few = index > 0 and later is not None
        scores = (later, later) if few else (before, after)
        items = 1 if few else 32
        theirs, ours = (
            observation(10 * r, cossim=score, items=items)
            for r, score in zip((1.0, ratio), scores, strict=True)
        )
        pairs.append(([theirs], [ours]))
    return sides(pairs)


LIMITS = Limits(cossim=0.9, latency_ratio=None, latency_ms=None, reasons=())


def test_worse_fails_however_fast() -> None:
    """A drop beyond the tolerance, or below the floor."""
    assert judge(quality(0.95, 0.9495)).outcome is Outcome.PASS
    fallen = judge(quality(0.95, 0.94))
    assert (fallen.outcome, fallen.reasons) == (Outcome.FAIL, ("CosSim fell by 0.0100",))
    assert judge(quality(0.95, 0.96)).outcome is Outcome.PASS
    low = judge(quality(0.8995, 0.8995), limits=LIMITS)
    assert "below its floor" in low.reasons[0]
    assert judge(quality(0.95, float("nan"))).outcome is Outcome.FAIL


@settings(deadline=None, max_examples=40)
@given(st.floats(0.5, 0.9), st.floats(0.002, 0.1))
def test_cossim_is_higher_is_better(low: float, difference: float) -> None:
    """Exchanging the sides turns a failure into a pass, and the change round."""
    base, head = quality(low + difference, low)
    there, back = judge((base, head)), judge((head, base))

    assert (there.outcome, back.outcome) == (Outcome.FAIL, Outcome.PASS)
    assert there.cossim_change == pytest.approx(-difference)
    assert back.cossim_change == -there.cossim_change


def test_quality_is_read_where_it_was_taken_over_most_items() -> None:
    """Processes that only time see one image, whose CosSim says little."""
    assert judge(quality(0.95, 0.9495, later=0.2), limits=LIMITS).outcome is Outcome.PASS


def test_random_weights_only_tell_whether_the_output_changed() -> None:
    """Either way."""
    base, head = quality(0.5, 0.6)
    for side in (base, head):
        side[:] = [
            replace(s, cells={CELL: replace(s.cells[CELL], judged_by_quality=False)}) for s in side
        ]

    assert judge((base, head)).reasons == ("the output on random weights changed",)
    assert judge((base, base)).outcome is Outcome.PASS


def memory(before: list[int], after: list[int]) -> Sides:
    """Return pairs of equal speed that used this much memory."""
    return sides(
        [
            ([observation(peak_bytes=b)], [observation(10 * r, peak_bytes=a)])
            for b, a, r in zip(before, after, around(1.0, len(before)), strict=True)
        ]
    )


def test_memory_that_repeats_is_judged_exactly() -> None:
    """One byte more is more."""
    assert judge(memory([1000] * 6, [1000] * 6)).outcome is Outcome.PASS
    assert judge(memory([1000] * 6, [999] * 6)).outcome is Outcome.PASS
    more = judge(memory([1000] * 6, [1001] * 6))
    assert more.reasons == ("peak memory 1,000 bytes became 1,001",)
    allowed = Policy(overrides=(Override("toy/*", "sampled", memory_tolerance=0.01),))
    assert judge(memory([1000] * 6, [1001] * 6), allowed).outcome is Outcome.PASS


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 2**40), st.integers(1, 2**40), st.integers(0, 500))
def test_the_other_way_round_more_memory_is_less(few: int, more: int, spread: int) -> None:
    """Whether it repeats exactly or varies from process to process."""
    before = [1000 * few + spread * (k % 3) for k in range(16)]
    after = [2 * each + 1000 * more for each in before]
    base, head = memory(before, after)

    there, back = judge((base, head)), judge((head, base))

    assert (there.outcome, back.outcome) == (Outcome.FAIL, Outcome.PASS)


def test_memory_that_varies_is_tested() -> None:
    """It fails only where the pairs show it."""
    rng = random.Random(0)
    before = [100_000 + rng.randrange(500) for _ in range(14)]

    assert judge(memory(before, before[::-1])).outcome is Outcome.PASS
    # two values, which of them is chance: pairs of them say little, the largest says enough
    chance = [100_000 + 7_000 * (k % 3 == 0) for k in range(14)]
    assert judge(memory(chance, chance[::-1])).outcome is Outcome.PASS
    grown = judge(memory(before, [round(1.2 * b) for b in before]))
    assert grown.outcome is Outcome.FAIL
    assert "peak memory +20.0 %" in grown.reasons[0]


def test_memory_that_some_calls_do_not_need_is_compared() -> None:
    """Nothing has no ratio to something; it counts as one byte."""
    some = [0, 4096] * 8

    assert judge(memory(some, some)).outcome is Outcome.PASS
    assert judge(memory([0] * 16, [0] * 16)).outcome is Outcome.PASS
    assert judge(memory([0] * 16, [4096, 8192] * 8)).outcome is Outcome.FAIL
    assert judge(memory([4096, 8192] * 8, [0] * 16)).outcome is Outcome.PASS


def test_budgets_fail_by_their_lower_bound() -> None:
    """A latency budget on this device."""
    within, beyond = (
        Limits(cossim=0.0, latency_ratio=None, latency_ms=limit, reasons=())
        for limit in (10.1, 9.9)
    )

    assert judge(changed(around(1.0, 6)), limits=within).outcome is Outcome.PASS
    broken = judge(changed(around(1.0, 6)), limits=beyond)
    assert broken.outcome is Outcome.FAIL
    assert "above its budget 9.900 ms" in broken.reasons[0]


@pytest.mark.parametrize("which", [0, 3])
def test_a_ratio_that_one_process_measured_breaks_its_budget_by_its_own_interval(
    which: int,
) -> None:
    """As in a bench run; later pairs need not time the reference."""
    base, head = changed(around(1.0, 6))
    timed = replace(head[which].cells[CELL], ratio=0.7, ratio_interval=Estimate(0.7, 0.65, 0.75))
    head[which] = replace(head[which], cells={CELL: timed})
    within, beyond = (
        Limits(cossim=0.0, latency_ratio=limit, latency_ms=None, reasons=())
        for limit in (0.66, 0.64)
    )

    assert judge((base, head), limits=within).outcome is Outcome.PASS
    broken = judge((base, head), limits=beyond)
    assert broken.outcome is Outcome.FAIL
    assert "above its budget 0.640" in broken.reasons[0]


def shared_machine(slowdown: float, reference_slowdown: float = 1.0) -> Sides:
    """Return pairs on a CPU whose speed differs from process to process by a factor of two."""
    rng = random.Random(4)
    pairs = []
    for ratio in around(slowdown, 14):
        a, b = (1 + rng.random() for _ in range(2))
        theirs = observation(10 * a, reference_ms=20 * a)
        ours = observation(10 * b * ratio, reference_ms=20 * b * reference_slowdown)
        pairs.append(([theirs], [ours]))
    return sides(pairs, machine=CPU)


def test_on_the_cpu_the_ratio_to_the_reference_is_judged() -> None:
    """The machine's drift is in both arms; latencies alone could tell nothing here."""
    assert judge(shared_machine(1.0)).outcome is Outcome.PASS
    assert judge(shared_machine(1.05)).outcome is Outcome.FAIL
    assert judge(shared_machine(1.05), Policy(metric="latency")).outcome is Outcome.INCONCLUSIVE


def in_turns(slowdown: float, *, more_rounds: int = 0) -> Sides:
    """Return pairs on a CPU that becomes slower by half at some round, in both processes alike.

    By their medians alone the two sides differ in most pairs by far more than the slowdown: the
    rounds of one side happen to be measured with more of them before that point.
    """
    rng = random.Random(3)
    pairs = []
    for index, ratio in enumerate(around(slowdown, 16)):
        speeds = [10.0 if i < rng.randrange(3, 8) else 15.0 for i in range(10)]
        noise = [1 + 0.2 * rng.random() for _ in speeds]
        rounds = tuple(speed * n for speed, n in zip(speeds, noise, strict=True))
        theirs = replace(
            observation(10 * (1 + rng.random()), reference_ms=20.0),
            turn=index % 2,
            rounds_ms=rounds,
            reference_rounds_ms=rounds,
        )
        ours = replace(
            observation(10 * (1 + rng.random()), reference_ms=20.0),
            turn=1 - index % 2,
            rounds_ms=tuple(r * ratio for r in rounds) + (10.0,) * more_rounds,
            reference_rounds_ms=rounds + (10.0,) * more_rounds,
        )
        pairs.append(([theirs], [ours]))
    return sides(pairs, machine=CPU)


def test_rounds_in_turns_are_compared_round_by_round() -> None:
    """What the machine does to both sides cancels, and no reference is needed."""
    (unchanged,) = gate(*in_turns(1.0), {}, POLICY)
    (slower,) = gate(*in_turns(1.05), {}, POLICY)

    assert (unchanged.outcome, slower.outcome) == (Outcome.PASS, Outcome.FAIL)
    assert slower.change is not None
    assert slower.change.value == pytest.approx(1.05, abs=0.002)
    assert slower.reasons[0].startswith("latency +5.0 %")


def test_without_as_many_rounds_there_are_no_neighbours() -> None:
    """Processes of an older efficarch, or one that broke off, are judged by their medians."""
    verdict, references = gate(*in_turns(1.05, more_rounds=2), {}, POLICY)

    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.reasons[0].startswith("latency ratio")
    assert references.cell_id == REFERENCES


def test_who_had_the_first_turn_is_the_order_of_a_pair() -> None:
    """A change in the pairs that the base began alone fails nothing."""
    base, head = in_turns(1.2)
    for theirs, ours in zip(base, head, strict=True):
        if theirs.cells[CELL].turn == 1:
            ours.cells[CELL] = replace(
                ours.cells[CELL], rounds_ms=tuple(1.005 * r for r in theirs.cells[CELL].rounds_ms)
            )

    (verdict,) = gate(base, head, {}, POLICY)

    assert verdict.outcome is Outcome.INCONCLUSIVE


def test_references_have_a_line_of_their_own() -> None:
    """What slows both arms moves no ratio; it fails there, and noise there is advisory."""
    noisy = gate(*shared_machine(1.0), {}, POLICY)[-1]
    assert (noisy.cell_id, noisy.outcome, noisy.advisory) == (
        REFERENCES,
        Outcome.INCONCLUSIVE,
        True,
    )
    both = gate(*shared_machine(8.0, 8.0), {}, POLICY)
    assert [v.outcome for v in both] == [Outcome.PASS, Outcome.FAIL]
    assert not both[-1].advisory


def test_the_same_files_give_the_same_verdicts() -> None:
    """Nothing is drawn while judging."""
    found = changed(around(1.03, 14, spread=0.05))

    assert gate(*found, {}, POLICY) == gate(*found, {}, POLICY)


def test_uneven_sides_are_refused() -> None:
    """A pair has two sides."""
    with pytest.raises(EfficarchError, match="2 processes of the base and 1 of the head"):
        gate([sample(), sample()], [sample()], {}, POLICY)
    with pytest.raises(EfficarchError, match="at least one"):
        gate([], [], {}, POLICY)
