"""Scan inputs whose redundancy is known: what a multi-resolution scan may use, or must fail on.

A hidden signal x [B, F, L] drives everything as in a Mamba layer (arXiv 2312.00752, section 3.4):
u, B, C are linear projections of it and delta is a softplus of one, with the biases of a freshly
initialised layer and the rates of a trained one. The signal's lag-1 autocorrelation, or its steps,
are the redundancy; the projections pass it on to all four.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from efficarch.errors import UnknownNameError
from efficarch.scan.base import STEP_RANGE, ScanInputs

# B batch, D channels, N state size, L length, F features

FEATURES = 32
"""Width of the hidden signal."""

RHOS = (0.0, 0.5, 0.9, 0.97, 0.99)
"""Lag-1 autocorrelations of the AR(1) signals, from none to nearly constant."""

PIECE = 32
"""Mean tokens between two jumps of the piecewise constant signal."""

RATE_SPREAD = 0.14
"""Standard deviation of the logarithm of a rate over 1, 2, 3, ... times its channel's: that of the
packaged trained model. A fresh layer has none, which no rounding of rates would be tested by."""

STEP_SPREAD = 0.3
"""Standard deviation over time of a channel's step before its softplus: about a third of a step."""


@dataclass(frozen=True)
class Size:
    """Sizes of the inputs to draw."""

    batch: int
    channels: int
    state: int
    length: int


@dataclass(frozen=True)
class Signal:
    """A kind of hidden signal; ``draw`` returns x [B, F, L], features of about unit variance."""

    name: str
    draw: Callable[[int, int, torch.Generator], Tensor]
    summary: str


def ar1(rho: float, batch: int, length: int, rng: torch.Generator) -> Tensor:
    """Return stationary AR(1) features ``x[t] = rho x[t-1] + sqrt(1 - rho^2) noise``."""
    noise = torch.randn(length, batch, FEATURES, generator=rng)
    noise[1:] *= math.sqrt(1 - rho**2)
    values = [noise[0]]
    for each in noise[1:]:
        values.append(rho * values[-1] + each)
    return torch.stack(values, dim=-1)  # [B, F, L]


def piecewise(batch: int, length: int, rng: torch.Generator) -> Tensor:
    """Return features that jump to new values at random places and rest in between."""
    jumps = torch.rand(batch, length, generator=rng) < 1 / PIECE
    piece = jumps.cumsum(-1)  # [B, L]
    levels = torch.randn(batch, FEATURES, length + 1, generator=rng)
    return levels.gather(-1, piece[:, None].expand(-1, FEATURES, -1))


def needle(batch: int, length: int, rng: torch.Generator) -> Tensor:
    """Return a slow background with one token in the first half that is unlike all others."""
    x = ar1(0.99, batch, length, rng)
    place = torch.randint(max(length // 2, 1), (batch,), generator=rng)
    x[torch.arange(batch), :, place] = 3 * torch.randn(batch, FEATURES, generator=rng)
    return x


_ROWS = (
    *(Signal(f"ar1-{rho}", partial(ar1, rho), f"AR(1), rho {rho}") for rho in RHOS),
    Signal("piecewise", piecewise, f"constant pieces of {PIECE} tokens on average"),
    Signal("needle", needle, "AR(1), rho 0.99, and one token unlike all others"),
)

SIGNALS: Mapping[str, Signal] = {row.name: row for row in _ROWS}


def signal_inputs(name: str, size: Size, *, seed: int) -> ScanInputs:
    """Return seeded float32 inputs on the CPU that a signal drives, with skip term and gate.

    Raises:
        UnknownNameError: no signal has this name.
    """
    if name not in SIGNALS:
        raise UnknownNameError.of("signal", name, list(SIGNALS))
    rng = torch.Generator().manual_seed(seed)
    x = SIGNALS[name].draw(size.batch, size.length, rng)  # [B, F, L]

    def projected(width: int) -> Tensor:
        return torch.randn(width, FEATURES, generator=rng) / math.sqrt(FEATURES) @ x

    low, high = (math.log(step) for step in STEP_RANGE)
    steps = torch.exp(low + (high - low) * torch.rand(size.channels, generator=rng))  # [D]
    fresh = ScanInputs(
        u=F.silu(projected(size.channels)),
        delta=STEP_SPREAD * projected(size.channels),
        A=-torch.arange(1.0, size.state + 1).repeat(size.channels, 1),
        B=projected(size.state),
        C=projected(size.state),
        D=torch.ones(size.channels),
        z=projected(size.channels),
        # the inverse of softplus: log(exp(x) - 1), written so that small x keep their digits
        delta_bias=steps + torch.log(-torch.expm1(-steps)),
        delta_softplus=True,
    )
    trained = torch.exp(RATE_SPREAD * torch.randn(fresh.A.shape, generator=rng))
    return replace(fresh, A=fresh.A * trained)
