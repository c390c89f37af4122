"""The Triton kernels of the selective scan; importing this module needs Triton.

A program takes one block of channels of one sequence through one chunk of its length. Its state is
[N, BLOCK] in registers with the channels last: a lane then holds all states of its channels, their
sum needs no exchange between lanes, and a step's loads and stores are contiguous in memory. N is
padded to a power of two with zeros, which stay zero.
"""

from typing import Any

import triton
import triton.language as tl

# B batch, D channels, N state size, L length, G groups of channels that share B and C,
# P channels of one group, K chunks
#
# memory: u, delta, z, out [B, L, D]; B, C [B, G, L, N]; A [D, N]; skip, bias [D]; last [B, N, D];
# ends [B, K, N, D]; elapsed [B, K, D]
# registers: x[n] is [N, 1] or [N], x[d] is [1, BLOCK] or [BLOCK], x[n, d] is [N, BLOCK]


@triton.jit
def ends_kernel(
    u: Any,
    delta: Any,
    A: Any,
    B: Any,
    bias: Any,
    ends: Any,
    elapsed: Any,
    length: Any,
    chunk: Any,
    chunks: Any,
    groups: Any,
    width: Any,
    state: Any,
    SOFTPLUS: tl.constexpr,
    BLOCK: tl.constexpr,
    STATES: tl.constexpr,
) -> None:
    """Scan each chunk but the last from a zero state: its end, and its steps summed."""
    row, channel, here = _place(groups, width, BLOCK)
    n = tl.arange(0, STATES)
    each = (n[:, None] < state) & here[None, :]
    a = tl.load(A + channel[None, :] * state + n[:, None], mask=each, other=0.0)
    shift = _parameter(bias, channel, here)
    first = tl.program_id(1).to(tl.int64) * chunk
    at = (row // groups * length + first) * (groups * width)
    at_n = (row * length + first) * state
    h = tl.zeros([STATES, BLOCK], tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    for _ in range(chunk):
        step = _step_size(delta, at + channel, here, shift, SOFTPLUS)
        x = tl.load(u + at + channel, mask=here, other=0.0).to(tl.float32)
        b = tl.load(B + at_n + n, mask=n < state, other=0.0)
        h = tl.exp(step[None, :] * a) * h + b[:, None] * (step * x)[None, :]
        total += step
        at += groups * width
        at_n += state
    slot = row // groups * chunks + tl.program_id(1)
    tl.store(elapsed + slot * (groups * width) + channel, total, mask=here)
    slots = (slot * state + n[:, None]) * (groups * width) + channel[None, :]
    tl.store(ends + slots, h, mask=each)


@triton.jit
def carry_kernel(
    A: Any,
    ends: Any,
    elapsed: Any,
    chunks: Any,
    groups: Any,
    width: Any,
    state: Any,
    BLOCK: tl.constexpr,
    STATES: tl.constexpr,
) -> None:
    """Replace the end of each chunk scanned from zero by the state that the chunk starts with."""
    row, channel, here = _place(groups, width, BLOCK)
    n = tl.arange(0, STATES)
    each = (n[:, None] < state) & here[None, :]
    a = tl.load(A + channel[None, :] * state + n[:, None], mask=each, other=0.0)
    slot = row // groups * chunks
    h = tl.zeros([STATES, BLOCK], tl.float32)
    for _ in range(chunks - 1):
        slots = (slot * state + n[:, None]) * (groups * width) + channel[None, :]
        end = tl.load(ends + slots, mask=each, other=0.0)
        total = tl.load(elapsed + slot * (groups * width) + channel, mask=here, other=0.0)
        tl.store(ends + slots, h, mask=each)
        h = tl.exp(total[None, :] * a) * h + end
        slot += 1
    slots = (slot * state + n[:, None]) * (groups * width) + channel[None, :]
    tl.store(ends + slots, h, mask=each)


@triton.jit
def scan_kernel(
    u: Any,
    delta: Any,
    A: Any,
    B: Any,
    C: Any,
    skip: Any,
    z: Any,
    bias: Any,
    starts: Any,
    out: Any,
    last: Any,
    length: Any,
    chunk: Any,
    chunks: Any,
    groups: Any,
    width: Any,
    state: Any,
    SOFTPLUS: tl.constexpr,
    BLOCK: tl.constexpr,
    STATES: tl.constexpr,
) -> None:
    """Scan each chunk from the state it starts with: the outputs, and the state after the last."""
    row, channel, here = _place(groups, width, BLOCK)
    n = tl.arange(0, STATES)
    each = (n[:, None] < state) & here[None, :]
    a = tl.load(A + channel[None, :] * state + n[:, None], mask=each, other=0.0)
    shift, through = _parameter(bias, channel, here), _parameter(skip, channel, here)
    first = tl.program_id(1).to(tl.int64) * chunk
    at = (row // groups * length + first) * (groups * width)
    at_n = (row * length + first) * state
    if starts is None:
        h = tl.zeros([STATES, BLOCK], tl.float32)
    else:
        slot = row // groups * chunks + tl.program_id(1)
        slots = (slot * state + n[:, None]) * (groups * width) + channel[None, :]
        h = tl.load(starts + slots, mask=each, other=0.0)
    for _ in range(tl.minimum(chunk, length - first)):
        step = _step_size(delta, at + channel, here, shift, SOFTPLUS)
        x = tl.load(u + at + channel, mask=here, other=0.0).to(tl.float32)
        b = tl.load(B + at_n + n, mask=n < state, other=0.0)
        c = tl.load(C + at_n + n, mask=n < state, other=0.0)
        h = tl.exp(step[None, :] * a) * h + b[:, None] * (step * x)[None, :]
        y = tl.sum(c[:, None] * h, axis=0) + through * x
        if z is not None:
            gate = tl.load(z + at + channel, mask=here, other=0.0).to(tl.float32)
            y *= gate * tl.sigmoid(gate)
        tl.store(out + at + channel, y.to(out.dtype.element_ty), mask=here)
        at += groups * width
        at_n += state
    if tl.program_id(1) == chunks - 1:
        slots = (row // groups * state + n[:, None]) * (groups * width) + channel[None, :]
        tl.store(last + slots, h, mask=each)


@triton.jit
def _place(groups: Any, width: Any, BLOCK: tl.constexpr) -> Any:
    """Return which of the B * G sequences is this program's, its channels and which are there."""
    blocks = tl.cdiv(width, BLOCK)
    row = tl.program_id(0) // blocks
    inside = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    return row.to(tl.int64), row % groups * width + inside, inside < width


@triton.jit
def _parameter(values: Any, channel: Any, here: Any) -> Any:
    """Return a layer's parameter per channel, zero where the layer has none."""
    if values is None:
        return tl.zeros_like(channel).to(tl.float32)
    else:  # noqa: RET505 - Triton compiles both branches but the one that cannot be taken
        return tl.load(values + channel, mask=here, other=0.0)


@triton.jit
def _step_size(delta: Any, at: Any, here: Any, shift: Any, SOFTPLUS: tl.constexpr) -> Any:
    """Return delta after its bias and softplus, [BLOCK]."""
    step = tl.load(delta + at, mask=here, other=0.0).to(tl.float32) + shift
    if SOFTPLUS:
        # max(x, 0) + log(1 + e^-|x|); the quotient gives back what rounding takes from 1 + e
        # (Kahan), without which a step of 1e-3 would be off by 1e-4 of itself
        e = tl.exp(-tl.abs(step))
        sum_ = 1.0 + e
        log1p = tl.where(sum_ == 1.0, e, tl.log(sum_) * (e / (sum_ - 1.0)))
        step = tl.where(step > 0.0, step, 0.0) + log1p
    return step
