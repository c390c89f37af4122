"""Selective scans with one mistake each, of the kinds that are made; the tests have to see them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from efficarch.scan import Backend, ScanInputs, naive
from efficarch.scan.base import ScanOutput, skip_and_gate, step_sizes

# B batch, D channels, N state size, L length

Change = Callable[[ScanInputs], ScanInputs]


@dataclass(frozen=True)
class Loop:
    """The scan one step at a time, with a hook at each place where it can go wrong."""

    decay: Callable[[Tensor, Tensor], Tensor] = lambda delta, A: torch.exp(delta * A)
    added: Callable[[Tensor, Tensor], Tensor] = lambda delta, A: delta + 0 * A
    emits_first: bool = False

    def __call__(self, inputs: ScanInputs, *, return_last_state: bool = False) -> ScanOutput:
        """Run the scan; what is called for each step gets delta [B, D, 1] and A [D, N]."""
        delta, u = step_sizes(inputs)[:, :, None], inputs.u[:, :, None]  # [B, D, 1, L]
        A, per_group = inputs.A, inputs.channels // inputs.groups
        B, C = (  # [B, D, N, L]
            x.repeat_interleave(per_group, dim=1) for x in (inputs.grouped_B, inputs.grouped_C)
        )
        state = torch.zeros(*u.shape[:2], inputs.state)  # [B, D, N]
        outputs = []
        for t in range(inputs.length):
            before = state
            decay, size = self.decay(delta[..., t], A), self.added(delta[..., t], A)
            state = decay * state + size * B[..., t] * u[..., t]
            outputs.append(((before if self.emits_first else state) * C[..., t]).sum(-1))
        out = skip_and_gate(inputs, torch.stack(outputs, -1))
        return (out, state) if return_last_state else out


def after(change: Change) -> Backend:
    """Return the oracle on changed inputs."""
    return backend(
        lambda inputs, return_last_state=False: naive.scan(
            change(inputs), return_last_state=return_last_state
        )
    )


def spoiling(output: Callable[[Tensor], Tensor], state: Callable[[Tensor], Tensor]) -> Backend:
    """Return the oracle with its output or its last state changed."""

    def scan(inputs: ScanInputs, *, return_last_state: bool = False) -> ScanOutput:
        out, last = naive.scan(inputs, return_last_state=True)
        return (output(out), state(last)) if return_last_state else output(out)

    return backend(scan)


def backend(run: Callable[..., ScanOutput]) -> Backend:
    """Return a row of the table."""
    return Backend("mutant", run, "a scan with a mistake", "this test")


def same(x: Tensor) -> Tensor:
    """Change nothing."""
    return x


def first_group(inputs: ScanInputs) -> ScanInputs:
    """Give every channel the B and C of the first group."""
    return replace(inputs, B=inputs.B[:, :1], C=inputs.C[:, :1])


def interleaved_groups(inputs: ScanInputs) -> ScanInputs:
    """Deal the channels out to the groups in turn instead of in runs."""
    order = torch.arange(inputs.channels).remainder(inputs.groups)
    B, C = inputs.B[:, order], inputs.C[:, order]
    return replace(inputs, B=B, C=C)


def as_if_contiguous(inputs: ScanInputs) -> ScanInputs:
    """Read the memory of u as if steps adjoined."""
    return replace(inputs, u=inputs.u.as_strided(inputs.u.shape, inputs.u[:].contiguous().stride()))


def bias_last(inputs: ScanInputs) -> ScanInputs:
    """Add the bias after the softplus."""
    delta = torch.nn.functional.softplus(inputs.delta) if inputs.delta_softplus else inputs.delta
    return replace(inputs, delta=delta, delta_softplus=False)


def rounded(inputs: ScanInputs) -> ScanInputs:
    """Round the projections to bfloat16."""
    return replace(inputs, B=inputs.B.bfloat16().to(inputs.B), C=inputs.C.bfloat16().to(inputs.C))


def shifted(name: str) -> Change:
    """Take a tensor one step late."""
    return lambda inputs: replace(inputs, **{name: getattr(inputs, name).roll(1, -1)})


def without(name: str, value: object = None) -> Change:
    """Leave an option out."""
    return lambda inputs: replace(inputs, **{name: value})


def last_changed(x: Tensor, *, axis: int, block: int) -> Tensor:
    """Drop what does not fill a block along an axis."""
    x = x.clone()
    x.narrow(axis, x.shape[axis] // block * block, x.shape[axis] % block).zero_()
    return x


MUTANTS: dict[str, Backend] = {
    "decay too fast by 1 %": after(lambda inputs: replace(inputs, A=1.01 * inputs.A)),
    "decay of base 2": backend(Loop(decay=lambda delta, A: torch.exp2(delta * A))),
    "decay to first order": backend(Loop(decay=lambda delta, A: 1 + delta * A)),
    "decay without the step": backend(Loop(decay=lambda delta, A: torch.exp(A + 0 * delta))),
    "zero-order hold for the input": backend(
        Loop(added=lambda delta, A: torch.expm1(delta * A) / A)
    ),
    "input without the step": backend(Loop(added=lambda delta, A: torch.ones_like(delta * A))),
    "output before the update": backend(Loop(emits_first=True)),
    "delta one step late": after(shifted("delta")),
    "u one step late": after(shifted("u")),
    "B one step late": after(shifted("B")),
    "C one step late": after(shifted("C")),
    "first group for all": after(first_group),
    "groups interleaved": after(interleaved_groups),
    "strides ignored": after(as_if_contiguous),
    "bias after the softplus": after(bias_last),
    "no bias": after(without("delta_bias")),
    "no softplus": after(without("delta_softplus", False)),
    "always softplus": after(without("delta_softplus", True)),
    "no skip": after(without("D")),
    "no gate": after(without("z")),
    "projections rounded": after(rounded),
    "last steps of a chunk dropped": spoiling(lambda x: last_changed(x, axis=-1, block=64), same),
    "last channels dropped": spoiling(lambda x: last_changed(x, axis=1, block=8), same),
    "last state transposed": spoiling(same, lambda x: x.transpose(1, 2)),
    "last state in half precision": spoiling(same, lambda x: x.bfloat16().float()),
    "last state of zeros": spoiling(same, torch.zeros_like),
    "NaN": spoiling(lambda x: x * torch.nan, same),
    "one NaN": spoiling(lambda x: torch.cat([x[..., :-1], x[..., -1:] * torch.nan], -1), same),
    "state where none was asked for": backend(
        lambda inputs, return_last_state=False: naive.scan(inputs, return_last_state=True)
    ),
}
