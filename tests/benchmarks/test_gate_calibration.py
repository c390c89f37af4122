"""Claims about the simulation of gates from recorded pairs."""

from pathlib import Path

import pytest

from benchmarks.gate_calibration.resampled import Pair, main, recorded, simulate
from efficarch.experiment import run_file
from efficarch.policy import Policy
from tests.gate.paired_cases import around, observation, plain_file, sides


def pairs(spread: float) -> list[Pair]:
    """Return recorded pairs of two cells of one commit."""
    recorded_pairs = [
        ([observation(cell_id=c) for c in "ab"], [observation(10 * r, cell_id=c) for c in "ab"])
        for r in around(1.0, 20, spread=spread)
    ]
    return list(zip(*sides(recorded_pairs), strict=True))


def test_quiet_pairs_decide_everything() -> None:
    """Nothing fails that is unchanged, everything that is slow, each at the first look it can."""
    unchanged = simulate(pairs(0.001), Policy(), slowdown=0.0, gates=20)
    slow = simulate(pairs(0.001), Policy(), slowdown=0.1, gates=20)

    assert (unchanged.failed_gates, unchanged.passed, unchanged.gate_pairs) == (0, 1, 6)
    assert (slow.failed_gates, slow.failed, slow.cell_pairs) == (1, 1, 14)


def test_one_slow_cell_of_two() -> None:
    """Its own verdict is counted, and the gate fails by it."""
    tally = simulate(pairs(0.001), Policy(), slowdown=0.1, gates=10, one_cell=True)

    assert (tally.failed_gates, tally.failed) == (1, 1)


def test_noise_is_inconclusive() -> None:
    """At the price of all pairs."""
    tally = simulate(pairs(0.3), Policy(), slowdown=0.0, gates=20)

    assert tally.failed_gates == 0
    assert tally.inconclusive > 0.9
    assert tally.gate_pairs == 20


def test_recorded_pairs_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the cells that all of them have; a folder without any is refused."""
    assert main([str(tmp_path)]) == 2
    assert "holds 0 pairs" in capsys.readouterr().err
    (tmp_path / "runs").mkdir()
    for index in range(6):
        for arm in ("base", "head"):
            cells = {"a": 0.1 + 1e-5 * index, "b": 0.2} | ({"c": 0.1} if index else {})
            plain_file(run_file(tmp_path, index, arm), cells, index)

    assert [sorted(base.cells) for base, _head in recorded(tmp_path)] == [["a", "b"]] * 6
    assert main([str(tmp_path), "--gates", "10", "--policy", str(tmp_path / "none")]) == 0
    assert "6 recorded pairs of 2 cells" in capsys.readouterr().out
