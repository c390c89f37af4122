"""The Triton kernels of the selective scan; importing this module needs Triton.

A program takes one block of channels of one sequence through one chunk of its length. Its state is
[N, BLOCK] in registers with the channels last, as everything is in memory: a lane then holds all
states of its channel, their sum needs no exchange between lanes, and what a step loads and stores
adjoins. N is padded to a power of two with zeros, which stay zero. A comes multiplied by log2(e),
since a GPU's own exponential is that of base two.

Triton compiles annotations too and refuses names that it does not know, so parameters have none but
for those that are fixed at compilation.
"""

import triton
import triton.language as tl

# B batch, D channels, N state size padded to STATES, L length, G groups of channels that share B
# and C, P (width) channels of one group, K chunks
#
# in memory: u, delta, z, out [B, L, D]; B, C [B, G, L, N]; A [N, D]; skip, bias [D];
# ends, starts [B, K, N, D]; elapsed [B, K, D]; last [B, N, D]


@triton.jit
def ends_kernel(
    u,
    delta,
    A,
    B,
    bias,
    ends,
    elapsed,
    length,
    chunk,
    chunks,
    groups,
    width,
    SOFTPLUS: tl.constexpr,
    BLOCK: tl.constexpr,
    STATES: tl.constexpr,
):
    """Scan each chunk but the last from a zero state: its end, and its steps summed."""
    row, channel, here = _place(groups, width, BLOCK)
    n = tl.arange(0, STATES)
    states = n[:, None] * (groups * width) + channel[None, :]
    a = tl.load(A + states, mask=here[None, :], other=0.0)
    shift = _parameter(bias, channel, here)
    first = tl.program_id(1).to(tl.int64) * chunk
    at = (row // groups * length + first) * (groups * width)
    at_n = (row * length + first) * STATES
    h = tl.zeros([STATES, BLOCK], tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    for _ in range(chunk):
        step = _step_size(delta, at + channel, here, shift, SOFTPLUS)
        x = tl.load(u + at + channel, mask=here, other=0.0).to(tl.float32)
        b = tl.load(B + at_n + n)
        h = tl.exp2(step[None, :] * a) * h + b[:, None] * (step * x)[None, :]
        total += step
        at += groups * width
        at_n += STATES
    slot = row // groups * chunks + tl.program_id(1)
    tl.store(elapsed + slot * (groups * width) + channel, total, mask=here)
    tl.store(ends + slot * (STATES * groups * width) + states, h, mask=here[None, :])


@triton.jit
def carry_kernel(
    A,
    ends,
    elapsed,
    chunks,
    groups,
    width,
    BLOCK: tl.constexpr,
    STATES: tl.constexpr,
):
    """Replace the end of each chunk scanned from zero by the state that the chunk starts with."""
    row, channel, here = _place(groups, width, BLOCK)
    n = tl.arange(0, STATES)
    states = n[:, None] * (groups * width) + channel[None, :]
    a = tl.load(A + states, mask=here[None, :], other=0.0)
    slot = row // groups * chunks
    h = tl.zeros([STATES, BLOCK], tl.float32)
    for _ in range(chunks - 1):
        at = slot * (STATES * groups * width)
        end = tl.load(ends + at + states, mask=here[None, :], other=0.0)
        total = tl.load(elapsed + slot * (groups * width) + channel, mask=here, other=0.0)
        tl.store(ends + at + states, h, mask=here[None, :])
        h = tl.exp2(total[None, :] * a) * h + end
        slot += 1
    tl.store(ends + slot * (STATES * groups * width) + states, h, mask=here[None, :])


@triton.jit
def scan_kernel(
    u,
    delta,
    A,
    B,
    bias,
    C,
    skip,
    z,
    starts,
    out,
    last,
    length,
    chunk,
    chunks,
    groups,
    width,
    SOFTPLUS: tl.constexpr,
    BLOCK: tl.constexpr,
    STATES: tl.constexpr,
):
    """Scan each chunk from the state it starts with: the outputs, and the state after the last."""
    row, channel, here = _place(groups, width, BLOCK)
    n = tl.arange(0, STATES)
    states = n[:, None] * (groups * width) + channel[None, :]
    a = tl.load(A + states, mask=here[None, :], other=0.0)
    shift, through = _parameter(bias, channel, here), _parameter(skip, channel, here)
    first = tl.program_id(1).to(tl.int64) * chunk
    at = (row // groups * length + first) * (groups * width)
    at_n = (row * length + first) * STATES
    if starts is None:
        h = tl.zeros([STATES, BLOCK], tl.float32)
    else:
        slot = row // groups * chunks + tl.program_id(1)
        at_start = slot * (STATES * groups * width)
        h = tl.load(starts + at_start + states, mask=here[None, :], other=0.0)
    for _ in range(tl.minimum(chunk, length - first)):
        step = _step_size(delta, at + channel, here, shift, SOFTPLUS)
        x = tl.load(u + at + channel, mask=here, other=0.0).to(tl.float32)
        b = tl.load(B + at_n + n)
        c = tl.load(C + at_n + n)
        h = tl.exp2(step[None, :] * a) * h + b[:, None] * (step * x)[None, :]
        y = tl.sum(c[:, None] * h, axis=0) + through * x
        if z is not None:
            gate = tl.load(z + at + channel, mask=here, other=0.0).to(tl.float32)
            y *= gate / (1.0 + tl.exp(-gate))
        tl.store(out + at + channel, y.to(out.dtype.element_ty), mask=here)
        at += groups * width
        at_n += STATES
    if tl.program_id(1) == chunks - 1:
        at_last = row // groups * (STATES * groups * width)
        tl.store(last + at_last + states, h, mask=here[None, :])


@triton.jit
def _place(groups, width, BLOCK: tl.constexpr):
    """Return which of the B * G sequences is this program's, its channels and which are there."""
    blocks = tl.cdiv(width, BLOCK)
    row = tl.program_id(0) // blocks
    inside = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    return row.to(tl.int64), row % groups * width + inside, inside < width


@triton.jit
def _parameter(values, channel, here):
    """Return a layer's parameter per channel, zero where the layer has none."""
    none = tl.zeros_like(channel).to(tl.float32)
    return none if values is None else tl.load(values + channel, mask=here, other=0.0)


@triton.jit
def _step_size(delta, at, here, shift, SOFTPLUS: tl.constexpr):
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
