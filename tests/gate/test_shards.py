"""Cells that only some pairs measured on both sides, as shards of one CI run do."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from efficarch.decision import gate
from efficarch.gate import Outcome, Verdict
from efficarch.observation import Sample
from efficarch.policy import Policy
from efficarch.series import REFERENCES, pairs_of, references
from efficarch.store import load_sides
from tests.gate.paired_cases import CPU, around, observation, plain_file, sides

KEPT = "toy/kept"


def partly(kept: Sequence[int], *, of: int, ratio: float = 1.0) -> list[Verdict]:
    """Judge a cell that only some of so many pairs measured, beside one that all did."""
    pairs = []
    for place, noise in enumerate(around(1.0, of)):
        cells = ["toy/all", KEPT] if place in kept else ["toy/all"]
        pairs.append(
            (
                [observation(cell_id=each) for each in cells],
                [
                    observation(10 * noise * (ratio if each == KEPT else 1), cell_id=each)
                    for each in cells
                ],
            )
        )
    verdicts = gate(*sides(pairs), {}, Policy())
    assert [verdict.cell_id for verdict in verdicts] == ["toy/all", KEPT]
    return verdicts


@pytest.mark.parametrize("count", range(1, 18))
def test_a_cell_is_judged_over_the_pairs_that_have_it(count: int) -> None:
    """Whatever their number: its own is said, and is no look of the others."""
    everyone, some = partly(range(18 - count, 18), of=18)

    assert (everyone.outcome, everyone.pairs) == (Outcome.PASS, 5)
    assert some.outcome in (Outcome.PASS, Outcome.INCONCLUSIVE)
    assert some.pairs == (count if some.outcome is Outcome.INCONCLUSIVE or count < 5 else 5)


@pytest.mark.parametrize("count", [3, 7, 8, 12, 17])
def test_so_many_pairs_alone_say_the_same(count: int) -> None:
    """A cell of a shard is judged as if the other shards' files did not exist."""
    _all, some = partly(range(count), of=18, ratio=1.08)
    _alone, same = partly(range(count), of=count, ratio=1.08)

    assert some == same


def test_shards_that_share_no_cell_have_a_verdict_each() -> None:
    """One pair each describes and decides nothing."""
    cells = [("toy/a", 1.0), ("toy/b", 1.5)]
    pairs = [
        ([observation(cell_id=each)], [observation(10 * ratio, cell_id=each)])
        for each, ratio in cells
    ]

    first, second = gate(*sides(pairs), {}, Policy())

    for verdict, (cell_id, ratio) in zip((first, second), cells, strict=True):
        assert (verdict.cell_id, verdict.outcome, verdict.pairs) == (
            cell_id,
            Outcome.INCONCLUSIVE,
            1,
        )
        assert verdict.change is not None
        assert verdict.change.value == pytest.approx(ratio)


def test_files_of_shards_are_read_and_judged(tmp_path: Path) -> None:
    """Of pytest-benchmark, one file a shard and side."""
    base, head = (
        [plain_file(tmp_path / f"{side}-{cell}.json", {cell: seconds}, 0) for cell in "ab"]
        for side, seconds in (("base", 0.1), ("head", 0.2))
    )

    sides = load_sides(base, head)
    verdicts = gate(sides.base, sides.head, {}, Policy())

    assert [(v.cell_id, v.outcome, v.pairs) for v in verdicts] == [
        ("a", Outcome.INCONCLUSIVE, 1),
        ("b", Outcome.INCONCLUSIVE, 1),
    ]


def test_references_of_a_pair_stay_those_of_that_pair() -> None:
    """The reference of one shard's pair is not taken for that of another's."""
    cells = ["toy/a", "toy/b"] * 6
    ratios = [1.0, 2.0] * 6
    pairs = [
        (
            [observation(cell_id=each, reference_ms=20.0)],
            [observation(cell_id=each, reference_ms=20.0 * ratio)],
        )
        for each, ratio in zip(cells, ratios, strict=True)
    ]
    base, head = sides(pairs, machine=CPU)
    found = references({each: pairs_of(each, base, head) for each in set(cells)}, Policy())

    assert found is not None
    assert len(found.values) == 12
    assert found.values[0::2] == pytest.approx([0.0] * 6)
    assert found.values[1::2] == pytest.approx([0.6931] * 6, abs=1e-4)
    assert found.base_first == tuple(_begins(b, h) for b, h in zip(base, head, strict=True))
    *_cells, line = gate(base, head, {}, Policy())
    assert (line.cell_id, line.pairs) == (REFERENCES, 12)


def _begins(base: Sample, head: Sample) -> bool:
    return base.created <= head.created
