"""SSD on fla-core's gated linear attention with one decay per head, in Triton.

With q = C, k = B, v = dt x and the logarithm of the gate g = dt A, the recurrence of its
``simple_gla``, ``S = exp(g) S + k v^T`` and ``o = q S``, is that of Mamba-2 (arXiv 2405.21060,
section 2.2). The package is imported when the scan first runs or when it is asked whether it can.
No GPU has run this backend yet; Triton's interpreter has run the forward kernels of 0.6.0.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from torch import Tensor

from efficarch.scan.base import ScanOutput
from efficarch.scan.kernel_packages import import_problem, no_cuda
from efficarch.scan.ssd.base import SsdInputs, skip_and_gate, step_sizes

# B batch, L length, H heads, P channels of a head, N state size, G groups of heads

ENTRY = "fla.ops.simple_gla"


def missing() -> str | None:
    """Say in one sentence why the kernels cannot run here and what to do, or nothing."""
    if find_spec("fla") is None:
        return "fla-core is not installed; pip install fla-core"
    return no_cuda() or _broken()


def scan(inputs: SsdInputs, *, return_last_state: bool = False) -> ScanOutput:
    """Run the scan of ``inputs`` on CUDA, any length.

    Gates are float32, the rest is in the dtype of ``x``. Returns [B, L, H, P] in the dtype of ``x``
    and, if asked, the last state [B, H, P, N] in float32.
    """
    kernels: Any = import_module(ENTRY)
    steps = step_sizes(inputs)  # [B, L, H]
    q, k = (_per_head(each, inputs) for each in (inputs.C, inputs.B))
    y, state = kernels.chunk_simple_gla(
        q=q,
        k=k,
        v=(steps[..., None] * inputs.x).to(inputs.x.dtype),  # [B, L, H, P]
        g=steps * inputs.A.to(steps.dtype),  # [B, L, H]
        scale=1.0,
        output_final_state=return_last_state,
    )
    out = skip_and_gate(inputs, y.to(steps.dtype))
    # theirs is [B, H, N, P]
    return (out, state.transpose(-1, -2)) if return_last_state else out


def _per_head(grouped: Tensor, inputs: SsdInputs) -> Tensor:
    """Repeat each group's row for its heads, [B, L, G, N] -> [B, L, H, N]."""
    return grouped.repeat_interleave(inputs.heads // inputs.groups, dim=2)


def _broken() -> str | None:
    reason = import_problem(ENTRY, "fla-core")
    return None if reason is None else f"fla-core is broken: {reason}"
