"""Mamba-2's scan (state space duality, SSD) against causal attention of as many, as wide heads."""

import pytest

from efficarch.fixture import Bench
from efficarch.scan.ssd import SSD_BACKENDS, SsdBackend, synthetic_inputs

LENGTHS = (512, 2048)
ORACLE = "naive"
"""One step at a time: timed at the shortest length only."""

CASES = [
    pytest.param(
        backend,
        length,
        id=f"{backend.name}-L{length}",
        marks=[] if "cpu" in backend.devices else [pytest.mark.cuda],
    )
    for backend in SSD_BACKENDS.values()
    for length in (LENGTHS[:1] if backend.name == ORACLE else LENGTHS)
]


@pytest.mark.parametrize(("backend", "length"), CASES)
def test_ssd(bench: Bench, backend: SsdBackend, length: int) -> None:
    """The scan gives the float64 oracle's output and keeps its place against attention."""
    inputs = synthetic_inputs(
        batch=1,
        heads=8,
        head_dim=64,
        state=64,
        length=length,
        seed=0,
        device=bench.device,
        dtype=bench.dtype,
    )
    result = bench.ssd(backend=backend, inputs=inputs)

    assert result.latency <= result.budget.latency
    assert result.cossim >= result.budget.cossim
