"""The multi-resolution selective scan against the plain one: on signals, and in a trained model.

How much can be saved is a property of the data, so signals with and without redundancy are both
here, those it must fail on included. In the trained model what counts is bits per byte of text that
nobody trained on.
"""

from itertools import product

import pytest
from torch import Tensor

from efficarch.fixture import Bench
from efficarch.models.byte_text import held_out_segments
from efficarch.scan.mrss import PLANNERS
from efficarch.scan.signals import SIGNALS, Size, signal_inputs

BEST = "gated-step"
CHANNELS = 768
STATE = 16
SEGMENTS = 8
SEGMENT_BYTES = 1152

SIGNAL_CASES = [
    ("none", 0.0, "readout", "ar1-0.99"),
    *((BEST, 0.5, "readout", signal) for signal in SIGNALS),
    ("random", 0.5, "readout", "ar1-0.99"),
    *product(("stride",), (0.875,), ("readout",), ("ar1-0.99", "piecewise")),
    # without a kernel of its own; on signals of no redundancy it has to fail
    *product(("input-change",), (0.35,), ("hold+local",), ("ar1-0.99", "ar1-0.0")),
]
MODEL_CASES = [
    ("none", 0.0, "readout"),
    *product(("random", BEST), (0.35, 0.5), ("readout",)),
    ("step-size", 0.5, "readout"),
    (BEST, 0.75, "readout"),
    ("input-change", 0.35, "hold+local"),
]


@pytest.mark.parametrize("length", [4096])
@pytest.mark.parametrize(("planner", "saving", "emission", "signal"), SIGNAL_CASES)
def test_signal(
    bench: Bench, planner: str, saving: float, emission: str, signal: str, length: int
) -> None:
    """The SSM term stays close where the signal is redundant, and time is saved."""
    inputs = signal_inputs(signal, Size(1, CHANNELS, STATE, length), seed=0)
    result = bench.mrss(
        planner=PLANNERS[planner].build(saving),
        inputs=inputs.to(bench.dtype, bench.device),
        signal=signal,
        emission=emission,
    )

    assert result.latency <= result.budget.latency
    assert result.cossim >= result.budget.cossim
    assert result.cossim_p5 >= result.budget.cossim_p5


@pytest.fixture(scope="module")
def held_out() -> Tensor:
    """Segments of held-out text, [8, 1152] bytes."""
    return held_out_segments(SEGMENT_BYTES, SEGMENTS)


@pytest.mark.parametrize("model", ["mamba-byte"])
@pytest.mark.parametrize(("planner", "saving", "emission"), MODEL_CASES)
def test_model(
    bench: Bench, held_out: Tensor, model: str, planner: str, saving: float, emission: str
) -> None:
    """A trained model that defers updates in every layer reads held-out text as well."""
    result = bench.mrss_model(
        model=model,
        planner=PLANNERS[planner].build(saving),
        segments=held_out,
        emission=emission,
    )

    assert result.latency <= result.budget.latency
    assert result.cossim >= result.budget.cossim
    assert result.bits_lost <= result.budget.bits_lost
