"""The selective scan against causal attention at the same width, over sequence lengths."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest

from efficarch.fixture import Bench
from efficarch.scan import BACKENDS, Backend, ScanInputs, synthetic_inputs

CHANNELS = 256
STATE = 16
LENGTHS = (512, 1024, 2048, 4096)

ORACLE = "naive"
"""One step at a time: timed at the shortest length only."""


def _inputs(bench: Bench, channels: int) -> Callable[[int], ScanInputs]:
    """Return the inputs of a length."""
    return lambda length: synthetic_inputs(
        batch=1,
        channels=channels,
        state=STATE,
        length=length,
        seed=0,
        device=bench.device,
        dtype=bench.dtype,
    )


def _marks(backend: Backend) -> list[pytest.MarkDecorator]:
    return [] if "cpu" in backend.devices else [pytest.mark.cuda]


CASES = [
    pytest.param(backend, length, id=f"{backend.name}-L{length}", marks=_marks(backend))
    for backend in BACKENDS.values()
    for length in (LENGTHS[:1] if backend.name == ORACLE else LENGTHS)
]


@pytest.mark.parametrize(("backend", "length"), CASES)
def test_selective_scan(bench: Bench, backend: Backend, length: int) -> None:
    """The scan gives the float64 oracle's output and keeps its place against attention."""
    result = bench.scan(backend=backend, inputs=_inputs(bench, CHANNELS)(length))

    assert result.latency <= result.budget.latency
    assert result.cossim >= result.budget.cossim


@dataclass(frozen=True)
class Swept:
    """The lengths of a scan and of attention, and where the slope of each is fitted from.

    From there on the fixed cost of a call is a few per cent of the scan's time at most, and a ninth
    of attention's grows linearly: torch's CPU kernel computes whole blocks of 512 keys, which makes
    it N^2 + 512 N in place of N^2. The inputs, some MB, have left the cache of a core by then, so
    that no step between caches bends the line. Shorter lengths show where the two cross.
    """

    scan: tuple[int, ...]
    attention: tuple[int, ...]
    fitted_from: tuple[int, int]


SHORT = (64, 128, 256, 512, 2048)
QUADRATIC = (4096, 5120, 6144, 8192, 10240, 12288)
LINEAR = (4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152)
OCTAVES = tuple(8192 * 2**octave for octave in range(7))

ON_CPU: Mapping[str, Swept] = {
    "cpp": Swept((*SHORT, *LINEAR), (*SHORT, *QUADRATIC), (LINEAR[0], QUADRATIC[0])),
    "chunked": Swept(
        (1024, 2048, *LINEAR[:6]), (1024, 2048, *QUADRATIC[:5]), (LINEAR[0], QUADRATIC[0])
    ),
}
ON_CUDA = Swept(OCTAVES, OCTAVES[:5], (OCTAVES[0], OCTAVES[0]))

HEADS_OF_64 = 2
"""One for each thread of the CPU profile: a single head would leave attention unbalanced there."""

SCALED = [
    pytest.param(backend, id=backend.name, marks=_marks(backend))
    for backend in BACKENDS.values()
    if backend.name != ORACLE
]


@pytest.mark.parametrize("scaling", ["scan"])
@pytest.mark.parametrize("backend", SCALED)
def test_scaling(bench: Bench, backend: Backend, scaling: str) -> None:
    """The scan grows linearly with length, attention quadratically."""
    assert scaling == "scan"
    swept = ON_CUDA if bench.device == "cuda" else ON_CPU[backend.name]
    result = bench.scan_scaling(
        backend=backend,
        inputs=_inputs(bench, 64 * HEADS_OF_64),
        lengths=swept.scan,
        reference_lengths=swept.attention,
        fitted_from=swept.fitted_from,
    )

    assert result.latency <= result.budget.latency
    assert result.cossim >= result.budget.cossim
    assert result.slopes in result.budget.slopes
