"""The scan against code of other authors: transformers' torch path, its own step, and mambapy."""

import inspect

import pytest
import torch
from mambapy.pscan import pscan
from torch import Tensor
from transformers.models.mamba import modeling_mamba

from efficarch.scan import Backend, ScanInputs
from efficarch.scan.base import skip_and_gate, step_sizes
from efficarch.scan.parity import Case
from tests.scan.on_backends import device_of, on_every_backend

# B batch, D channels, N state size, L length

# unwrapped: the code in torch, also where a package is there whose kernel would be called instead
TRANSFORMERS_SCAN = inspect.unwrap(modeling_mamba.mamba_selective_scan)
TRANSFORMERS_STEP = inspect.unwrap(modeling_mamba.mamba_selective_state_update)

LENGTHS = pytest.mark.parametrize("length", [1, 7, 63, 128, 372, 1134], ids="L={}".format)


def drawn(row: Backend, length: int) -> ScanInputs:
    """Return inputs with everything on; no peer knows groups."""
    return Case(length).inputs().to(torch.float32, device_of(row))


def assert_same(row: Backend, inputs: ScanInputs, expected: tuple[Tensor, Tensor]) -> None:
    """Compare output and last state of a backend with a peer's."""
    for found, theirs in zip(row.run(inputs, return_last_state=True), expected, strict=True):
        torch.testing.assert_close(found, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("on_mambapy", [False, True], ids=["loop", "mambapy"])
@LENGTHS
@on_every_backend
def test_transformers(row: Backend, length: int, on_mambapy: bool) -> None:
    """The scan that a transformers Mamba runs without kernels, by its loop and on mambapy."""
    inputs = drawn(row, length)

    expected = TRANSFORMERS_SCAN(
        inputs.u,
        inputs.delta,
        inputs.A,
        inputs.grouped_B[:, 0],
        inputs.grouped_C[:, 0],
        inputs.D,
        z=inputs.z,
        delta_bias=inputs.delta_bias,
        delta_softplus=True,
        return_last_state=True,
        use_mambapy=on_mambapy,
    )

    assert_same(row, inputs, expected)


@LENGTHS
@on_every_backend
def test_mambapy(row: Backend, length: int) -> None:
    """mambapy's parallel scan of ready-made decays and inputs; the rest of the layer is ours."""
    inputs = drawn(row, length)
    delta = step_sizes(inputs).transpose(1, 2)[..., None]  # [B, L, D, 1]
    B, C = (x[:, 0].transpose(1, 2)[:, :, None] for x in (inputs.B, inputs.C))  # [B, L, 1, N]

    states = pscan(  # [B, L, D, N]
        torch.exp(delta * inputs.A), delta * B * inputs.u.transpose(1, 2)[..., None]
    )
    y = (states * C).sum(-1).transpose(1, 2)  # [B, D, L]

    assert_same(row, inputs, (skip_and_gate(inputs, y), states[:, -1]))


@pytest.mark.parametrize("length", [1, 63], ids="L={}".format)
@on_every_backend
def test_steps_of_transformers(row: Backend, length: int) -> None:
    """Decoding one token at a time with transformers' own state update ends in the same state."""
    inputs = drawn(row, length)
    assert inputs.z is not None
    state = torch.zeros(2, 4, 8, device=inputs.u.device)
    outputs = [
        TRANSFORMERS_STEP(
            state,  # updated in place
            inputs.u[..., step],
            inputs.delta[..., step],
            inputs.A,
            inputs.B[:, 0, :, step],
            inputs.C[:, 0, :, step],
            inputs.D,
            dt_bias=inputs.delta_bias,
            dt_softplus=True,
            z=inputs.z[..., step],
        )
        for step in range(length)
    ]

    assert_same(row, inputs, (torch.stack(outputs, -1), state))
