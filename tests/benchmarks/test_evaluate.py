"""Evaluating a trained byte-level Mamba again."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.byte_mamba import evaluate, train
from tests.benchmarks.test_train import TEXT, TINY


def test_measures_what_was_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What training wrote down comes out again, digit by digit."""
    monkeypatch.setattr(train, "CONTEXTS", {64: 2})
    monkeypatch.setattr(train, "training_bytes", lambda: bytes(TEXT.tolist()))
    train.run(replace(TINY, steps=3), tmp_path, threads=1)
    capsys.readouterr()

    assert evaluate.main(["--folder", str(tmp_path)]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("held out: 25 files, ")
    figures = [line.partition(": ")[2].split(", recorded ") for line in lines[2:]]
    assert len(figures) == 3
    assert all(now == recorded for now, recorded in figures)


def test_no_checkpoint_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty folder ends in a sentence, not in a traceback."""
    assert evaluate.main(["--folder", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: cannot read {tmp_path}")
