"""The selective scan one step at a time: the oracle that every other backend is compared with.

Mamba, arXiv 2312.00752, equation 2a with the decay of equation 4; the input term is Euler's,
``delta * B * u``, as in the reference code. Written to be obviously right, not fast.
"""

import torch
from torch import Tensor

from efficarch.scan.base import ScanInputs, ScanOutput, skip_and_gate, step_sizes

# B batch, D channels, N state size, L length, G groups of channels that share B and C


def scan(inputs: ScanInputs, *, return_last_state: bool = False) -> ScanOutput:
    """Run ``h = exp(delta A) h + delta B u``, ``y = C h + D u``, gated by ``silu(z)``.

    Computes in the dtype of ``u``, at least float32; float64 inputs make it the oracle. Returns
    [B, D, L] in the dtype of ``u`` and, if asked, the last state [B, D, N] in the computing dtype.
    """
    delta = step_sizes(inputs)  # [B, D, L]
    u = inputs.u.to(delta.dtype)  # [B, D, L]
    A = inputs.A.to(delta.dtype)  # [D, N]
    state = torch.zeros_like(A).expand(u.shape[0], -1, -1)  # [B, D, N]
    outputs = []
    steps = (each.unbind(-1) for each in (delta, u, inputs.grouped_B, inputs.grouped_C))
    for delta_t, u_t, B_t, C_t in zip(*steps, strict=True):
        B_t, C_t = _per_channel(B_t, inputs), _per_channel(C_t, inputs)  # [B, D, N]
        decay = torch.exp(delta_t[..., None] * A)  # [B, D, N]
        state = decay * state + (delta_t * u_t)[..., None] * B_t
        outputs.append((C_t * state).sum(-1))
    out = skip_and_gate(inputs, torch.stack(outputs, dim=-1))  # [B, D, L]
    return (out, state) if return_last_state else out


def _per_channel(grouped: Tensor, inputs: ScanInputs) -> Tensor:
    """Repeat each group's row for its channels, [B, G, N] -> [B, D, N]."""
    return grouped.repeat_interleave(inputs.channels // inputs.groups, dim=1)
