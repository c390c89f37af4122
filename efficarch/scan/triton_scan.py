"""The selective scan in Triton: all chunks of the length at once, then joined.

The recurrence of Mamba (arXiv 2312.00752, section 3.2; Euler input term ``delta * B * u`` as in
the reference code), split as in ``chunked``: each chunk is scanned from zero for its end, the ends
are carried along, and each chunk is scanned again from the state it really starts with. The second
scan doubles the exponentials and lets one sequence fill a GPU; a length of one chunk needs only it.

No GPU has run the kernels yet. Their results are tested through Triton's interpreter, and that they
compile for a GPU is tested too; the constants below come from counting registers and warps, not
from timing.
"""

from importlib.util import find_spec

import torch
from torch import Tensor

from efficarch.scan.base import ScanInputs, ScanOutput
from efficarch.scan.kernel_packages import no_cuda

# B batch, D channels, N state size, L length, G groups of channels that share B and C,
# P channels of one group, K chunks

BLOCK = 32
"""Channels of one program: one a lane of a warp, which makes Triton's layouts of a step's vectors
and of the state agree, so that no data moves between lanes."""

STATES_PER_WARP = 64
"""Of one lane; the decay takes as many registers again, of the 255 there are."""

PROGRAMS = 4096
"""What fills a GPU of some 130 processors with 32 warps each; short chunks make up for narrow
inputs."""

SHORTEST_CHUNK = 256
"""Below this, what a chunk costs beside its steps begins to show."""


def missing() -> str | None:
    """Say in one sentence why the kernels cannot run here and what to do, or nothing."""
    if find_spec("triton") is None:
        return "triton is not installed; on Linux: pip install triton"
    from triton import knobs

    return None if knobs.runtime.interpret else no_cuda()


def scan(
    inputs: ScanInputs, *, chunk: int | None = None, return_last_state: bool = False
) -> ScanOutput:
    """Run the scan of ``inputs`` on CUDA, or anywhere in Triton's interpreter; any length.

    Computes in float32. Returns [B, D, L] in the dtype of ``u``, its channels adjoining in memory,
    and, if asked, the last state [B, D, N] in float32. Sequences that are not [B, L, D] in memory
    are copied into that order first, B and C always; the states of all chunks take B K D N floats.

    ``chunk`` is the number of steps in a chunk, by default as many as leave ``PROGRAMS`` programs.

    Raises:
        ValueError: ``chunk`` is below 1.
    """
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk is {chunk}, expected at least 1 step")
    # a program's launch goes to the current device, which need not be that of the inputs
    with torch.cuda.device_of(inputs.u):
        out, last = _launch(inputs, chunk)
    return (out, last) if return_last_state else out


def _launch(inputs: ScanInputs, chunk: int | None) -> tuple[Tensor, Tensor]:
    from efficarch.scan.triton_kernels import carry_kernel, ends_kernel, scan_kernel

    batch, length, state = inputs.u.shape[0], inputs.length, inputs.state
    width = inputs.channels // inputs.groups
    rows = batch * inputs.groups * -(-width // BLOCK)
    chunk = min(chunk or _chunk(rows, length), length)
    chunks = -(-length // chunk)

    u, delta = _steps_outside(inputs.u), _steps_outside(inputs.delta)  # [B, L, D]
    A = _parameter(inputs.A)  # [D, N]
    B, C = _steps_outside(inputs.grouped_B), _steps_outside(inputs.grouped_C)  # [B, G, L, N]
    bias = _parameter(inputs.delta_bias)  # [D]
    shape = {"groups": inputs.groups, "width": width, "state": state}
    states = 1 << (state - 1).bit_length()
    block = {"BLOCK": BLOCK, "STATES": states, "num_warps": max(1, states // STATES_PER_WARP)}

    starts = None
    if chunks > 1:
        starts = A.new_empty(batch, chunks, state, inputs.channels)
        elapsed = A.new_empty(batch, chunks, inputs.channels)
        ends_kernel[rows, chunks - 1](
            *(u, delta, A, B, bias, starts, elapsed, length, chunk, chunks),
            **shape,
            SOFTPLUS=inputs.delta_softplus,
            **block,
        )
        carry_kernel[rows,](A, starts, elapsed, chunks, **shape, **block)
    out = torch.empty_like(u)
    last = A.new_empty(batch, state, inputs.channels)
    skip, z = _parameter(inputs.D), None if inputs.z is None else _steps_outside(inputs.z)
    scan_kernel[rows, chunks](
        *(u, delta, A, B, C, skip, z, bias, starts, out, last, length, chunk, chunks),
        **shape,
        SOFTPLUS=inputs.delta_softplus,
        **block,
    )
    return out.transpose(1, 2), last.transpose(1, 2)


def _chunk(rows: int, length: int) -> int:
    """Return how many steps a program should take."""
    chunks = max(1, PROGRAMS // rows)
    return max(SHORTEST_CHUNK, -(-length // chunks))


def _steps_outside(x: Tensor) -> Tensor:  # [..., X, L] -> [..., L, X]
    return x.detach().transpose(-1, -2).contiguous()


def _parameter(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.detach().to(torch.float32).contiguous()
