"""Claims about the chunked scan: reordering changes the speed, not the result."""

from dataclasses import replace
from functools import partial
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from efficarch.scan import ScanInputs, chunked, naive
from efficarch.scan.backends import Run
from tests.scan.samples import bare_inputs, largest_error, random_inputs

LENGTHS = [1, 7, 63, 64, 128, 372, 1134]

WITHOUT = {
    "everything": {},
    "no-skip": {"D": None},
    "no-gate": {"z": None},
    "no-bias": {"delta_bias": None},
    "no-softplus": {"delta_softplus": False},
    "recurrence-only": {"D": None, "z": None, "delta_bias": None, "delta_softplus": False},
}


def assert_matches_oracle(inputs: ScanInputs, tolerance: float = 1e-4) -> None:
    """Compare the output and the last state with the float64 oracle, by largest difference."""
    out, state = chunked.scan(inputs, return_last_state=True)
    expected, expected_state = naive.scan(inputs.double(), return_last_state=True)

    assert out.shape == expected.shape
    assert state.shape == expected_state.shape
    assert largest_error(out, expected) <= tolerance
    assert largest_error(state, expected_state) <= tolerance


@pytest.mark.parametrize("without", WITHOUT)
@pytest.mark.parametrize("groups", [1, 2], ids="groups={}".format)
@pytest.mark.parametrize("length", LENGTHS, ids="length={}".format)
def test_matches_the_oracle(length: int, groups: int, without: str) -> None:
    """Float32 stays within 1e-4 of the float64 oracle at every length and with every option."""
    assert_matches_oracle(replace(random_inputs(length, groups=groups), **WITHOUT[without]))


@pytest.mark.parametrize("batch", [1, 3], ids="batch={}".format)
@pytest.mark.parametrize("length", [7, 372], ids="length={}".format)
def test_matches_the_oracle_for_a_batch(length: int, batch: int) -> None:
    """Rows of a batch do not mix, and B and C need no group axis."""
    assert_matches_oracle(random_inputs(length, batch=batch, grouped=False))


@pytest.mark.parametrize("groups", [1, 2], ids="groups={}".format)
@pytest.mark.parametrize("length", [128, 256, 512, 1024, 2048, 4096], ids="length={}".format)
def test_passes_the_test_of_mamba_ssm(length: int, groups: int) -> None:
    """The published tolerance of mamba-ssm's kernel against its reference, and our tighter one."""
    inputs = random_inputs(length, groups=groups)

    out, state = chunked.scan(inputs, return_last_state=True)
    expected, expected_state = naive.scan(inputs, return_last_state=True)

    torch.testing.assert_close(out, expected, rtol=6e-4, atol=2e-3)
    torch.testing.assert_close(state, expected_state, rtol=6e-4, atol=2e-3)
    assert largest_error(out, expected) <= 1e-4


@given(
    length=st.integers(1, 60),
    chunk=st.integers(1, 70),
    states=st.sampled_from([1, 128, 2**15]),
    groups=st.sampled_from([1, 2, 4]),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=100, deadline=None, database=None)
def test_any_blocks_give_the_same_result(
    length: int, chunk: int, states: int, groups: int, seed: int
) -> None:
    """Blocks are a matter of speed: one chunk or many, whole, ragged, longer than the sequence."""
    inputs = random_inputs(length, groups=groups, seed=seed).double()

    with mock.patch.object(chunked, "STATES", states):
        out, state = chunked.scan(inputs, chunk=chunk, return_last_state=True)
    expected, expected_state = naive.scan(inputs, return_last_state=True)

    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(state, expected_state, rtol=1e-10, atol=1e-10)


def test_a_chunk_below_one_step_is_refused() -> None:
    """Zero steps would never get through the sequence."""
    with pytest.raises(ValueError, match="chunk is 0, expected at least 1 step"):
        chunked.scan(random_inputs(7), chunk=0)


def test_a_zero_step_is_the_identity() -> None:
    """Steps of size zero leave the state alone, whatever their input."""
    inputs = bare_inputs(40)
    stopped = inputs.delta.clone()
    stopped[..., 25:] = 0
    before = ScanInputs(*(x[..., :25] for x in (inputs.u, stopped)), inputs.A, *_cut(inputs, 0, 25))

    _, state = chunked.scan(replace(inputs, delta=stopped), return_last_state=True)
    _, expected = chunked.scan(before, return_last_state=True)

    torch.testing.assert_close(state, expected)


def test_no_decay_is_a_cumulative_sum() -> None:
    """With A = 0 the state is the running sum of delta*B*u."""
    inputs = replace(bare_inputs(100), A=torch.zeros(4, 8).double())
    B, C = inputs.B, inputs.C  # [B, 1, N, L]
    states = ((inputs.delta * inputs.u)[:, :, None] * B).cumsum(-1)  # [B, D, N, L]

    torch.testing.assert_close(chunked.scan(inputs), (states * C).sum(2))


@pytest.mark.parametrize("split", [1, 30, 64, 99], ids="split={}".format)
def test_a_split_scan_is_the_whole_scan(split: int) -> None:
    """The recurrence is linear: the second part adds to the first part's decayed state."""
    inputs = bare_inputs(100)
    first, second = (
        ScanInputs(inputs.u[..., a:b], inputs.delta[..., a:b], inputs.A, *_cut(inputs, a, b))
        for a, b in ((0, split), (split, 100))
    )
    out, state = chunked.scan(inputs, return_last_state=True)

    out_1, state_1 = chunked.scan(first, return_last_state=True)
    out_2, state_2 = chunked.scan(second, return_last_state=True)
    elapsed = second.delta.cumsum(-1)[:, :, None]  # [B, D, 1, L]
    carried = torch.exp(elapsed * inputs.A[..., None]) * state_1[..., None]  # [B, D, N, L]

    torch.testing.assert_close(out, torch.cat([out_1, out_2 + (carried * second.C).sum(2)], -1))
    torch.testing.assert_close(state, state_2 + carried[..., -1])


def test_strided_inputs_give_the_same_result() -> None:
    """Views with steps and swapped axes are read correctly."""
    inputs = random_inputs(63)
    strided = {
        name: value.transpose(-1, -2).contiguous().transpose(-1, -2)
        if value.ndim > 1
        else value.repeat_interleave(2)[::2]
        for name, value in vars(inputs).items()
        if isinstance(value, Tensor)
    }
    assert not strided["u"].is_contiguous()

    torch.testing.assert_close(
        chunked.scan(replace(inputs, **strided)), chunked.scan(inputs), rtol=1e-6, atol=1e-6
    )


def test_inputs_are_left_untouched() -> None:
    """Nothing is written in place."""
    inputs = random_inputs(63)
    before = {name: x.clone() for name, x in vars(inputs).items() if isinstance(x, Tensor)}

    chunked.scan(inputs)

    assert all(torch.equal(x, getattr(inputs, name)) for name, x in before.items())


def test_results_stay_when_the_scan_runs_again() -> None:
    """The memory that blocks share belongs to one call."""
    out, state = chunked.scan(random_inputs(300), return_last_state=True)
    before = out.clone(), state.clone()

    chunked.scan(random_inputs(300, seed=1), return_last_state=True)

    assert torch.equal(out, before[0])
    assert torch.equal(state, before[1])


def test_gradients_or_not_give_the_same_result() -> None:
    """What autograd records is what runs without it."""
    inputs = random_inputs(300)
    expected = chunked.scan(inputs)

    inputs.u.requires_grad_()

    assert torch.equal(chunked.scan(inputs).detach(), expected)


@pytest.mark.parametrize("states", [1, 128, 2**15], ids="states={}".format)
@pytest.mark.parametrize("chunk", [3, 16], ids="chunk={}".format)
def test_gradients_match_the_oracle(chunk: int, states: int) -> None:
    """The gradient of every input, through output and last state, is that of the naive scan."""
    with mock.patch.object(chunked, "STATES", states):
        actual = _gradients(partial(chunked.scan, chunk=chunk))
    expected = _gradients(naive.scan)

    assert list(actual) == ["u", "delta", "A", "B", "C", "D", "z", "delta_bias"]
    for name, gradient in actual.items():
        assert largest_error(gradient, expected[name]) <= 1e-9, f"d{name}"


def test_large_decays_stay_finite() -> None:
    """delta*A = -100 per step underflows to zero and overflows nowhere, gradients included."""
    inputs = bare_inputs(200).to(torch.float32)
    A = torch.full((4, 8), -100.0, requires_grad=True)
    inputs = replace(inputs, A=A, delta=torch.ones_like(inputs.delta))

    out = chunked.scan(inputs)
    out.sum().backward()

    assert out.isfinite().all()
    assert A.grad is not None
    assert A.grad.isfinite().all()
    assert largest_error(out.detach(), naive.scan(inputs.double()).detach()) <= 1e-4


@pytest.mark.parametrize("fast", [1e-3, 300.0], ids="fast={}".format)
def test_fast_and_slow_channels_side_by_side(fast: float) -> None:
    """A channel that forgets at once does not disturb one that remembers everything."""
    inputs = random_inputs(500)
    inputs.A[::2] = -fast

    assert_matches_oracle(inputs)


@pytest.mark.parametrize(
    ("dtype", "rtol", "atol"),
    [
        pytest.param(torch.bfloat16, 3e-2, 5e-2, id="bf16"),
        pytest.param(torch.float16, 3e-3, 5e-3, id="fp16"),
    ],
)
def test_half_inputs_are_summed_in_float32(dtype: torch.dtype, rtol: float, atol: float) -> None:
    """Half inputs meet mamba-ssm's tolerances, the output is half, the state is float32."""
    inputs = random_inputs(372).to(dtype)

    out, state = chunked.scan(inputs, return_last_state=True)
    expected, expected_state = naive.scan(inputs.double(), return_last_state=True)

    assert out.dtype == dtype
    assert state.dtype == torch.float32
    torch.testing.assert_close(out.double(), expected, rtol=rtol, atol=atol)
    assert largest_error(state, expected_state) <= 1e-4


def _cut(inputs: ScanInputs, start: int, stop: int) -> tuple[Tensor, Tensor]:
    return inputs.B[..., start:stop], inputs.C[..., start:stop]


def _gradients(run: Run[ScanInputs]) -> dict[str, Tensor]:
    inputs = random_inputs(63, groups=2).double()
    leaves = {
        name: value.requires_grad_()
        for name, value in vars(inputs).items()
        if isinstance(value, Tensor)
    }
    out, state = run(inputs, return_last_state=True)
    rng = torch.Generator().manual_seed(1)
    weights = (torch.randn(x.shape, generator=rng, dtype=x.dtype) for x in (out, state))
    loss = sum((x * weight).sum() for x, weight in zip((out, state), weights, strict=True))
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
