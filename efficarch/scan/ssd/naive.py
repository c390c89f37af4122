"""SSD one step at a time: the oracle that every other SSD backend is compared with.

Mamba-2, arXiv 2405.21060, section 2.2, one decay per head; the input term is Euler's,
``dt * B * x``, as in the reference code. Written to be obviously right, not fast.
"""

import torch
from torch import Tensor

from efficarch.scan.base import ScanOutput
from efficarch.scan.ssd.base import SsdInputs, skip_and_gate, step_sizes

# B batch, L length, H heads, P channels of a head, N state size, G groups of heads


def scan(inputs: SsdInputs, *, return_last_state: bool = False) -> ScanOutput:
    """Run ``h = exp(dt A) h + dt x B``, ``y = h C + D x``, gated by ``silu(z)``.

    Computes in the dtype of ``x``, at least float32; float64 inputs make it the oracle. Returns
    [B, L, H, P] in the dtype of ``x`` and, if asked, the last state [B, H, P, N] in the computing
    dtype.
    """
    steps = step_sizes(inputs)  # [B, L, H]
    x = inputs.x.to(steps.dtype)  # [B, L, H, P]
    A = inputs.A.to(steps.dtype)  # [H]
    batch, _, heads, width = x.shape
    state = x.new_zeros(batch, heads, width, inputs.state)  # [B, H, P, N]
    outputs = []
    for step in range(inputs.length):
        B, C = (_per_head(each[:, step], inputs) for each in (inputs.B, inputs.C))  # [B, H, N]
        dt = steps[:, step]  # [B, H]
        decay = torch.exp(dt * A)[..., None, None]  # [B, H, 1, 1]
        state = decay * state + (dt[..., None] * x[:, step])[..., None] * B[:, :, None]
        outputs.append((state * C[:, :, None]).sum(-1))
    out = skip_and_gate(inputs, torch.stack(outputs, dim=1))  # [B, L, H, P]
    return (out, state) if return_last_state else out


def _per_head(grouped: Tensor, inputs: SsdInputs) -> Tensor:
    """Repeat each group's row for its heads, [B, G, N] -> [B, H, N] in the computing dtype."""
    rows = grouped.repeat_interleave(inputs.heads // inputs.groups, dim=1)
    return rows.to(inputs.working_dtype)
