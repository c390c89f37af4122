"""What every SSD backend must satisfy by its definition, whatever the oracle says.

As for the selective scan, a scan from a state h is the scan from zero plus what is left of h.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from efficarch.scan.backends import Run
from efficarch.scan.ssd import SSD_BACKENDS, SsdBackend, SsdInputs, chunked, naive
from efficarch.scan.ssd.parity import Case
from tests.scan.on_backends import device_of, each

# B batch, L length, H heads, P channels of a head, N state size

PER_STEP = ("x", "dt", "B", "C")
DIFFERENTIABLE = [row for row in SSD_BACKENDS.values() if row.differentiable]

on_every_backend = each(row for row in SSD_BACKENDS.values() if torch.float32 in row.dtypes)


def bare(row: SsdBackend, length: int = 150, *, skip: bool = False) -> SsdInputs:
    """Return inputs of one group whose steps are ready-made, on the device of a backend."""
    case = Case(length, skip=skip, gate=False, bias=False, softplus=False)
    return case.inputs().to(torch.float32, device_of(row))


def cut(inputs: SsdInputs, start: int, stop: int) -> SsdInputs:
    """Return the steps from ``start`` to ``stop``."""
    return replace(inputs, **{name: getattr(inputs, name)[:, start:stop] for name in PER_STEP})


def run(row: SsdBackend, inputs: SsdInputs) -> tuple[Tensor, Tensor]:
    """Return the output [B, L, H, P] and the last state [B, H, P, N]."""
    output = row.run(inputs, return_last_state=True)
    assert isinstance(output, tuple)
    return output


def continued(row: SsdBackend, inputs: SsdInputs, state: Tensor) -> tuple[Tensor, Tensor]:
    """Run steps from a state [B, H, P, N]; returns the output and the state after them."""
    out, added = run(row, inputs)
    decays = torch.exp(inputs.dt.cumsum(1) * inputs.A)[..., None, None]  # [B, L, H, 1, 1]
    left = decays * state[:, None]  # [B, L, H, P, N]
    return out + (left * inputs.C[:, :, :, None]).sum(-1), added + left[:, -1]


def assert_close(found: Tensor, expected: Tensor) -> None:
    """Compare elementwise and absolutely."""
    torch.testing.assert_close(found, expected.to(found.dtype), rtol=0, atol=1e-4)


@on_every_backend
def test_zero_steps_keep_the_state(row: SsdBackend) -> None:
    """A step of size zero adds nothing and forgets nothing: y = h C + D x with the old h."""
    inputs = bare(row, skip=True)
    stopped = inputs.dt.clone()
    stopped[:, 60:] = 0
    _, before = run(row, cut(inputs, 0, 60))
    assert inputs.D is not None

    out, state = run(row, replace(inputs, dt=stopped))

    assert_close(state, before)
    emitted = (before[:, None] * inputs.C[:, 60:, :, None]).sum(-1)  # [B, L, H, P]
    assert_close(out[:, 60:], emitted + inputs.D[:, None] * inputs.x[:, 60:])


@on_every_backend
def test_no_decay_is_a_cumulative_sum(row: SsdBackend) -> None:
    """With A = 0 the state is the running sum of dt*x*B."""
    inputs = bare(row)
    inputs = replace(inputs, A=torch.zeros_like(inputs.A))
    wide = inputs.double()
    added = (wide.dt[..., None] * wide.x)[..., None] * wide.B[:, :, :, None]  # [B, L, H, P, N]
    states = added.cumsum(1)

    out, state = run(row, inputs)

    assert_close(out, (states * wide.C[:, :, :, None]).sum(-1))
    assert_close(state, states[:, -1])


@on_every_backend
def test_full_decay_is_no_memory(row: SsdBackend) -> None:
    """As A goes to minus infinity each step stands alone, and nothing overflows."""
    inputs = bare(row)
    inputs = replace(inputs, A=torch.full_like(inputs.A, -1e6), dt=inputs.dt + 0.1)
    alone = (inputs.B * inputs.C).sum(-1)[..., None] * inputs.dt[..., None] * inputs.x

    assert_close(run(row, inputs)[0], alone)


@on_every_backend
def test_a_step_that_forgets_leaves_its_neighbours_exact(row: SsdBackend) -> None:
    """Decays around a step of dt*A = -5000 are not taken as differences of large sums."""
    inputs = bare(row)
    resets = inputs.dt.clone()
    resets[:, 20::40] = 1e4
    scaled = inputs.x.clone()
    scaled[:, 20::40] *= 1e-4
    inputs = replace(inputs, dt=resets, x=scaled)
    expected, last = naive.scan(inputs.double(), return_last_state=True)

    out, state = run(row, inputs)

    assert_close(out, expected)
    assert_close(state, last)


@pytest.mark.parametrize("split", [1, 30, 64, 128, 149], ids="split={}".format)
@on_every_backend
def test_a_split_scan_is_the_whole_scan(row: SsdBackend, split: int) -> None:
    """The second part continues from the first part's last state."""
    inputs = bare(row)

    first, between = run(row, cut(inputs, 0, split))
    second, last = continued(row, cut(inputs, split, 150), between)

    out, state = run(row, inputs)
    assert_close(torch.cat([first, second], 1), out)
    assert_close(last, state)


@on_every_backend
def test_step_by_step_is_the_scan(row: SsdBackend) -> None:
    """One step at a time, each from the state that the one before it left."""
    inputs = bare(row, 80)
    state = torch.zeros_like(run(row, inputs)[1])
    outputs = []
    for step in range(80):
        out, state = continued(row, cut(inputs, step, step + 1), state)
        outputs.append(out)

    out, last = run(row, inputs)
    assert_close(torch.cat(outputs, 1), out)
    assert_close(state, last)


@on_every_backend
def test_the_future_has_no_influence(row: SsdBackend) -> None:
    """However large what comes later is, an output is what it was."""
    inputs = bare(row)
    later = {name: getattr(inputs, name).clone() for name in PER_STEP}
    for tensor in later.values():
        tensor[:, 70:] += 1e3

    assert_close(run(row, replace(inputs, **later))[0][:, :70], run(row, inputs)[0][:, :70])


@each(DIFFERENTIABLE)
def test_gradients_are_those_of_the_oracle(row: SsdBackend) -> None:
    """Of every input, through output and last state, over more than one chunk."""
    inputs = Case(chunked.CHUNK + 20, groups=2).inputs().to(torch.float64, device_of(row))

    found, expected = gradients(row.run, inputs), gradients(naive.scan, inputs)

    assert list(found) == ["x", "dt", "A", "B", "C", "D", "z", "dt_bias"]
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-9, atol=1e-9, msg=f"d{name}")


@each(DIFFERENTIABLE)
def test_gradients_are_finite_differences(row: SsdBackend) -> None:
    """torch.autograd.gradcheck in float64: the gradients are those of the function itself."""
    drawn = Case(6, groups=2, batch=1, heads=2, head_dim=2, state=2).inputs()
    inputs = drawn.to(torch.float64, device_of(row))
    leaves = {name: x.requires_grad_() for name, x in inputs.tensors().items()}

    def call(*values: Tensor) -> tuple[Tensor, Tensor]:
        return run(row, replace(inputs, **dict(zip(leaves, values, strict=True))))

    assert torch.autograd.gradcheck(call, tuple(leaves.values()))


def gradients(scan: Run[SsdInputs], inputs: SsdInputs) -> dict[str, Tensor]:
    """Return the gradient of a random combination of output and last state, by input."""
    leaves = {name: x.detach().clone().requires_grad_() for name, x in inputs.tensors().items()}
    found = scan(replace(inputs, **leaves), return_last_state=True)
    rng = torch.Generator().manual_seed(1)
    weights = [torch.randn(x.shape, generator=rng, dtype=x.dtype).to(x.device) for x in found]
    loss = sum((x * weight).sum() for x, weight in zip(found, weights, strict=True))
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
