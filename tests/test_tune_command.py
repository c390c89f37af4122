"""Claims about ``efficarch tune``: files from a whole search, and one sentence for bad input."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from efficarch import timing
from efficarch.cli import main
from efficarch.contests import encoders as encoder_contests
from efficarch.tuned import load_tuned
from tests import inner

GOOD = ["tune", "--model", "dinov2-small", "--latency-ratio", "0.8"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "dinov2-smal"], "unknown model 'dinov2-smal'; did you mean 'dinov2-small'"),
        (["--model", "qwen2.5-vl-3b"], "qwen2.5-vl-3b cannot be tuned; choose an image encoder"),
        (["--latency-ratio", "1.5"], "latency ratio is 1.5; it must lie between 0 and 1"),
        (["--rounds", "3"], "rounds is 3; use at least 6"),
        (["--trials", "0"], "trials is 0; it must be at least 1"),
        (["--methods", "tomee"], "unknown method 'tomee'; did you mean 'tome'"),
        (["--methods", "exact-tail"], "exact-tail cannot be tuned on dinov2-small; choose among"),
        (["--batch", "17"], "the smaller half has 16 images; at batch 17 give at least 34 in all"),
        (["--batch", "0"], "batch is 0; it must be at least 1"),
        (["--images", "nowhere"], "no images folder 'nowhere'"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_bad_input_gets_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    """The exit code is 2, and nothing is left behind."""
    out = tmp_path / "out"

    assert main([*GOOD, "--out", str(out), *arguments]) == 2

    captured = capsys.readouterr()
    assert captured.err.startswith("efficarch: ")
    assert said in captured.err
    assert not list(out.glob("*"))


def test_a_search_overwrites_nothing_of_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Limits that somebody wrote by hand look like those of a search; they stay, and it stops."""
    budgets = tmp_path / "budgets.toml"
    budgets.write_text("[[limit]]\n", encoding="utf-8")

    assert main([*GOOD, "--device", "cpu", "--out", str(tmp_path)]) == 2

    assert "budgets.toml was not written by efficarch; choose" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["budgets.toml"]
    assert budgets.read_text(encoding="utf-8") == "[[limit]]\n"


def test_a_search_leaves_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Table, CSV, chart and entries, from a tiny encoder and a clock that counts work."""
    row = SimpleNamespace(load=inner.load)
    monkeypatch.setattr(encoder_contests, "model_row", lambda _name: row)
    monkeypatch.setattr(timing, "clock_for", lambda _device: inner.WorkClock())
    arguments = ["--methods", "random,tome", "--trials", "9", "--out", str(tmp_path)]

    assert main([*GOOD, "--device", "cpu", *arguments]) == 0

    assert {path.name for path in tmp_path.iterdir()} == {
        ".gitignore",
        "budgets.toml",
        "index.html",
        "pareto.csv",
        "summary.md",
        "trials.log",
        "tuned.toml",
    }
    names = [entry.name for entry in load_tuned(tmp_path / "tuned.toml")]
    assert sorted(names) == ["random+exact-tail@0.8", "tome+exact-tail@0.8"]
    said = capsys.readouterr().out
    assert "2 of 2: tome+exact-tail@0.8: keep" in said
    assert "| method | keep | latency ratio |" in said
