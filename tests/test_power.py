"""Claims about the power of a policy under recorded noise."""

import random
from dataclasses import replace

import pytest

from efficarch.policy import Policy
from efficarch.power import (
    Pair,
    as_they_ran,
    noise,
    prepared,
    resampled,
    simulate,
    table,
)
from tests.gate.paired_cases import CELL, around, observation, sides


def pairs(spread: float, count: int = 20) -> list[Pair]:
    """Return recorded pairs of two cells of one commit."""
    recorded = [
        ([observation(cell_id=c) for c in "ab"], [observation(10 * r, cell_id=c) for c in "ab"])
        for r in around(1.0, count, spread=spread)
    ]
    return list(zip(*sides(recorded), strict=True))


@pytest.mark.parametrize("one_cell", [False, True])
def test_quiet_pairs_decide_everything(one_cell: bool) -> None:
    """Nothing fails that is unchanged, everything that is slow, as soon as it can."""
    draw = resampled(pairs(0.001))

    unchanged = simulate(draw, Policy(), slowdown=0.0, gates=20, one_cell=one_cell)
    slow = simulate(draw, Policy(), slowdown=0.1, gates=20, one_cell=one_cell)

    assert (unchanged.failed_gates, unchanged.passed, unchanged.gate_pairs) == (0, 1, 5)
    assert (slow.failed_gates, slow.failed, slow.cell_pairs) == (1, 1, 10)


def test_noise_is_inconclusive() -> None:
    """At the price of all pairs."""
    tally = simulate(resampled(pairs(0.3)), Policy(), slowdown=0.0, gates=20)

    assert tally.failed_gates == 0
    assert tally.inconclusive > 0.9
    assert tally.gate_pairs > 15


def test_pairs_are_taken_as_they_ran() -> None:
    """Each once, in order; where they start and which side is which differs from gate to gate."""
    recorded = pairs(0.01, count=10)
    draw, rng = as_they_ran(recorded), random.Random(0)
    places = {id(side): i for i, pair in enumerate(recorded) for side in pair}

    gates = [draw(rng, 6) for _gate in range(50)]

    starts = {places[id(gate[0][0])] for gate in gates}
    assert starts == set(range(5))
    for gate in gates:
        first = places[id(gate[0][0])]
        assert [{places[id(s)] for s in pair} for pair in gate] == [{first + i} for i in range(6)]
    assert len({tuple(base.created <= head.created for base, head in g) for g in gates}) > 20


def test_a_disturbance_reaches_the_process_that_ran_then() -> None:
    """What slows every second process slows half of the bases and half of the heads."""

    def second(_rng: random.Random, processes: int, cells: int) -> list[list[float]]:
        return [[1.5 if i % 2 else 1.0] * cells for i in range(processes)]

    quiet = resampled(pairs(0.001))

    tally = simulate(quiet, Policy(), slowdown=0.0, gates=50, disturbance=second)

    assert tally.failed_gates == 0
    assert tally.inconclusive > 0.5  # without it all of them pass


def test_only_cells_that_all_processes_measured_count() -> None:
    """A cell that was decided early, or failed once, would be no fair draw."""
    base, head = sides([([observation(cell_id=c) for c in "ab"],) * 2] * 3)
    del head[1].cells["b"]

    assert [sorted(b.cells) for b, _h in prepared(list(zip(base, head, strict=True)))] == [
        ["a"]
    ] * 3
    assert prepared([]) == []


def test_the_table_names_the_noisiest_cell_first() -> None:
    """By the standard deviation of its pairs."""
    spreads = zip(around(1.0, 8, spread=0.001), around(1.0, 8, spread=0.05), strict=True)
    theirs = [observation(cell_id=c) for c in "ab"]
    base, head = sides(
        [
            (theirs, [observation(10 * r, cell_id="a"), observation(10 * s, cell_id="b")])
            for r, s in spreads
        ]
    )
    both = list(zip(base, head, strict=True))

    found = noise(both, Policy())

    assert list(found) == ["b", "a"]
    assert found["b"] > 10 * found["a"]
    lines = table(both, Policy(), gates=5)
    assert "over 8 pairs" in lines[0]
    assert [line.split()[-1] for line in lines[1:3]] == ["b", "a"]
    assert len(lines) == 1 + 2 + 2 + 6
    assert table(both[:1], Policy()) == ["power: not known before a gate has measured two pairs"]


def test_rounds_in_turns_become_one_of_the_same_ratio() -> None:
    """What is judged stays; nothing else is looked at again for every simulated gate."""
    rounds, slower = (1.0, 2.0, 3.0), (1.1, 2.6, 27.0)
    theirs = replace(observation(reference_ms=20.0), turn=0, reference_rounds_ms=rounds)
    ours = replace(theirs, turn=1, rounds_ms=slower)
    base, head = sides([([replace(theirs, rounds_ms=rounds)], [ours])] * 2)
    both = list(zip(base, head, strict=True))

    ((before, after), _other) = prepared(both)

    assert after.cells[CELL].rounds_ms == pytest.approx((1.3,))
    assert before.cells[CELL].rounds_ms == after.cells[CELL].reference_rounds_ms == (1.0,)
    assert noise(prepared(both), Policy()) == noise(both, Policy())


def test_rounds_without_references_become_one_too() -> None:
    """As of the later pairs of a gate."""
    theirs = replace(observation(), turn=0, rounds_ms=(1.0, 2.0, 3.0))
    ours = replace(theirs, turn=1, rounds_ms=(1.1, 2.6, 27.0))
    base, head = sides([([theirs], [ours])])

    ((before, after),) = prepared(list(zip(base, head, strict=True)))

    assert after.cells[CELL].rounds_ms == pytest.approx((1.3,))
    assert before.cells[CELL].rounds_ms == (1.0,)
    assert after.cells[CELL].reference_rounds_ms == ()
