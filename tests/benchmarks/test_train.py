"""The training script: the same seed, the same checkpoint; nothing half-written."""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.byte_mamba import train as script
from benchmarks.byte_mamba.baselines import bigram_bits, gzip_bits
from benchmarks.byte_mamba.recipe import Recipe, train
from efficarch.errors import EfficarchError
from efficarch.models import byte_mamba
from efficarch.models.byte_text import as_tensor

TINY = Recipe(steps=40, seed=0, hidden_size=32, layers=1, length=64, batch=4, warm_up=5)
TEXT = as_tensor(b"the quick brown fox jumps over the lazy dog; " * 40)


def weights(recipe: Recipe, *, threads: int = 1) -> tuple[dict[str, Tensor], list[float]]:
    """Return the trained weights and the bits per byte of each step."""
    curve: list[float] = []
    model = train(recipe, TEXT, threads=threads, report=lambda _step, bits: curve.append(bits))
    return dict(model.state_dict()), curve


def test_loss_falls() -> None:
    """A repeated sentence is learned in a few steps, from about 8 bits per byte."""
    curve = weights(TINY)[1]

    assert len(curve) == TINY.steps
    assert 7 < curve[0] < 9
    assert curve[-1] < 0.6 * curve[0]


def test_same_seed_same_weights() -> None:
    """A seed decides every weight, to the last bit, on one thread or two."""
    recipe = replace(TINY, steps=4)
    first, again, other = (
        weights(recipe)[0],
        weights(recipe, threads=2)[0],
        weights(replace(recipe, seed=1))[0],
    )

    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not all(torch.equal(value, other[name]) for name, value in first.items())


def test_rates() -> None:
    """The rate rises to its peak over the warm-up and ends near its last value."""
    recipe = replace(TINY, steps=100, warm_up=10)
    rates = [recipe.rate_at(step) for step in range(100)]

    assert max(rates) == rates[9] == rates[10] == recipe.rate
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(recipe.last_rate, rel=0.1)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluate on next to nothing, and train on little."""
    monkeypatch.setattr(script, "CONTEXTS", {64: 2})
    monkeypatch.setattr(script, "training_bytes", lambda: bytes(TEXT.tolist()))


@pytest.mark.usefixtures("quick")
def test_writes_what_the_package_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The pair of files loads, names its inputs, and says which scan trained it."""
    script.run(replace(TINY, steps=3), tmp_path, threads=1)
    out = capsys.readouterr().out
    found = byte_mamba.description(tmp_path)
    content = (tmp_path / byte_mamba.CHECKPOINT).read_bytes()

    assert "scan: fast_mixer.cpp" in out
    assert "step 3/3:" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        byte_mamba.DESCRIPTION,
        byte_mamba.CHECKPOINT,
    ]
    assert found["recipe"]["seed"] == 0
    assert found["checkpoint"] == {
        "bytes": len(content),
        "sha256": sha256(content).hexdigest(),
    }
    assert byte_mamba.packaged_state(tmp_path)


@pytest.mark.usefixtures("quick")
def test_interruption_leaves_the_old_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the checkpoint is being written leaves what was there, and no other file."""
    script.run(replace(TINY, steps=1), tmp_path, threads=1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def interrupted(_self: Path, _target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        script.run(replace(TINY, steps=1, seed=1), tmp_path, threads=1)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_arguments(tmp_path: Path) -> None:
    """Only the few knobs there are; a number of steps below 1 is refused."""
    options = script.parser().parse_args(["--steps", "7", "--out", str(tmp_path)])

    assert (options.steps, options.seed, options.out) == (7, 0, tmp_path)
    with pytest.raises(SystemExit):
        script.parser().parse_args(["--steps", "0"])


def test_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What a user can put right ends in a sentence, not in a traceback."""

    def refuse(*_arguments: object, **_named: object) -> None:
        raise EfficarchError("the standard library has no json")

    monkeypatch.setattr(script, "run", refuse)

    assert script.main(["--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "error: the standard library has no json\n"


def test_bigram_bits() -> None:
    """A text whose next byte is always known costs almost nothing, another one much."""
    known = b"ab" * 5000

    assert bigram_bits(known, known) < 0.01
    assert bigram_bits(known, b"xy" * 50) == pytest.approx(8, abs=0.1)


def test_gzip_bits() -> None:
    """Repetition is found; what cannot be compressed costs its eight bits and the header."""
    noise = bytes(torch.randint(0, 256, (10_000,)).tolist())

    assert gzip_bits(b"ab" * 5000) < 0.1
    assert 8 < gzip_bits(noise) < 8.1


def test_description_is_json(tmp_path: Path) -> None:
    """The packaged description holds what reports need."""
    text = (byte_mamba.DATA / byte_mamba.DESCRIPTION).read_text(encoding="utf-8")

    assert {"config", "recipe", "python", "training_text", "held_out_text"} <= set(json.loads(text))
