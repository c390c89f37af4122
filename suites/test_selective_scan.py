"""The selective scan against causal attention at the same width, over sequence lengths."""

import pytest

from efficarch.fixture import Bench
from efficarch.scan import BACKENDS, Backend, synthetic_inputs

CHANNELS = 256
STATE = 16


@pytest.mark.parametrize("length", [512, 1024, 2048, 4096], ids="L{}".format)
@pytest.mark.parametrize("backend", BACKENDS.values(), ids=lambda backend: backend.name)
def test_selective_scan(bench: Bench, backend: Backend, length: int) -> None:
    """The scan gives the float64 oracle's output and keeps its place against attention."""
    inputs = synthetic_inputs(
        batch=1,
        channels=CHANNELS,
        state=STATE,
        length=length,
        seed=0,
        device=bench.device,
        dtype=bench.dtype,
    )
    result = bench.scan(backend=backend, inputs=inputs)

    assert result.latency <= result.budget.latency
    assert result.cossim >= result.budget.cossim
