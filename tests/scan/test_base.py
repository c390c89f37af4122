"""Claims about the scan's inputs: what is accepted, what is said otherwise, what is drawn."""

from dataclasses import replace

import pytest
import torch

from efficarch.scan import ScanInputs, synthetic_inputs
from efficarch.scan.base import STEP_RANGE, skip_and_gate, step_sizes
from tests.scan.samples import random_inputs

WRONG = {
    "u": (torch.zeros(2, 4), r"u has shape \(2, 4\), expected \(batch, channels, length\)"),
    "delta": (torch.zeros(2, 4, 6), r"delta has shape \(2, 4, 6\), expected .* = \(2, 4, 7\)"),
    "A": (torch.zeros(5, 8), r"A has shape \(5, 8\) .* = \(4, state\)"),
    "B": (torch.zeros(2, 1, 8, 6), r"B has shape \(2, 1, 8, 6\), expected .* = \(2, 1, 8, 7\)"),
    "C": (torch.zeros(2, 2, 8, 7), r"C has shape \(2, 2, 8, 7\), expected .* = \(2, 1, 8, 7\)"),
    "D": (torch.zeros(3), r"D has shape \(3,\), expected \(channels,\) = \(4,\)"),
    "z": (torch.zeros(2, 4, 1), r"z has shape \(2, 4, 1\), expected .* = \(2, 4, 7\)"),
    "delta_bias": (torch.zeros(4, 1), r"delta_bias has shape \(4, 1\), expected .* = \(4,\)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_shape_is_named_with_the_expected_one(name: str) -> None:
    """The error says which tensor, what shape it has and what shape it should have."""
    tensor, sentence = WRONG[name]

    with pytest.raises(ValueError, match=sentence):
        replace(random_inputs(7), **{name: tensor})


def test_an_empty_sequence_is_refused() -> None:
    """There is no last state after no step."""
    with pytest.raises(ValueError, match="each at least 1"):
        ScanInputs(*(torch.zeros(2, 4, 0),) * 2, torch.zeros(4, 8), *(torch.zeros(2, 8, 0),) * 2)


def test_constant_projections_are_refused() -> None:
    """B without batch and length is mamba-ssm's non-selective form, which is not supported."""
    with pytest.raises(ValueError, match=r"B has shape \(4, 8\), expected \(batch, state, length"):
        replace(random_inputs(7), B=torch.zeros(4, 8))


def test_groups_must_divide_the_channels() -> None:
    """Four channels cannot fall into three equal groups."""
    with pytest.raises(ValueError, match="divides the 4 channels"):
        replace(random_inputs(7), B=torch.zeros(2, 3, 8, 7), C=torch.zeros(2, 3, 8, 7))


def test_complex_decay_is_refused() -> None:
    """Complex A is part of mamba-ssm's interface but not of this one."""
    with pytest.raises(ValueError, match=r"complex64, expected a real"):
        replace(random_inputs(7), A=torch.zeros(4, 8, dtype=torch.complex64))


def test_half_inputs_keep_wide_parameters() -> None:
    """As in mamba-ssm, A, D and the bias stay float32 beside half-precision activations."""
    half = random_inputs(7).to(torch.bfloat16)

    assert half.u.dtype == half.B.dtype == half.z.dtype == torch.bfloat16
    assert half.A.dtype == half.D.dtype == half.delta_bias.dtype == torch.float32
    assert half.working_dtype == torch.float32


def test_double_is_double_throughout() -> None:
    """The oracle's inputs hold no narrower tensor."""
    wide = random_inputs(7).double()

    assert {t.dtype for t in vars(wide).values() if isinstance(t, torch.Tensor)} == {torch.float64}
    assert wide.delta_softplus


def test_step_sizes_add_the_bias_before_the_softplus() -> None:
    """log(1 + exp(delta + bias)), spelt out."""
    inputs = random_inputs(7).double()
    expected = torch.log1p(torch.exp(inputs.delta + inputs.delta_bias[None, :, None]))

    torch.testing.assert_close(step_sizes(inputs), expected)


def test_the_gate_covers_the_skip_term() -> None:
    """The order is (y + D u) silu(z), not y + D u silu(z)."""
    inputs = random_inputs(7).double()
    y = torch.zeros_like(inputs.u)
    expected = inputs.D[None, :, None] * inputs.u * inputs.z / (1 + torch.exp(-inputs.z))

    torch.testing.assert_close(skip_and_gate(inputs, y), expected)


def _synthetic(seed: int, dtype: torch.dtype = torch.float32) -> ScanInputs:
    return synthetic_inputs(
        batch=1, channels=256, state=16, length=33, seed=seed, device="cpu", dtype=dtype
    )


def test_synthetic_inputs_repeat_with_their_seed() -> None:
    """The same seed draws the same numbers, in every dtype; another seed draws others."""
    first = _synthetic(0)

    assert torch.equal(first.u, _synthetic(0).u)
    assert torch.equal(first.u.bfloat16(), _synthetic(0, torch.bfloat16).u)
    assert not torch.equal(first.u, _synthetic(1).u)


def test_synthetic_steps_are_those_of_a_fresh_mamba() -> None:
    """Log-uniform steps: the log's mean is the range's middle, and few steps leave the range."""
    steps = step_sizes(_synthetic(0))
    low, high = STEP_RANGE

    assert steps.log().mean().exp() == pytest.approx((low * high) ** 0.5, rel=0.2)
    assert ((steps < low) | (steps > high)).float().mean() < 0.05
    assert steps.min() > low / 2
    assert steps.max() < high * 2
