"""The selective scan in pure PyTorch, vectorised over chunks of the sequence.

The recurrence of Mamba (arXiv 2312.00752, section 3.2; Euler input term ``delta * B * u`` as in
the reference code) in blocks of bounded size, so that what a block keeps stays in the cache at any
length and time is linear in it. A block is a few chunks that step at once: first from zero, for the
state each of them adds, then, those states joined one after the other, from the state it begins
with. Every decay is ``exp(A * sum(delta))`` over the steps it spans, the exponential of a
non-positive number. Nothing is divided by a cumulative decay: that quotient overflows as soon as a
chunk forgets.
"""

from dataclasses import replace
from math import isqrt
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from efficarch.scan.base import ScanInputs, ScanOutput, needs_gradients, skip_and_gate, step_sizes

# B batch, D channels, N state size, L length, G groups of channels that share B and C,
# P channels of one group, K chunks of one block, T steps of one chunk

CHUNK = 16
"""T, chosen with ``STATES`` by timing 8, 16 and 32 steps with half, once and twice as many states
on one CPU core (B=1, N=16, float32): fastest or within a fifth of it at every D from 64 to 2048."""

STATES = 2**15
"""Numbers in the states of the chunks that step at once. More leave the cache, with fewer the start
of an operation outweighs it; where one state has more than half as many, chunks step alone."""

SEQUENCES = 2**18
"""Numbers of each sequence that are prepared and finished at a time, to stay in the cache too."""


class _Block(NamedTuple):
    """Some steps of all inputs; the channels come last, where the arithmetic is contiguous."""

    delta: Tensor  # [T, B, G, K, 1, P]
    added: Tensor  # [T, B, G, K, 1, P], delta * u
    B: Tensor  # [T, B, G, K, N, 1]
    C: Tensor  # [T, B, G, K, 1, N]


class _Plan(NamedTuple):
    """What all blocks share; where autograd keeps what a block computes, no memory."""

    A: Tensor  # [G, 1, N, P]
    chunks: int  # K
    steps: int  # K * T
    decays: Tensor | None  # [T, B, G, K, N, P]
    states: Tensor | None  # [T, B, G, K, N, P]


def scan(inputs: ScanInputs, *, chunk: int = CHUNK, return_last_state: bool = False) -> ScanOutput:
    """Run the scan of ``inputs``, any length, differentiable.

    Computes in the dtype of ``u``, at least float32. Returns [B, D, L] in the dtype of ``u`` and,
    if asked, the last state [B, D, N] in the computing dtype. Without gradients it needs, beside
    the output once more, memory that does not grow with the length; with gradients autograd keeps
    O(B D N L), as for ``naive``.

    Raises:
        ValueError: ``chunk``, the number of steps in a chunk, is below 1.
    """
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}, expected at least 1 step")
    plan = _plan(inputs, chunk)
    state = inputs.A.new_zeros(len(inputs.u), *plan.A[:, 0].shape, dtype=plan.A.dtype)
    together = plan.steps * max(1, SEQUENCES // (plan.steps * len(inputs.u) * inputs.channels))
    outputs = []
    for start in range(0, inputs.length, together):
        part = _part(inputs, start, start + together)
        y, state = _scan_blocks(part, state, plan)
        outputs.append(skip_and_gate(part, y))
    out = torch.cat(outputs, dim=-1)  # [B, D, L]
    return (out, state.transpose(-1, -2).flatten(1, 2)) if return_last_state else out


def _plan(inputs: ScanInputs, chunk: int) -> _Plan:
    A = torch.unflatten(inputs.A.to(inputs.working_dtype), 0, (inputs.groups, -1))  # [G, P, N]
    A = A.transpose(1, 2)[:, None]  # [G, 1, N, P]
    batch, groups = len(inputs.u), inputs.groups
    chunks = min(max(1, STATES // (batch * A.numel())), 1 + isqrt(inputs.length - 1))
    decays = states = None
    if not needs_gradients(inputs.tensors()):
        decays, states = A.new_empty(2, chunk, batch, groups, chunks, *A.shape[2:])
    return _Plan(A, chunks, chunks * chunk, decays, states)


def _part(inputs: ScanInputs, start: int, stop: int) -> ScanInputs:
    """Return the inputs of some of the steps."""
    names = ("u", "delta", "B", "C") if inputs.z is None else ("u", "delta", "B", "C", "z")
    return replace(inputs, **{name: getattr(inputs, name)[..., start:stop] for name in names})


def _scan_blocks(inputs: ScanInputs, state: Tensor, plan: _Plan) -> tuple[Tensor, Tensor]:
    """Scan block after block from the state [B, G, N, P] before them.

    Returns the outputs [B, D, L] without skip and gate, and the state after them.
    """
    delta = step_sizes(inputs)  # [B, D, L]
    sequences = (
        torch.unflatten(delta, 1, (inputs.groups, -1)),  # [B, G, P, L]
        torch.unflatten(delta * inputs.u, 1, (inputs.groups, -1)),  # [B, G, P, L]
        inputs.grouped_B,
        inputs.grouped_C,
    )
    outputs = []
    for parts in zip(*(each.split(plan.steps, dim=-1) for each in sequences), strict=True):
        delta, added, B, C = (_in_chunks(part, plan.chunks) for part in parts)
        block = _Block(delta[..., None, :], added[..., None, :], B[..., None], C[..., None, :])
        y, state = _run(block, state, plan)
        outputs.append(y)
    return torch.cat(outputs, dim=-1)[..., : inputs.length], state


def _in_chunks(x: Tensor, chunks: int) -> Tensor:
    """Bring the step within its chunk to the front, [B, G, X, S] -> [T, B, G, K, X]."""
    # a step of size zero is the identity, so zeros at the end change no state; where none are added
    # this is a mere copy, since gathering one step of many channels from the whole length is slow
    x = F.pad(x, (0, -x.shape[-1] % chunks))
    return torch.unflatten(x, -1, (chunks, -1)).permute(4, 0, 1, 3, 2).contiguous()


def _run(block: _Block, state: Tensor, plan: _Plan) -> tuple[Tensor, Tensor]:
    """Scan one block from the state [B, G, N, P] before it.

    Returns its outputs [B, D, K * T] and the state after it [B, G, N, P].
    """
    steps = len(block.delta)
    decays = torch.mul(block.delta, plan.A, out=_first(plan.decays, steps)).exp_()
    added = torch.mul(block.B, block.added, out=_first(plan.states, steps))  # [T, B, G, K, N, P]
    starts = state[:, :, None]  # [B, G, K, N, P]
    if plan.chunks > 1:
        starts = _starts(block.delta.sum(0) * plan.A, decays, added, state)
    states = _recur(decays, added, starts, in_place=plan.states is not None)
    y = (block.C @ states).squeeze(-2).permute(1, 2, 4, 3, 0)  # [B, G, P, K, T]
    # a copy, for the next block overwrites the states
    return y.flatten(3).flatten(1, 2), states[-1, :, :, -1].clone()


def _first(memory: Tensor | None, steps: int) -> Tensor | None:
    return None if memory is None else memory[:steps]


def _starts(exponents: Tensor, decays: Tensor, added: Tensor, state: Tensor) -> Tensor:
    """Return the state that every chunk begins with, [B, G, K, N, P]."""
    ends = added[0]
    for decay_t, added_t in zip(decays[1:].unbind(0), added[1:].unbind(0), strict=True):
        ends = torch.addcmul(added_t, decay_t, ends)
    starts = [state]
    before_last = (torch.exp(exponents)[:, :, :-1].unbind(2), ends[:, :, :-1].unbind(2))
    for decay, end in zip(*before_last, strict=True):
        starts.append(torch.addcmul(end, decay, starts[-1]))  # [B, G, N, P]
    return torch.stack(starts, dim=2)


def _recur(decays: Tensor, added: Tensor, state: Tensor, *, in_place: bool) -> Tensor:
    """Step all chunks on from a state [B, G, K, N, P]; return it after each step, T first.

    ``in_place`` it takes the place of what was added.
    """
    states = []
    for decay_t, added_t in zip(decays.unbind(0), added.unbind(0), strict=True):
        state = torch.addcmul(added_t, decay_t, state, out=added_t if in_place else None)
        states.append(state)
    return added if in_place else torch.stack(states)
