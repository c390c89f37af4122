"""Mamba and Mamba-2 language models against a Transformer of matched size, over sequence length.

The reduced models have the width of the 130 M ones, two layers and random weights: they stand for
latency, memory and FLOPs alone. The 130 M models are measured on CUDA only: on a CPU, one of their
sequences takes minutes.
"""

from itertools import product

import pytest

from efficarch.contests.language import Stage
from efficarch.fixture import Bench

OWN = "transformers"
"""The model's own code for scans, and the only one for steps."""

LONG = tuple(2048 * 2**octave for octave in range(6))

PREFILLS = [
    *product(["mamba-reduced"], ["auto"], [512, 1024, 4096]),
    ("mamba-reduced", "chunked", 512),
    ("mamba-reduced", OWN, 256),
    *product(["mamba2-reduced"], ["auto", OWN], [512]),
    ("mamba-byte", "auto", 1024),
]
DECODES = [
    *product(["mamba-reduced", "mamba2-reduced"], [OWN], [512, 4096]),
    ("mamba-byte", OWN, 512),
]
CUDA = [
    *product(["mamba-130m", "mamba2-130m"], ["auto"], LONG, ["prefill"]),
    *product(["mamba-130m", "mamba2-130m"], [OWN], (LONG[0], LONG[-1]), ["decode"]),
]
CASES = [
    *((*case, "prefill") for case in PREFILLS),
    *((*case, "decode") for case in DECODES),
    *(pytest.param(*case, marks=pytest.mark.cuda) for case in CUDA),
]


@pytest.mark.parametrize(("model", "backend", "length", "stage"), CASES)
def test_mamba(bench: Bench, model: str, backend: str, length: int, stage: Stage) -> None:
    """The hidden states are those of the exact scan, at the promised cost."""
    result = bench.sequence(model=model, backend=backend, length=length, stage=stage)

    assert result.latency <= result.budget.latency
    assert result.cossim >= result.budget.cossim


LAYERS = [
    pytest.param("mamba-reduced", "auto", id="mamba-reduced-auto"),
]
LENGTHS = {
    "cpu": (512, 768, 1024, 1536, 2048),
    "cuda": (4096, 8192, 16384, 32768, 65536, 131072),
}
"""Shorter ones are left out of a slope: one token alone reads all weights of a layer."""


@pytest.mark.parametrize("scaling", ["layer"])
@pytest.mark.parametrize(("model", "backend"), LAYERS)
def test_scaling(bench: Bench, model: str, backend: str, scaling: str) -> None:
    """A whole layer grows linearly, projections included; one with attention ends up faster."""
    assert scaling == "layer"
    lengths = LENGTHS[bench.device]
    result = bench.layer_scaling(
        model=model, backend=backend, lengths=lengths, reference_lengths=lengths
    )

    assert result.latency <= result.budget.latency
    assert result.cossim >= result.budget.cossim
    assert result.slopes in result.budget.slopes
