"""Claims about the slowdown by real extra work."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gate_calibration import slowdown
from efficarch.errors import EfficarchError
from efficarch.record import Estimate
from efficarch.reducers import norm


def test_extra_work_is_done_each_time_and_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reducer still returns what it returned, after one product of two matrices."""
    monkeypatch.setattr(norm.NormPrune, "reduce", lambda _self, patches, count: (patches, count))
    before = norm.NormPrune.reduce
    pruner: Any = norm.NormPrune(keep=0.5)

    with slowdown.extra_work(3), torch.profiler.profile() as seen:
        assert pruner.reduce("patches", 7) == ("patches", 7)

    assert [event.name for event in seen.events() if event.name == "aten::mm"] == ["aten::mm"]
    assert norm.NormPrune.reduce is before


def test_rows_are_in_proportion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what the trial's rows cost."""
    trial = slowdown.Trial.__new__(slowdown.Trial)
    monkeypatch.setattr(trial, "slowdown", lambda _rows, _pairs: Estimate(0.4, 0.39, 0.41))

    assert slowdown.rows_for(0.05, trial) == slowdown.TRIAL_ROWS / 8


def git(folder: Path, *arguments: str) -> str:
    """Ask git."""
    return subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_a_clone_has_one_commit_more(tmp_path: Path) -> None:
    """On top of the checkout's own, in the reducer alone."""
    slowdown.slowed_clone(tmp_path / "clone", 5)

    here = git(Path(__file__).parent, "rev-parse", "HEAD")
    assert git(tmp_path / "clone", "rev-parse", "HEAD~1") == here
    changed = git(tmp_path / "clone", "diff", "--name-only", "HEAD~1")
    assert changed == "efficarch/reducers/norm.py"
    added = git(tmp_path / "clone", "show", "HEAD:efficarch/reducers/norm.py")
    assert "torch.ones(5, 512)" in added


def verdict(cell_id: str, outcome: str) -> dict[str, Any]:
    """Return a verdict as it is written."""
    return {"cell_id": cell_id, "outcome": outcome, "reasons": ["latency +5.0 %"]}


def fake_gate(monkeypatch: pytest.MonkeyPatch, code: int, verdicts: list[dict[str, Any]]) -> None:
    """Let a gate end at once."""

    def run(command: list[str], **_options: Any) -> subprocess.CompletedProcess[str]:
        out = Path(command[command.index("--out") + 1])
        out.mkdir(exist_ok=True)
        (out / "verdicts.json").write_text(json.dumps({"verdicts": verdicts}))
        return subprocess.CompletedProcess(command, code, "", "error: no such commit\n")

    monkeypatch.setattr(slowdown.subprocess, "run", run)


def test_a_gate_is_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slowed cell first, the others counted."""
    found = [verdict(slowdown.CELL, "fail"), verdict("a", "pass"), verdict("b", "pass")]
    fake_gate(monkeypatch, 1, found)

    line = slowdown.gated(tmp_path, tmp_path / "out", 2, None)

    assert line.startswith(
        "seed 2: exit code 1, 0.0 min; FAIL; latency +5.0 %; other cells: 2 PASS"
    )


def test_a_gate_that_says_nothing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that could not run, and one that did not look at the cell."""
    fake_gate(monkeypatch, 2, [])
    with pytest.raises(EfficarchError, match="ended with 2: error: no such commit"):
        slowdown.gated(tmp_path, tmp_path / "out", 0, None)
    fake_gate(monkeypatch, 0, [verdict("a", "pass")])
    with pytest.raises(EfficarchError, match=r"judged no cell .* let -k select it"):
        slowdown.gated(tmp_path, tmp_path / "out", 0, "a")


def test_a_neighbour_goes_when_the_gate_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """And none comes unasked."""
    started: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def popen(command: list[str]) -> subprocess.Popen[bytes]:
        started.append(start(command))
        return started[-1]

    monkeypatch.setattr(slowdown.subprocess, "Popen", popen)
    with slowdown.neighbour(present=False):
        assert started == []

    with slowdown.neighbour(present=True):
        assert started[0].poll() is None

    assert started[0].poll() is not None
