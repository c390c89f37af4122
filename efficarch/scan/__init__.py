"""Selective scan backends behind mamba-ssm's signature, and the causal attention they face."""

from torch import Tensor

from efficarch.scan.backends import BACKENDS, Backend, backend, choose
from efficarch.scan.base import (
    ScanInputs,
    ScanOutput,
    require_no_negative_step,
    synthetic_inputs,
)

__all__ = [
    "BACKENDS",
    "Backend",
    "ScanInputs",
    "ScanOutput",
    "backend",
    "choose",
    "selective_scan",
    "synthetic_inputs",
]


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    backend: str = "auto",
) -> ScanOutput:
    """Run the selective scan of Mamba (arXiv 2312.00752, section 3.2) on one backend.

    The signature is that of mamba-ssm's ``selective_scan_fn``, so that either can stand in for the
    other; this is why it has more than five parameters. ``ScanInputs`` gives shapes and dtypes.
    Deviations: A must be real, B and C must vary over the length, the last state carries gradients.
    ``auto`` is ``cpp`` on the CPU, and ``mamba_ssm`` or else ``triton`` on CUDA, where they can run
    and no gradients are asked for; else it is ``chunked``, and if that is because of what the
    machine lacks, one warning says so.

    NaN in the inputs comes out as NaN wherever it has an influence, and nowhere else. Steps below
    zero are looked for on the CPU alone, in one reading of ``delta`` and only without
    ``delta_softplus``: on CUDA the answer would hold up the caller. What the suites time calls a
    backend's ``run`` on ``ScanInputs`` and does not come through here.

    Returns:
        out [B, D, L] in the dtype of ``u``, with ``return_last_state`` also the state [B, D, N]
        after the last step in the same dtype, at least float32.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit together, or a step below zero.
        UnknownNameError: no backend has this name.
        EfficarchError: the backend named cannot take these inputs or cannot run here.
    """
    inputs = ScanInputs(u, delta, A, B, C, D, z, delta_bias, delta_softplus)
    require_no_negative_step(inputs)
    return choose(backend, inputs).run(inputs, return_last_state=return_last_state)
