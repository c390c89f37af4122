"""The selective scan in Triton: all chunks of the length at once, then joined.

The recurrence of Mamba (arXiv 2312.00752, section 3.2; Euler input term ``delta * B * u`` as in
the reference code), split as in ``chunked``: each chunk is scanned from zero for its end, the ends
are carried along, and each chunk is scanned again from the state it really starts with. The second
scan doubles the exponentials and lets one sequence fill a GPU; a length of one chunk needs only it.

No GPU has run the kernels yet. Their results are tested through Triton's interpreter, and that they
compile for a GPU is tested too; the constants below come from counting registers and warps, not
from timing.
"""

import os
from importlib.util import find_spec
from math import e, log2
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from efficarch.scan.base import ScanInputs, ScanOutput
from efficarch.scan.kernel_packages import no_cuda

# B batch, D channels, N state size, L length, G groups of channels that share B and C,
# P channels of one group, K chunks

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Whether Triton runs kernels in Python, for which a CPU will do; Triton's own switch."""

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
    reason = None if INTERPRETED else no_cuda()
    if reason is not None:
        return f"{reason}; TRITON_INTERPRET=1 runs it without, slowly, for tests"
    if find_spec("triton") is None:
        return "triton is not installed; on Linux: pip install 'efficarch[triton]'"
    return None


def scan(
    inputs: ScanInputs, *, chunk: int | None = None, return_last_state: bool = False
) -> ScanOutput:
    """Run the scan of ``inputs`` on CUDA, or anywhere in Triton's interpreter; any length.

    Computes in float32. Returns [B, D, L] in the dtype of ``u``, its channels adjoining in memory,
    and, if asked, the last state [B, D, N] in float32. Sequences that are not [B, L, D] in memory
    are copied into that order first, B and C always; the states of K chunks take B K D N floats.

    ``chunk`` is the number of steps in a chunk, by default as many as leave ``PROGRAMS`` programs.

    Raises:
        ValueError: ``chunk`` is below 1.
    """
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk is {chunk}, expected at least 1 step")
    batch, channels, length = inputs.u.shape
    rows = batch * inputs.groups * -(-(channels // inputs.groups) // BLOCK)
    chunk = min(chunk or _chunk(rows, length), length)
    chunks = -(-length // chunk)
    # kernels are launched on the current device, which need not be that of the inputs
    with torch.cuda.device_of(inputs.u):
        memory, settings = _laid_out(inputs), _settings(inputs, chunk)
        starts = None if chunks == 1 else _starts(memory, (rows, chunks), settings)
        out, last = _outputs(inputs, memory, starts, (rows, chunks), settings)
    return (out, last) if return_last_state else out


class _Memory(NamedTuple):
    """What every scan of a chunk reads, as the kernels want it."""

    u: Tensor  # [B, L, D]
    delta: Tensor  # [B, L, D]
    A: Tensor  # [N, D], times log2(e)
    B: Tensor  # [B, G, L, N]
    bias: Tensor | None  # [D]


def _laid_out(inputs: ScanInputs) -> _Memory:
    A = F.pad(_wide(inputs.A) * log2(e), (0, _padding(inputs)))  # [D, N]
    return _Memory(
        u=_channels_inside(inputs.u),
        delta=_channels_inside(inputs.delta),
        A=A.t().contiguous(),
        B=_padded(inputs, inputs.grouped_B),
        bias=None if inputs.delta_bias is None else _wide(inputs.delta_bias),
    )


def _settings(inputs: ScanInputs, chunk: int) -> dict[str, Any]:
    """Return the sizes and the compiler's options that the scans of chunks share."""
    states = inputs.state + _padding(inputs)
    return {
        "length": inputs.length,
        "chunk": chunk,
        "chunks": -(-inputs.length // chunk),
        "groups": inputs.groups,
        "width": inputs.channels // inputs.groups,
        "SOFTPLUS": inputs.delta_softplus,
        "BLOCK": BLOCK,
        "STATES": states,
        "num_warps": max(1, states // STATES_PER_WARP),
        # as in torch's own kernels; Triton is about to change its default
        "enable_fp_fusion": True,
    }


def _starts(memory: _Memory, grid: tuple[int, int], settings: dict[str, Any]) -> Tensor:
    """Return the states that the chunks start with, [B, K, N, D]."""
    from efficarch.scan.triton_kernels import carry_kernel, ends_kernel

    rows, chunks = grid
    batch, _, channels = memory.u.shape
    ends = memory.A.new_empty(batch, chunks, *memory.A.shape)  # [B, K, N, D]
    elapsed = memory.A.new_empty(batch, chunks, channels)  # [B, K, D]
    ends_kernel[rows, chunks - 1](*memory, ends, elapsed, **settings)
    alone = {name: settings[name] for name in settings if name not in _ONLY_SCANS}
    carry_kernel[rows, 1](memory.A, ends, elapsed, **alone)
    return ends


_ONLY_SCANS = ("length", "chunk", "SOFTPLUS")


def _outputs(
    inputs: ScanInputs,
    memory: _Memory,
    starts: Tensor | None,
    grid: tuple[int, int],
    settings: dict[str, Any],
) -> tuple[Tensor, Tensor]:
    """Return the output [B, D, L] and the last state [B, D, N]."""
    from efficarch.scan.triton_kernels import scan_kernel

    out = torch.empty_like(memory.u)  # [B, L, D]
    last = memory.A.new_empty(out.shape[0], *memory.A.shape)  # [B, N, D]
    scan_kernel[grid](
        *memory,
        _padded(inputs, inputs.grouped_C),
        None if inputs.D is None else _wide(inputs.D),
        None if inputs.z is None else _channels_inside(inputs.z),
        starts,
        out,
        last,
        **settings,
    )
    return out.transpose(1, 2), last[:, : inputs.state].transpose(1, 2)


def _chunk(rows: int, length: int) -> int:
    """Return how many steps a program should take where ``rows`` are needed at each."""
    return max(SHORTEST_CHUNK, -(-length // max(1, PROGRAMS // rows)))


def _padding(inputs: ScanInputs) -> int:
    """Return how many states are missing to a power of two."""
    return (1 << (inputs.state - 1).bit_length()) - inputs.state


def _channels_inside(x: Tensor) -> Tensor:  # [B, D, L] -> [B, L, D]
    return x.detach().transpose(1, 2).contiguous()


def _padded(inputs: ScanInputs, x: Tensor) -> Tensor:  # [B, G, N, L] -> [B, G, L, N]
    return F.pad(x.detach().transpose(2, 3), (0, _padding(inputs))).contiguous()


def _wide(parameter: Tensor) -> Tensor:  # [D] or [D, N]
    return parameter.detach().to(torch.float32).contiguous()
