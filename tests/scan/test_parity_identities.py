"""What every backend's scan must satisfy by its definition, whatever the oracle says.

A scan has no first state in its signature. By linearity it needs none: a scan from a state h is the
scan from zero plus what is left of h, ``C exp(A * elapsed) h``. That is how parts are joined here.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from efficarch.scan import BACKENDS, Backend, ScanInputs, naive
from efficarch.scan.backends import Run
from efficarch.scan.parity import Case
from tests.scan.on_backends import device_of, each, on_every_backend

# B batch, D channels, N state size, L length

TOLERANCE = 1e-4
DIFFERENTIABLE = [row for row in BACKENDS.values() if row.differentiable]


def bare(row: Backend, length: int = 100, *, skip: bool = False) -> ScanInputs:
    """Return inputs whose steps are ready-made, on the device of a backend."""
    case = Case(length, skip=skip, gate=False, bias=False, softplus=False)
    return case.inputs().to(torch.float32, device_of(row))


def cut(inputs: ScanInputs, start: int, stop: int) -> ScanInputs:
    """Return the steps from ``start`` to ``stop``."""
    names = ("u", "delta", "B", "C", "z")
    parts = {name: x[..., start:stop] for name in names if (x := getattr(inputs, name)) is not None}
    return replace(inputs, **parts)


def run(row: Backend, inputs: ScanInputs) -> tuple[Tensor, Tensor]:
    """Return the output [B, D, L] and the last state [B, D, N]."""
    output = row.run(inputs, return_last_state=True)
    assert isinstance(output, tuple)
    return output


def continued(row: Backend, inputs: ScanInputs, state: Tensor) -> tuple[Tensor, Tensor]:
    """Run steps from a state [B, D, N]; returns the output and the state after them."""
    out, added = run(row, inputs)
    elapsed = inputs.delta.cumsum(-1)[:, :, None]  # [B, D, 1, L]
    left = torch.exp(elapsed * inputs.A[..., None]) * state[..., None]  # [B, D, N, L]
    return out + (left * inputs.grouped_C).sum(2), added + left[..., -1]


def assert_close(found: Tensor, expected: Tensor) -> None:
    """Compare elementwise and absolutely."""
    torch.testing.assert_close(found, expected.to(found.dtype), rtol=0, atol=TOLERANCE)


@on_every_backend
def test_zero_steps_keep_the_state(row: Backend) -> None:
    """A step of size zero adds nothing and forgets nothing: y = C h + D u with the old h."""
    inputs = bare(row, skip=True)
    stopped = inputs.delta.clone()
    stopped[..., 60:] = 0
    _, before = run(row, cut(inputs, 0, 60))
    assert inputs.D is not None

    out, state = run(row, replace(inputs, delta=stopped))

    assert_close(state, before)
    emitted = (before[..., None] * inputs.grouped_C[..., 60:]).sum(2)  # [B, D, 40]
    assert_close(out[..., 60:], emitted + inputs.D[:, None] * inputs.u[..., 60:])


@on_every_backend
def test_zero_steps_alone_leave_nothing(row: Backend) -> None:
    """Without a step there is no state, only the skip term."""
    inputs = bare(row, skip=True)
    assert inputs.D is not None

    out, state = run(row, replace(inputs, delta=torch.zeros_like(inputs.delta)))

    assert not state.any()
    assert_close(out, inputs.D[:, None] * inputs.u)


@pytest.mark.parametrize("decay", [0.0, -1e-12, -1e-7], ids="A={:g}".format)
@on_every_backend
def test_no_decay_is_a_cumulative_sum(row: Backend, decay: float) -> None:
    """As A goes to zero the state becomes the running sum of delta*B*u."""
    inputs = bare(row)
    inputs = replace(inputs, A=torch.full_like(inputs.A, decay))
    wide = inputs.double()
    added = (wide.delta * wide.u)[:, :, None] * wide.grouped_B  # [B, D, N, L]
    states = added.cumsum(-1)

    out, state = run(row, inputs)

    assert_close(out, (states * wide.grouped_C).sum(2))
    assert_close(state, states[..., -1])


@pytest.mark.parametrize("length", [63, 372], ids="L={}".format)
@on_every_backend
def test_full_decay_is_no_memory(row: Backend, length: int) -> None:
    """As A goes to minus infinity each step stands alone, and nothing overflows."""
    inputs = bare(row, length)
    inputs = replace(inputs, A=torch.full_like(inputs.A, -1e6), delta=inputs.delta + 0.1)
    alone = (inputs.grouped_B * inputs.grouped_C).sum(2) * inputs.delta * inputs.u  # [B, D, L]

    out, state = run(row, inputs)

    assert_close(out, alone)
    assert_close(state, (inputs.delta * inputs.u)[..., None, -1] * inputs.grouped_B[..., -1])


@pytest.mark.parametrize("split", [1, 30, 64, 99], ids="split={}".format)
@on_every_backend
def test_a_split_scan_is_the_whole_scan(row: Backend, split: int) -> None:
    """The second part continues from the first part's last state."""
    inputs = bare(row)

    first, between = run(row, cut(inputs, 0, split))
    second, last = continued(row, cut(inputs, split, 100), between)

    out, state = run(row, inputs)
    assert_close(torch.cat([first, second], -1), out)
    assert_close(last, state)


@on_every_backend
def test_a_pause_changes_nothing(row: Backend) -> None:
    """Steps of size zero between two parts, whatever their input, are as if they were not there."""
    inputs = bare(row)
    first, second = cut(inputs, 0, 37), cut(inputs, 37, 100)
    pause = replace(cut(inputs, 0, 29), delta=torch.zeros_like(inputs.delta[..., :29]))
    parts = (first, pause, second)
    joined = {
        name: torch.cat([getattr(part, name) for part in parts], -1)
        for name in ("u", "delta", "B", "C")
    }

    out, state = run(row, replace(inputs, **joined))

    whole, last = run(row, inputs)
    assert_close(torch.cat([out[..., :37], out[..., 66:]], -1), whole)
    assert_close(state, last)


@on_every_backend
def test_step_by_step_is_the_scan(row: Backend) -> None:
    """One step at a time, each from the state that the one before it left."""
    inputs = bare(row, 40)
    state = torch.zeros_like(run(row, inputs)[1])
    outputs = []
    for step in range(40):
        out, state = continued(row, cut(inputs, step, step + 1), state)
        outputs.append(out)

    out, last = run(row, inputs)
    assert_close(torch.cat(outputs, -1), out)
    assert_close(state, last)


@on_every_backend
def test_the_future_has_no_influence(row: Backend) -> None:
    """Whatever comes later, NaN included, an output is what it was."""
    inputs = bare(row)
    later = inputs.u.clone()
    later[..., 70:] = torch.nan

    out, _ = run(row, replace(inputs, u=later))

    assert_close(out[..., :70], run(row, inputs)[0][..., :70])
    assert out[..., 70:].isnan().all()


@on_every_backend
def test_rows_of_a_batch_do_not_mix(row: Backend) -> None:
    """A row alone gives what it gives beside others."""
    inputs = bare(row)
    names = ("u", "delta", "B", "C")

    out, state = run(row, inputs)

    for index in range(2):
        alone = {name: getattr(inputs, name)[index : index + 1] for name in names}
        out_1, state_1 = run(row, replace(inputs, **alone))
        assert_close(out_1[0], out[index])
        assert_close(state_1[0], state[index])


@each(DIFFERENTIABLE)
def test_gradients_are_those_of_the_oracle(row: Backend) -> None:
    """Of every input, through output and last state, at a length that fills no chunk."""
    inputs = Case(45, groups=2).inputs().double().to(torch.float64, device_of(row))

    found, expected = gradients(row.run, inputs), gradients(naive.scan, inputs)

    assert list(found) == ["u", "delta", "A", "B", "C", "D", "z", "delta_bias"]
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-9, atol=1e-9, msg=f"d{name}")


@each(DIFFERENTIABLE)
def test_gradients_are_finite_differences(row: Backend) -> None:
    """torch.autograd.gradcheck in float64: the gradients are those of the function itself."""
    drawn = Case(7, groups=2, batch=1, channels=2, state=2).inputs()
    inputs = drawn.to(torch.float64, device_of(row))
    leaves = {name: x.requires_grad_() for name, x in tensors(inputs).items()}

    def call(*values: Tensor) -> tuple[Tensor, Tensor]:
        return run(row, replace(inputs, **dict(zip(leaves, values, strict=True))))

    assert torch.autograd.gradcheck(call, tuple(leaves.values()), fast_mode=False)


def tensors(inputs: ScanInputs) -> dict[str, Tensor]:
    """Return the tensors among the inputs by name."""
    return {name: x for name, x in vars(inputs).items() if isinstance(x, Tensor)}


def gradients(scan: Run[ScanInputs], inputs: ScanInputs) -> dict[str, Tensor]:
    """Return the gradient of a random combination of output and last state, by input."""
    leaves = {name: x.detach().clone().requires_grad_() for name, x in tensors(inputs).items()}
    found = scan(replace(inputs, **leaves), return_last_state=True)
    rng = torch.Generator().manual_seed(1)
    weights = [torch.randn(x.shape, generator=rng, dtype=x.dtype).to(x.device) for x in found]
    loss = sum((x * weight).sum() for x, weight in zip(found, weights, strict=True))
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
