"""What a compressor and the simplest model of bytes need for a text, in bits per byte."""

import gzip

import torch
from torch import Tensor

from efficarch.models.byte_text import as_tensor

SMOOTHING = 0.1
"""Added to every count of the bigram model; 1 and 0.01 give a held-out text more bits."""


def gzip_bits(text: bytes) -> float:
    """Return the bits per byte of ``gzip -9``, which learns from the text as it goes."""
    return 8 * len(gzip.compress(text, compresslevel=9, mtime=0)) / len(text)


def bigram_bits(training: bytes, text: bytes) -> float:
    """Return the bits per byte of the frequencies of byte pairs in a training text."""
    counts = _pairs(training) + SMOOTHING  # [256, 256]
    probability = counts / counts.sum(dim=1, keepdim=True)  # [256, 256]
    return float(-(_pairs(text) * probability.log2()).sum() / (len(text) - 1))


def _pairs(text: bytes) -> Tensor:  # [256, 256]
    ids = as_tensor(text)
    pairs = 256 * ids[:-1] + ids[1:]
    return torch.bincount(pairs, minlength=256 * 256).view(256, 256).double()
