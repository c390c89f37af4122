"""The text of the byte-level model: what is in it, what is held out, and its bits per byte."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from efficarch.errors import EfficarchError
from efficarch.models import byte_text
from efficarch.models.byte_text import (
    HELD_OUT,
    bits_per_byte,
    digest,
    held_out_bytes,
    held_out_segments,
    training_bytes,
    training_files,
)


class Constant(nn.Module):
    """Gives every next byte the same logits."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, input_ids: Tensor, use_cache: bool) -> SimpleNamespace:
        """Return the logits for each position, [1, length, 256]."""
        assert not use_cache
        return SimpleNamespace(logits=self.logits.expand(*input_ids.shape, 256))


def test_no_held_out_file_is_trained_on() -> None:
    """The split is by file: neither a name nor the text of one is on both sides."""
    assert set(training_files()).isdisjoint(HELD_OUT)
    root = byte_text._root()
    text = training_bytes()
    assert [name for name in HELD_OUT if (root / name).read_bytes() in text] == []


def test_held_out_files_are_of_the_same_text() -> None:
    """Every held-out file lies in a package that is read, and none is there twice."""
    assert len(set(HELD_OUT)) == len(HELD_OUT)
    assert set(HELD_OUT) <= set(byte_text._files())
    assert sorted(HELD_OUT) == list(HELD_OUT)


def test_order_and_sizes() -> None:
    """Files come in the order of their names, whole; prose and code, but no tests."""
    files = training_files()

    assert list(files) == sorted(files)
    assert {"pydoc_data/topics.py", "argparse.py", "json/decoder.py"} <= set(files)
    assert not [name for name in files if "/test/" in name or "/tests/" in name]
    assert len(training_bytes()) == digest(files).bytes > 10 * len(held_out_bytes())


def test_digest_tells_texts_apart() -> None:
    """Reports can state which text they saw."""
    assert digest(HELD_OUT).files == len(HELD_OUT)
    assert digest(HELD_OUT) == digest(list(HELD_OUT))
    assert digest(HELD_OUT).sha256 != digest(HELD_OUT[1:]).sha256


def test_segments() -> None:
    """Segments are the held-out bytes themselves, from its first to its last."""
    segments = held_out_segments(1000, 7)
    text = held_out_bytes()

    assert segments.shape == (7, 1000)
    assert segments.dtype == torch.int64
    assert bytes(segments[0].tolist()) == text[:1000]
    assert bytes(segments[6].tolist()) == text[-1000:]
    assert all(bytes(segment.tolist()) in text for segment in segments)
    assert torch.equal(segments, held_out_segments(1000, 7))


@pytest.mark.parametrize(("length", "count"), [(0, 1), (10, 0), (10**8, 1)])
def test_segments_that_cannot_be(length: int, count: int) -> None:
    """The sentence holds what was asked for."""
    with pytest.raises(EfficarchError, match=f"cut {count} segments of {length} bytes"):
        held_out_segments(length, count)


def test_lacking_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library without its sources is named, not trained on in part."""
    monkeypatch.setattr(byte_text, "PACKAGES", ("json", "no_such_package"))
    byte_text._files.cache_clear()
    with pytest.raises(EfficarchError, match="has no no_such_package"):
        training_files()


def test_lacking_file() -> None:
    """A held-out file that is gone is named."""
    with pytest.raises(EfficarchError, match=r"no_such_file\.py of the standard library"):
        digest(["no_such_file.py"])


def test_bits_of_known_distributions() -> None:
    """Equal chances cost 8 bits; half the mass on one byte, and that byte throughout, 1 bit."""
    segments = torch.full((3, 50), 65)
    logits = torch.zeros(256)
    even = bits_per_byte(Constant(logits), segments)
    logits = torch.full((256,), math.log(0.5 / 255))
    logits[65] = math.log(0.5)
    half = bits_per_byte(Constant(logits), segments)

    torch.testing.assert_close(even, torch.full((3,), 8.0, dtype=torch.float64))
    torch.testing.assert_close(half, torch.ones(3, dtype=torch.float64), atol=1e-6, rtol=0)


def test_first_byte_is_not_counted() -> None:
    """Nothing stands before it, so no model could know it."""
    logits = torch.zeros(256)
    logits[65] = 100.0
    segment = torch.tensor([[0, 65, 65, 65]])

    assert bits_per_byte(Constant(logits), segment).item() < 1e-9


def test_nothing_to_predict() -> None:
    """One byte has no next one."""
    with pytest.raises(EfficarchError, match="segments of 1 bytes"):
        bits_per_byte(Constant(torch.zeros(256)), torch.zeros(2, 1, dtype=torch.int64))
