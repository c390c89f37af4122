"""Claims about the calibration of the gate from recorded pairs."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gate_calibration import peers, resampled
from benchmarks.gate_calibration.recordings import Recordings
from efficarch.experiment.ledger import run_file
from tests import samples
from tests.gate.paired_cases import plain_file


def record(folder: Path, pairs: int) -> None:
    """Write plain files of a gate on one commit, two quiet cells and one that came later."""
    (folder / "runs").mkdir()
    for index in range(pairs):
        for arm in ("base", "head"):
            cells = {"a": 0.1 + 1e-5 * index, "b": 0.2} | ({"c": 0.1} if index else {})
            plain_file(run_file(folder, index, arm), cells, index)


def test_recorded_pairs_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the cells that all of them have; too few are refused."""
    assert resampled.main([str(tmp_path)]) == 2
    assert "0 pairs with no cell" in capsys.readouterr().err
    record(tmp_path, 16)

    found = resampled.recorded(Recordings((tmp_path,), None, ()))
    assert [sorted(base.cells) for base, _head in found] == [["a", "b"]] * 16
    found = resampled.recorded(Recordings((tmp_path, tmp_path), 5, ("b*",)))
    assert [sorted(base.cells) for base, _head in found] == [["a"]] * 10
    policy = tmp_path / "p.toml"
    policy.write_text("[tool.efficarch.gate]\npairs = [6, 20]\n")
    assert resampled.main([str(tmp_path), "--policy", str(policy)]) == 2
    assert "16 pairs were recorded, a gate may take 20" in capsys.readouterr().err


def test_every_table_has_its_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As they ran, every disturbance, every slowdown in one and in all cells."""
    record(tmp_path, 16)

    assert resampled.main([str(tmp_path), "--gates", "50", "--policy", str(tmp_path / "none")]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "16 recorded pairs of 2 cells"
    assert len(lines) == 2 + 1 + len(resampled.DISTURBANCES) + 2 * 5
    assert lines[2].split()[:5] == ["as", "they", "ran", "2", "0.00%"]
    (tenth,) = (line for line in lines if line.startswith("+10% in all cells"))
    assert tenth.split()[-5:-2] == ["100.00%", "100.0%", "0.0%"]


@pytest.mark.parametrize("name", [name for name, found in resampled.DISTURBANCES.items() if found])
def test_a_disturbance_multiplies_every_figure(name: str) -> None:
    """By a positive factor, the same each time for a seed, and not always by one."""
    disturbance: Any = resampled.DISTURBANCES[name]

    factors = disturbance(random.Random(1), 32, 5)

    assert [len(row) for row in factors] == [5] * 32
    values = [value for row in factors for value in row]
    assert all(value > 0 for value in values)
    assert max(values) > 1.05 * min(values)
    assert factors == disturbance(random.Random(1), 32, 5)


def processes(*medians: float) -> list[peers.Process]:
    """Return processes of one cell whose rounds spread by a per cent."""
    return [{"a": tuple(m * (1 + 0.002 * i) for i in range(-5, 6))} for m in medians]


@pytest.mark.parametrize(
    "peer",
    [p for p in peers.PEERS if not p.name.startswith(("asv", "benchmatrix"))],
    ids=lambda peer: peer.name,
)
def test_a_rule_sees_a_large_slowdown_and_no_difference_where_there_is_none(
    peer: peers.Peer,
) -> None:
    """asv and benchmatrix are not installed here; tox -e peers runs theirs."""
    base = processes(*(10.0 + 0.001 * i for i in range(peer.pairs)))
    slow = processes(*(13.0 + 0.001 * i for i in range(peer.pairs)))

    assert peer.rule(base, slow) == {"a"}
    assert peer.rule(base, base) == set()
    assert peer.rule(slow, base) == set()


def test_rounds_are_read_as_latencies_or_as_ratios(tmp_path: Path) -> None:
    """Of cells that all processes measured."""
    (tmp_path / "runs").mkdir()
    run = samples.run(samples.line())
    for arm in ("base", "head"):
        run_file(tmp_path, 0, arm).write_text(json.dumps(samples.run_json(run)))

    recordings = Recordings((tmp_path,), None, ())
    ((base, _head),) = peers.recorded(recordings, ratios=False)
    ((ratios, _other),) = peers.recorded(recordings, ratios=True)

    measured = run.cells[0].measurement
    assert measured is not None
    (cell,) = base
    assert base[cell] == measured.rounds_ms
    assert ratios[cell][0] == measured.rounds_ms[0] / measured.reference_rounds_ms[0]


def test_the_table_has_a_row_for_each_rule_and_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shares of gates with an alarm, then of cells at each slowdown."""

    def slower(base: Sequence[peers.Process], head: Sequence[peers.Process]) -> set[str]:
        (before,), (after,) = base, head
        return {cell for cell in before if after[cell][0] > 1.04 * before[cell][0]}

    monkeypatch.setattr(peers, "PEERS", (peers.Peer("a rule", 1, 10, slower),))
    (tmp_path / "runs").mkdir()
    for index in range(2):
        for arm in ("base", "head"):
            path = run_file(tmp_path, index, arm)
            path.write_text(json.dumps(samples.run_json(samples.run(samples.line()))))

    assert peers.main([str(tmp_path)]) == 0

    _titles, *rows = (line.split() for line in capsys.readouterr().out.splitlines())
    assert rows == [
        ["a", "rule", figure, "1", "10", "0.0%", "0.0%", "0.0%", "100.0%", "100.0%"]
        for figure in ("latency", "ratio")
    ]


def test_gates_without_references_have_no_ratios(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table says so instead."""
    monkeypatch.setattr(peers, "PEERS", (peers.Peer("a rule", 1, 1, lambda base, head: set()),))
    (tmp_path / "runs").mkdir()
    for index in range(2):
        for arm in ("base", "head"):
            run = samples.run(samples.line(measured=samples.alone() if index else None))
            run_file(tmp_path, index, arm).write_text(json.dumps(samples.run_json(run)))

    assert peers.main([str(tmp_path)]) == 0

    _titles, latency, words = capsys.readouterr().out.splitlines()
    assert latency.split()[2] == "latency"
    assert words == "ratio: these gates timed no references after their first pair"


def test_no_pairs_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In one sentence."""
    assert peers.main([str(tmp_path)]) == 2
    assert "fewer than two pairs" in capsys.readouterr().err
