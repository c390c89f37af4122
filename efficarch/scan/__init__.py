"""Selective scan backends behind mamba-ssm's signature, and the causal attention they face."""

from torch import Tensor

from efficarch.scan.backends import BACKENDS, Backend, backend, choose
from efficarch.scan.base import ScanInputs, ScanOutput, synthetic_inputs

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

    Returns:
        out [B, D, L] in the dtype of ``u``, with ``return_last_state`` also the state [B, D, N]
        after the last step in the same dtype, at least float32.

    Raises:
        ValueError: shapes that do not fit together.
        UnknownNameError: no backend has this name.
        EfficarchError: the backend named cannot take these inputs or cannot run here.
    """
    inputs = ScanInputs(u, delta, A, B, C, D, z, delta_bias, delta_softplus)
    return choose(backend, inputs).run(inputs, return_last_state=return_last_state)
