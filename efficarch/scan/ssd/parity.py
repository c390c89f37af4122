"""Cases on which an SSD backend is held to the float64 oracle before it is timed."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from efficarch.scan import parity
from efficarch.scan.base import HALF, ScanOutput
from efficarch.scan.ssd import naive
from efficarch.scan.ssd.backends import SsdBackend
from efficarch.scan.ssd.base import SsdInputs

# B batch, L length, H heads, P channels of a head, N state size, G groups of heads


@dataclass(frozen=True)
class Case:
    """One drawing of inputs, distributed as in mamba-ssm's test of its selective scan.

    With ``strided``, heads come before the length in memory.
    """

    length: int
    groups: int = 1
    batch: int = 2
    heads: int = 4
    head_dim: int = 4
    state: int = 8
    skip: bool = True
    gate: bool = True
    bias: bool = True
    softplus: bool = True
    strided: bool = False
    seed: int = 0

    def inputs(self) -> SsdInputs:
        """Draw float32 inputs on the CPU: dt = bias = 0.5 U, x, B, C, D and z normal.

        A = -0.05 - 0.45 U: a head has one decay for all its states, and one that hardly decays
        would sum up a thousand steps, beyond what an absolute tolerance is for.
        """
        rng = torch.Generator().manual_seed(self.seed)
        per_step = (self.batch, self.length, self.heads)
        projected = (self.batch, self.length, self.groups, self.state)
        drawn = SsdInputs(
            x=torch.randn(*per_step, self.head_dim, generator=rng),
            dt=0.5 * torch.rand(per_step, generator=rng),
            A=-0.05 - 0.45 * torch.rand(self.heads, generator=rng),
            B=torch.randn(projected, generator=rng),
            C=torch.randn(projected, generator=rng),
            D=torch.randn(self.heads, generator=rng) if self.skip else None,
            z=torch.randn(*per_step, self.head_dim, generator=rng) if self.gate else None,
            dt_bias=0.5 * torch.rand(self.heads, generator=rng) if self.bias else None,
            dt_softplus=self.softplus,
        )
        return _heads_first(drawn) if self.strided else drawn


PREFLIGHT = (
    Case(1),
    Case(7, groups=2, gate=False),
    Case(63, skip=False, bias=False, softplus=False),
    Case(130, groups=3, heads=6, head_dim=5, state=5, softplus=False),
    # a chunk of mamba-ssm and a half, in the sizes that Triton's products ask for
    Case(372, groups=2, head_dim=16, state=16, strided=True),
    Case(1134, bias=False, head_dim=64, state=32),
)
"""The few cases that a backend has to pass in every session before it is timed."""

ROUNDED = (5e-3, 5e-2)
"""For half inputs, how large a difference may be: its root mean square beside the oracle's, as in
the tests of fla-core, and each element beside the oracle's plus that root mean square. Products of
half tensors take scores, weighted inputs and states rounded to half, so an output that cancels to
nearly nothing keeps the rounding of its terms, which no tolerance per element describes."""


def outside(name: str, actual: ScanOutput, expected: Tensor, dtype: torch.dtype) -> str | None:
    """Say what is outside the tolerances: per element, of half inputs ``ROUNDED``; or nothing."""
    if dtype not in HALF:
        return parity.outside(name, actual, expected, dtype)
    if not isinstance(actual, Tensor) or actual.shape != expected.shape:
        return parity.misshapen(name, actual, expected)
    error, usual = actual.double() - expected, _rms(expected)
    found = float(_rms(error) / usual), float((error.abs() / (usual + expected.abs())).max())
    # written so that NaN is outside
    if found[0] <= ROUNDED[0] and found[1] <= ROUNDED[1]:
        return None
    return (
        f"its {name} differs from the oracle's by {found[0]:.2g} of its root mean square, an "
        f"element by up to {found[1]:.2g}"
    )


def _rms(x: Tensor) -> Tensor:
    return x.square().mean().sqrt()


STANDARD = parity.Standard(
    naive.scan, tuple(case.inputs for case in PREFLIGHT), outside, rounds_state=True
)


def require(backend: SsdBackend, device: str, dtype: torch.dtype) -> None:
    """Refuse to time an SSD backend that is wrong; the cases run once per session.

    Raises:
        EfficarchError: an output or a last state is outside the tolerances.
    """
    STANDARD.require(backend, device, dtype)


def _heads_first(inputs: SsdInputs) -> SsdInputs:
    """Lay the axis after the length out before it, [B, L, X, ..] in the memory of [B, X, L, ..]."""
    changed = {
        name: tensor.transpose(1, 2).contiguous().transpose(1, 2)
        for name in ("x", "dt", "B", "C", "z")
        if (tensor := getattr(inputs, name)) is not None
    }
    return replace(inputs, **changed)
