"""The selective scan of the package mamba-ssm, the authors' own CUDA kernel.

Mamba, arXiv 2312.00752, section 3.3. The package is imported when the scan first runs or when it
is asked whether it can. No GPU has run this backend yet.
"""

from importlib import import_module
from typing import Any

import torch

from efficarch.scan.base import ScanInputs, ScanOutput
from efficarch.scan.kernel_packages import MAMBA_SSM, no_cuda, problem

# B batch, D channels, N state size, L length


def missing() -> str | None:
    """Say in one sentence why the kernel cannot run here and what to do, or nothing."""
    return problem(MAMBA_SSM) or no_cuda()


def scan(inputs: ScanInputs, *, return_last_state: bool = False) -> ScanOutput:
    """Run the scan of ``inputs`` on CUDA, any length.

    Computes in float32. Returns [B, D, L] in the dtype of ``u`` and, if asked, the last state
    [B, D, N] in float32. Sequences whose steps do not adjoin in memory are copied first, by the
    package. It has gradients but none of the last state, so none of it are used: training takes
    ``chunked``.
    """
    kernel: Any = import_module(MAMBA_SSM.entry)
    output: ScanOutput = kernel.selective_scan_fn(
        inputs.u,
        inputs.delta,
        inputs.A.to(torch.float32).contiguous(),
        inputs.B,
        inputs.C,
        D=_parameter(inputs.D),
        z=inputs.z,
        delta_bias=_parameter(inputs.delta_bias),
        delta_softplus=inputs.delta_softplus,
        return_last_state=return_last_state,
    )
    return output


def _parameter(vector: torch.Tensor | None) -> torch.Tensor | None:  # [D] -> [D]
    return None if vector is None else vector.to(torch.float32).contiguous()
