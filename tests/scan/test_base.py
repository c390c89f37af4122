"""Claims about the scan's inputs: what is accepted, what is said otherwise, what is drawn."""

from dataclasses import replace

import pytest
import torch

from efficarch.scan import ScanInputs, synthetic_inputs
from efficarch.scan.base import (
    MAX_STATE,
    STEP_RANGE,
    require_no_negative_step,
    skip_and_gate,
    step_sizes,
)
from tests.scan.samples import bare_inputs, random_inputs

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


def test_half_decay_is_refused() -> None:
    """A in half precision has lost what tells slow channels apart."""
    with pytest.raises(
        ValueError,
        match=r"A has shape \(4, 8\), torch.bfloat16 on cpu, expected float32 or float64",
    ):
        replace(random_inputs(7), A=torch.zeros(4, 8, dtype=torch.bfloat16))


@pytest.mark.parametrize("state", [0, MAX_STATE + 1])
def test_a_state_outside_the_common_range_is_refused(state: int) -> None:
    """Every backend takes 1 to 256 states, as mamba-ssm's kernel does."""
    sentence = rf"A has shape \(4, {state}\), expected a state .* of 1 to 256"
    with pytest.raises(ValueError, match=sentence):
        ScanInputs(
            *(torch.zeros(2, 4, 7),) * 2,
            torch.zeros(4, state),
            *(torch.zeros(2, state, 7),) * 2,
        )


def test_the_largest_state_is_accepted() -> None:
    """The limit itself is inside."""
    per_step = (torch.zeros(2, 4, 7),) * 2
    projected = (torch.zeros(2, MAX_STATE, 7),) * 2

    assert ScanInputs(*per_step, torch.zeros(4, MAX_STATE), *projected).state == MAX_STATE


@pytest.mark.parametrize("name", ["delta", "B", "C", "z"])
def test_mixed_dtypes_are_refused(name: str) -> None:
    """What varies over the length has one dtype; a kernel reads no two."""
    inputs = random_inputs(7)
    half = getattr(inputs, name).half()
    sentence = rf"{name} has shape \(2, .*\), torch.float16 on cpu, expected torch.float32, as u"

    with pytest.raises(ValueError, match=sentence):
        replace(inputs, **{name: half})


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64, torch.float8_e5m2])
def test_a_dtype_that_no_backend_computes_in_is_refused(dtype: torch.dtype) -> None:
    """Integers, complex numbers and 8 bits are named, with what is expected."""
    sentence = rf"u has shape \(2, 4, 7\), {dtype} on cpu, expected a floating dtype of 16 to 64"

    with pytest.raises(ValueError, match=sentence):
        replace(random_inputs(7), u=torch.zeros(2, 4, 7).to(dtype))


@pytest.mark.parametrize("name", ["delta", "A", "B", "C", "D", "z", "delta_bias"])
def test_mixed_devices_are_refused(name: str) -> None:
    """A tensor that was left behind is named, with both devices."""
    inputs = random_inputs(7)
    elsewhere = getattr(inputs, name).to("meta")

    with pytest.raises(ValueError, match=rf"{name} has shape .* on meta, expected cpu, as u"):
        replace(inputs, **{name: elsewhere})


def test_values_are_not_looked_at() -> None:
    """NaN and infinity are for the scan to carry; looking for them would read every tensor."""
    inputs = random_inputs(7)

    assert replace(inputs, u=torch.full_like(inputs.u, float("nan"))).u.isnan().all()
    assert replace(inputs, delta=torch.full_like(inputs.delta, float("inf"))).delta.isinf().all()


def test_a_negative_step_is_refused() -> None:
    """The step is named: without a softplus, delta and its bias are all there is to it."""
    inputs = bare_inputs(7)
    delta = inputs.delta.clone()
    delta[1, 2, 3] = -0.25

    with pytest.raises(
        ValueError, match=r"delta has shape \(2, 4, 7\) and, bias included, a step of -0.25"
    ):
        require_no_negative_step(replace(inputs, delta=delta))


def test_the_bias_counts_towards_the_step() -> None:
    """It can make a step of zero negative, in its own channel, and a negative one positive."""
    inputs = bare_inputs(7)
    still = torch.zeros_like(inputs.delta)
    one_below = torch.tensor([0.0, -0.5, 1.0, 0.0]).double()

    require_no_negative_step(replace(inputs, delta=still))
    require_no_negative_step(replace(inputs, delta=still - 1, delta_bias=1 + torch.zeros(4)))
    with pytest.raises(ValueError, match=r"a step of -0.5, expected none below 0"):
        require_no_negative_step(replace(inputs, delta=still, delta_bias=one_below))


def test_after_a_softplus_no_step_is_negative() -> None:
    """Whatever delta is: nothing is read and nothing refused."""
    inputs = random_inputs(7)

    require_no_negative_step(replace(inputs, delta=inputs.delta - 100))


def test_no_device_is_waited_for() -> None:
    """Elsewhere than on the CPU nothing is checked: meta tensors have no values to read."""
    inputs = bare_inputs(7).to(torch.float32, "meta")

    require_no_negative_step(inputs)


def test_nan_is_not_a_negative_step() -> None:
    """It goes on into the scan, beside whatever else is there."""
    inputs = bare_inputs(7)
    delta = inputs.delta.clone()
    delta[0, 0, 0] = float("nan")

    require_no_negative_step(replace(inputs, delta=delta))


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
