"""The packaged byte-level Mamba: it loads, it is what its description says, and it has learned."""

import json
from pathlib import Path

import pytest
import torch

from efficarch.errors import MissingWeightsError
from efficarch.models import MODELS, byte_mamba
from efficarch.models.base import SequenceSubject, WeightsRequest
from efficarch.models.byte_text import HELD_OUT, bits_per_byte, digest, held_out_segments
from efficarch.record import Weights

PRETRAINED = WeightsRequest(Weights.PRETRAINED, None, 0)
LENGTH, COUNT = 256, 128


@pytest.fixture(scope="module")
def packaged() -> SequenceSubject:
    """The model with its packaged weights."""
    return byte_mamba.load(PRETRAINED)


@pytest.fixture(scope="module")
def bits(packaged: SequenceSubject) -> float:
    """Its bits per byte on held-out text, as the description counts them at short context."""
    return float(bits_per_byte(packaged.model, held_out_segments(LENGTH, COUNT)).mean())


def test_packaged_weights(packaged: SequenceSubject) -> None:
    """The model is whole, in evaluation mode, float32, and small enough for a repository."""
    parameters = sum(parameter.numel() for parameter in packaged.model.parameters())

    assert packaged.source == "packaged byte_mamba.safetensors"
    assert packaged.weights is Weights.PRETRAINED
    assert not packaged.model.training
    assert {parameter.dtype for parameter in packaged.model.parameters()} == {torch.float32}
    assert parameters == byte_mamba.description()["parameters"]
    assert (byte_mamba.DATA / byte_mamba.CHECKPOINT).stat().st_size <= 8_000_000


def test_bits_are_the_described_ones(bits: float) -> None:
    """On the text it was evaluated on to rounding; on another Python's nearly so."""
    described = byte_mamba.description()
    same = digest(HELD_OUT).sha256 == described["held_out_text"]["sha256"]
    key = f"{COUNT} segments of {LENGTH} bytes"

    wanted = described["held_out_bits_per_byte"][key]
    assert bits == pytest.approx(wanted, rel=0.001 if same else 0.1)


def test_better_than_gzip_and_bigrams() -> None:
    """It knows the text: with as little as 1152 bytes before it, better than both baselines."""
    described = byte_mamba.description()["held_out_bits_per_byte"]

    assert described["64 segments of 1152 bytes"] < 0.9 * described["gzip -9"]
    assert described["64 segments of 1152 bytes"] < 0.6 * described["bigram model"]


def test_random_weights_are_seeded_and_worse(bits: float) -> None:
    """Random weights are told apart by their seed and by what they know."""
    first, again, other = (
        byte_mamba.load(WeightsRequest(Weights.RANDOM, None, seed)) for seed in (1, 1, 2)
    )
    ids = held_out_segments(64, 2)
    found = [bits_per_byte(subject.model, ids) for subject in (first, again, other)]

    assert first.source == "random weights, seed 1"
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert float(found[0].mean()) > 2 * bits


def test_row() -> None:
    """The table loads it, and says that its weights come with the package."""
    row = MODELS["mamba-byte"]

    assert row.option is None
    assert row.without_option == "packaged"
    assert isinstance(row.load(WeightsRequest(Weights.RANDOM, None, 0)), SequenceSubject)


def test_missing_description(tmp_path: Path) -> None:
    """The sentence names the file and the way to get it back."""
    with pytest.raises(MissingWeightsError, match=r"byte_mamba\.json; reinstall efficarch"):
        byte_mamba.packaged_state(tmp_path)


@pytest.mark.parametrize("content", [None, b"half a file"])
def test_checkpoint_of_another_description(tmp_path: Path, content: bytes | None) -> None:
    """A checkpoint that is missing, cut short or another one's is refused."""
    text = json.dumps({"checkpoint": {"sha256": "0" * 64}})
    (tmp_path / byte_mamba.DESCRIPTION).write_text(text, encoding="utf-8")
    if content is not None:
        (tmp_path / byte_mamba.CHECKPOINT).write_bytes(content)
    with pytest.raises(MissingWeightsError, match="not the checkpoint that byte_mamba"):
        byte_mamba.packaged_state(tmp_path)
