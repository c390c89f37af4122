"""SSD of the package mamba-ssm, the authors' own Triton kernels.

Mamba-2, arXiv 2405.21060, section 6. The package is imported when the scan first runs or when it is
asked whether it can. No GPU has run this backend yet; Triton's interpreter has run the kernels of
2.3.2.
"""

from importlib import import_module
from typing import Any

from torch import Tensor

from efficarch.scan.base import ScanOutput
from efficarch.scan.kernel_packages import MAMBA_SSM, no_cuda, problem
from efficarch.scan.ssd.base import SsdInputs

# B batch, L length, H heads, P channels of a head, N state size

ENTRY = "mamba_ssm.ops.triton.ssd_combined"

CHUNK = 256
"""Steps of a chunk, as in the authors' layer."""


def missing() -> str | None:
    """Say in one sentence why the kernels cannot run here and what to do, or nothing."""
    return problem(MAMBA_SSM) or no_cuda()


def scan(inputs: SsdInputs, *, return_last_state: bool = False) -> ScanOutput:
    """Run the scan of ``inputs`` on CUDA, any length.

    Products are in the dtype of ``x``, sums in float32. Returns [B, L, H, P] in the dtype of ``x``
    and, if asked, the last state [B, H, P, N] in float32.
    """
    kernels: Any = import_module(ENTRY)
    output: ScanOutput = kernels.mamba_chunk_scan_combined(
        inputs.x,
        inputs.dt,
        inputs.A.float(),
        inputs.B,
        inputs.C,
        chunk_size=CHUNK,
        D=_parameter(inputs.D),
        z=inputs.z,
        dt_bias=_parameter(inputs.dt_bias),
        dt_softplus=inputs.dt_softplus,
        return_final_states=return_last_state,
    )
    if isinstance(output, Tensor):
        return output
    out, state = output
    return out, state.float()


def _parameter(vector: Tensor | None) -> Tensor | None:  # [H] -> [H]
    return None if vector is None else vector.float()
