"""The selective scan in pure PyTorch, vectorised over chunks of the sequence.

The recurrence of Mamba (arXiv 2312.00752, section 3.2; Euler input term ``delta * B * u`` as in
the reference code), reordered: a state is the decayed state its chunk began with plus what the
chunk itself added, so all chunks can step at once from zero and be joined afterwards. Every decay
is ``exp(A * sum(delta))`` over the steps it spans, the exponential of a non-positive number.
Nothing is divided by a cumulative decay: that quotient overflows as soon as a chunk forgets.
"""

from math import isqrt
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from efficarch.scan.base import ScanInputs, ScanOutput, skip_and_gate, step_sizes

# B batch, D channels, N state size, L length, G groups of channels that share B and C,
# P channels of one group, K chunks, T steps of one chunk


class _Chunks(NamedTuple):
    """The inputs step by step; the channels come last, where the arithmetic is contiguous."""

    elapsed: Tensor  # [T, B, G, K, 1, P], delta summed from the start of the chunk
    delta: Tensor  # [T, B, G, K, 1, P]
    added: Tensor  # [T, B, G, K, 1, P], delta * u
    A: Tensor  # [G, 1, N, P]
    B: Tensor  # [T, B, G, K, N, 1]
    C: Tensor  # [T, B, G, K, 1, N]


def scan(
    inputs: ScanInputs, *, chunk: int | None = None, return_last_state: bool = False
) -> ScanOutput:
    """Run the scan of ``inputs``, any length, differentiable.

    Computes in the dtype of ``u``, at least float32. Returns [B, D, L] in the dtype of ``u`` and,
    if asked, the last state [B, D, N] in the computing dtype. Without gradients its memory is
    O(B L (D + N) + B D N sqrt(L)); with gradients autograd keeps O(B D N L), as for ``naive``.

    ``chunk`` is the number of steps in a chunk, by default about sqrt(L): T steps then run on
    L / T chunks each, neither many small operations nor states too large for the cache. Chosen by
    timing a quarter, half, once, twice and four times that, interleaved, on 2 CPU cores (B=1,
    D=256, N=16, float32): fastest at every L tried from 512 to 16384, within a third of it at 64.

    Raises:
        ValueError: ``chunk`` is below 1.
    """
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk is {chunk}, expected at least 1 step")
    length = inputs.length
    chunks = _split(inputs, min(chunk or 1 + isqrt(length - 1), length))
    outputs, ends = _scan_from_zero(chunks)
    starts, last = _carry(chunks, ends)
    y = torch.stack(_add_carried(chunks, starts, outputs))  # [T, B, G, K, 1, P]
    y = y.squeeze(-2).permute(1, 2, 4, 3, 0)  # [B, G, P, K, T]
    out = skip_and_gate(inputs, y.flatten(3).flatten(1, 2)[..., :length])  # [B, D, L]
    if not return_last_state:
        return out
    return out, last.transpose(-1, -2).flatten(1, 2)


def _split(inputs: ScanInputs, chunk: int) -> _Chunks:
    delta = step_sizes(inputs)  # [B, D, L]
    added = delta * inputs.u.to(delta.dtype)  # [B, D, L]
    channels = (inputs.groups, -1)
    steps = _in_chunks(torch.unflatten(delta, 1, channels), chunk)[..., None, :]
    return _Chunks(
        elapsed=steps.cumsum(0),
        delta=steps,
        added=_in_chunks(torch.unflatten(added, 1, channels), chunk)[..., None, :],
        A=torch.unflatten(inputs.A.to(delta.dtype), 0, channels).transpose(1, 2)[:, None],
        B=_in_chunks(inputs.grouped_B, chunk)[..., None],
        C=_in_chunks(inputs.grouped_C, chunk)[..., None, :],
    )


def _in_chunks(x: Tensor, chunk: int) -> Tensor:
    """Cut the length and bring the step to the front, [B, G, X, L] -> [T, B, G, K, X]."""
    # a step of size zero is the identity, so zeros at the end change no state
    x = torch.unflatten(F.pad(x, (0, -x.shape[-1] % chunk)), -1, (-1, chunk))  # [B, G, X, K, T]
    return x.permute(4, 0, 1, 3, 2).contiguous()


def _scan_from_zero(chunks: _Chunks) -> tuple[list[Tensor], Tensor]:
    """Scan all chunks at once, each from a zero state.

    Returns T outputs [B, G, K, 1, P] and the states at the chunks' ends [B, G, K, N, P].
    """
    outputs = []
    state = chunks.B[0] * chunks.added[0]  # [B, G, K, N, P]
    outputs.append(chunks.C[0] @ state)
    later = (each[1:].unbind(0) for each in (chunks.delta, chunks.added, chunks.B, chunks.C))
    for delta_t, added_t, B_t, C_t in zip(*later, strict=True):
        decay = torch.exp(delta_t * chunks.A)  # [B, G, K, N, P]
        state = torch.addcmul(B_t * added_t, decay, state)
        outputs.append(C_t @ state)
    return outputs, state


def _carry(chunks: _Chunks, ends: Tensor) -> tuple[Tensor, Tensor]:
    """Return the state every chunk begins with [B, G, K, N, P] and the last one [B, G, N, P]."""
    decays = torch.exp(chunks.elapsed[-1] * chunks.A)  # [B, G, K, N, P]
    states = [torch.zeros_like(ends[:, :, 0])]
    for decay, end in zip(decays.unbind(2), ends.unbind(2), strict=True):
        states.append(torch.addcmul(end, decay, states[-1]))  # [B, G, N, P]
    return torch.stack(states[:-1], dim=2), states[-1]


def _add_carried(chunks: _Chunks, starts: Tensor, outputs: list[Tensor]) -> list[Tensor]:
    """Add what the chunks' first states still contribute at each step; T times [B, G, K, 1, P]."""
    if starts.shape[2] == 1:
        return outputs  # the only chunk begins with the zero state
    steps = zip(chunks.elapsed.unbind(0), chunks.C.unbind(0), outputs, strict=True)
    return [
        output + C_t @ (torch.exp(elapsed_t * chunks.A) * starts)
        for elapsed_t, C_t, output in steps
    ]
