"""Cases on which a selective-scan backend is held to the float64 oracle before it is timed."""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from efficarch.errors import EfficarchError
from efficarch.scan import naive
from efficarch.scan.backends import Backend
from efficarch.scan.base import ScanInputs

# B batch, D channels, N state size, L length, G groups of channels that share B and C

TOLERANCES = {
    torch.float64: (0.0, 1e-9),
    torch.float32: (0.0, 1e-4),
    torch.float16: (3e-3, 5e-3),
    torch.bfloat16: (3e-2, 5e-2),
}
"""Per dtype, the relative and absolute tolerance against the oracle; of the half dtypes those of
mamba-ssm's own test (``tests/ops/test_selective_scan.py``), of the wide ones our tighter ones."""


@dataclass(frozen=True)
class Case:
    """One drawing of inputs with the sizes and distributions of mamba-ssm's own test."""

    length: int
    groups: int = 1
    batch: int = 2
    channels: int = 4
    state: int = 8
    skip: bool = True
    gate: bool = True
    softplus: bool = True
    seed: int = 0

    def inputs(self) -> ScanInputs:
        """Draw float32 inputs on the CPU: A = -0.5 U, delta = bias = 0.5 U, the rest normal."""
        rng = torch.Generator().manual_seed(self.seed)
        per_step = (self.batch, self.channels, self.length)
        projected = (self.batch, self.groups, self.state, self.length)
        return ScanInputs(
            u=torch.randn(per_step, generator=rng),
            delta=0.5 * torch.rand(per_step, generator=rng),
            A=-0.5 * torch.rand(self.channels, self.state, generator=rng),
            B=torch.randn(projected, generator=rng),
            C=torch.randn(projected, generator=rng),
            D=torch.randn(self.channels, generator=rng) if self.skip else None,
            z=torch.randn(per_step, generator=rng) if self.gate else None,
            delta_bias=0.5 * torch.rand(self.channels, generator=rng) if self.softplus else None,
            delta_softplus=self.softplus,
        )


PREFLIGHT = (
    Case(1),
    Case(7, groups=2, gate=False),
    Case(63, skip=False, softplus=False),
    Case(372, groups=2, state=16),
)
"""The few cases that a backend has to pass in every session before it is timed."""


def require(backend: Backend, device: str, dtype: torch.dtype) -> None:
    """Refuse to time a backend that is wrong; the cases run once per session.

    Raises:
        EfficarchError: an output or a last state is outside ``TOLERANCES``.
    """
    wrong = _failures(backend, torch.device(device).type, dtype)
    if wrong:
        raise EfficarchError(
            f"backend {backend.name!r} is wrong on {device} in {dtype}, so it is not timed: "
            f"{wrong[0]}"
        )


def difference(backend: Backend, inputs: ScanInputs) -> str | None:
    """Say what differs from the oracle by more than ``TOLERANCES``, or nothing."""
    with torch.no_grad():
        actual = backend.run(inputs, return_last_state=True)
        expected = naive.scan(inputs.double(), return_last_state=True)
    for name, got, oracle in zip(("output", "last state"), actual, expected, strict=True):
        dtype = inputs.u.dtype if name == "output" else inputs.working_dtype
        problem = _outside(name, got, oracle, dtype)
        if problem is not None:
            return problem
    return None


@cache
def _failures(backend: Backend, device: str, dtype: torch.dtype) -> tuple[str, ...]:
    problems = ((case, difference(backend, case.inputs().to(dtype, device))) for case in PREFLIGHT)
    return tuple(f"{problem} in {case}" for case, problem in problems if problem is not None)


def _outside(name: str, actual: Tensor, expected: Tensor, dtype: torch.dtype) -> str | None:
    if actual.shape != expected.shape:
        return f"its {name} has shape {tuple(actual.shape)} and not {tuple(expected.shape)}"
    rtol, atol = TOLERANCES[dtype]
    error = (actual.double() - expected).abs()
    # written so that NaN is outside
    if bool((error <= atol + rtol * expected.abs()).all()):
        return None
    return f"its {name} differs from the oracle's by up to {float(error.max()):.2g}"
