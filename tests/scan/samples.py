"""Random scan inputs for the tests; no timing and no trained weights are behind them."""

import torch
from torch import Tensor

from efficarch.scan import ScanInputs


def random_inputs(
    length: int, *, groups: int = 1, batch: int = 2, seed: int = 0, grouped: bool = True
) -> ScanInputs:
    """Return float32 inputs with everything on: skip, gate, bias and softplus.

    The sizes and distributions are those of mamba-ssm's own test of its kernel: 4 channels,
    8 states, A = -0.5 U, delta = bias = 0.5 U, the rest standard normal.
    """
    rng = torch.Generator().manual_seed(seed)
    channels, state = 4, 8

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng)

    def half_uniform(*shape: int) -> Tensor:
        return 0.5 * torch.rand(shape, generator=rng)

    projected = (batch, groups, state, length) if grouped else (batch, state, length)
    return ScanInputs(
        u=normal(batch, channels, length),
        delta=half_uniform(batch, channels, length),
        A=-half_uniform(channels, state),
        B=normal(*projected),
        C=normal(*projected),
        D=normal(channels),
        z=normal(batch, channels, length),
        delta_bias=half_uniform(channels),
        delta_softplus=True,
    )


def bare_inputs(length: int, *, batch: int = 2, seed: int = 0) -> ScanInputs:
    """Return float64 inputs of the recurrence alone: ready-made steps, no skip and no gate."""
    full = random_inputs(length, batch=batch, seed=seed).double()
    return ScanInputs(full.u, full.delta, full.A, full.B, full.C)


def largest_error(actual: Tensor, expected: Tensor) -> float:
    """Return the largest absolute difference, compared in float64."""
    return float((actual.double() - expected.double()).abs().max())
