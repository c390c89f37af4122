"""The scan of Mamba-2 (state space duality, SSD) behind the shapes of mamba-ssm."""

from torch import Tensor

from efficarch.scan.base import ScanOutput
from efficarch.scan.ssd.backends import SSD_BACKENDS, SsdBackend, choose, ssd_backend
from efficarch.scan.ssd.base import SsdInputs, require_no_negative_step, synthetic_inputs

__all__ = [
    "SSD_BACKENDS",
    "SsdBackend",
    "SsdInputs",
    "choose",
    "ssd",
    "ssd_backend",
    "synthetic_inputs",
]


def ssd(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    return_final_states: bool = False,
    backend: str = "auto",
) -> ScanOutput:
    """Run the scan of Mamba-2 (arXiv 2405.21060, section 6) on one backend.

    Shapes and names are those of mamba-ssm's ``mamba_chunk_scan_combined``, without its chunk size:
    a chunk is a backend's own matter. ``SsdInputs`` gives shapes and dtypes. Deviations: the state
    begins at zero, D has one entry per head, the final state carries gradients.

    Returns:
        out [B, L, H, P] in the dtype of ``x``, with ``return_final_states`` also the state
        [B, H, P, N] after the last step in the same dtype, at least float32.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit together, or a step below zero.
        UnknownNameError: no backend has this name.
        EfficarchError: the backend named cannot take these inputs or cannot run here.
    """
    inputs = SsdInputs(x, dt, A, B, C, D, z, dt_bias, dt_softplus)
    require_no_negative_step(inputs)
    return choose(backend, inputs).run(inputs, return_last_state=return_final_states)
