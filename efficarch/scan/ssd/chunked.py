"""SSD in pure PyTorch: matrix products within a chunk, a state from one chunk to the next.

Mamba-2, arXiv 2405.21060, section 6: within a chunk the scan is masked attention,
``y = (C B^T * decays) (dt x)``, and what came before enters through one state. Every decay is the
exponential of a sum of ``dt * A`` over the steps it spans, each summed on its own: no quotient of
cumulative decays, which overflows, and no difference of cumulative sums, which cancels next to a
step that forgets everything.
"""

import torch
from torch import Tensor

from efficarch.scan.base import ScanOutput
from efficarch.scan.ssd.base import SsdInputs, skip_and_gate, step_sizes

# B batch, L length, H heads, P channels of a head, N state size, G groups of heads, R heads of one
# group, T steps of one chunk

CHUNK = 64
"""Steps of a chunk. Timed with 32, 64, 96, 128 and 256 on 2 CPU cores (H=24, P=64, N=128, L=512 and
2048, float32): 32 is slow at the shorter length, from 128 on the work within a chunk shows."""


def scan(inputs: SsdInputs, *, return_last_state: bool = False) -> ScanOutput:
    """Run the scan of ``inputs``, any length, differentiable.

    Computes in the dtype of ``x``, at least float32. Returns [B, L, H, P] in the dtype of ``x``
    and, if asked, the last state [B, H, P, N] in the computing dtype. One chunk is worked on at a
    time: without gradients its memory is O(B L H P + B H T T + B H P N); autograd keeps O(B H L T).

    A NaN spreads over all steps of its chunk, the earlier ones too: products with a zero decay are
    NaN. Infinite inputs do the same.
    """
    steps = step_sizes(inputs)  # [B, L, H]
    dtype, groups = steps.dtype, inputs.groups
    logs = _grouped(steps * inputs.A.to(dtype), groups)  # [B, G, R, L], logarithms of decays
    added = steps[..., None] * inputs.x.to(dtype)  # [B, L, H, P]
    added = torch.unflatten(added, 2, (groups, -1)).permute(0, 2, 3, 1, 4)  # [B, G, R, L, P]
    B, C = (each.to(dtype).transpose(1, 2) for each in (inputs.B, inputs.C))  # [B, G, L, N]
    width = added.shape[2] * inputs.head_dim
    state = added.new_zeros(*B.shape[:2], inputs.state, width)  # [B, G, N, R P]
    outputs = []
    for start in range(0, inputs.length, CHUNK):
        span = slice(start, start + CHUNK)
        y, state = _chunk(
            logs[..., span], added[..., span, :], (B[:, :, span], C[:, :, span]), state
        )
        outputs.append(y)
    y = torch.cat(outputs, dim=1).reshape(inputs.x.shape)  # [B, L, H, P]
    out = skip_and_gate(inputs, y)
    if not return_last_state:
        return out
    return out, state.transpose(-1, -2).reshape(*out.shape[:1], *out.shape[2:], inputs.state)


def _grouped(per_head: Tensor, groups: int) -> Tensor:  # [B, L, H] -> [B, G, R, L]
    return torch.unflatten(per_head, 2, (groups, -1)).permute(0, 2, 3, 1)


def _chunk(
    logs: Tensor, added: Tensor, projections: tuple[Tensor, Tensor], state: Tensor
) -> tuple[Tensor, Tensor]:
    """Run the steps of one chunk from a state.

    Args:
        logs: ``dt * A``, [B, G, R, T].
        added: ``dt * x``, [B, G, R, T, P].
        projections: B and C, [B, G, T, N] each.
        state: [B, G, N, R P]

    Returns:
        y [B, T, G, R, P] and the state after the chunk [B, G, N, R P].
    """
    B, C = projections
    decays = _decays(logs)  # [B, G, R, T, T]
    scores = (C @ B.transpose(-1, -2))[:, :, None]  # [B, G, 1, T, T]
    within = ((scores * decays) @ added).permute(0, 3, 1, 2, 4)  # [B, T, G, R, P]

    since_start = torch.exp(logs.cumsum(-1)).permute(0, 3, 1, 2)[..., None]  # [B, T, G, R, 1]
    carried = (C @ state).transpose(1, 2).reshape(within.shape)  # [B, T, G, R, P]
    y = torch.addcmul(within, carried, since_start)

    until_end = decays[..., -1, :, None]  # [B, G, R, T, 1]
    left = (added * until_end).transpose(2, 3).flatten(3)  # [B, G, T, R P]
    through = since_start[:, -1].expand_as(within[:, -1]).flatten(2)[:, :, None]  # [B, G, 1, R P]
    return y, torch.addcmul(B.transpose(-1, -2) @ left, through, state)


def _decays(logs: Tensor) -> Tensor:
    """Return the decay from each step to each later one, 0 to earlier ones; [.., T] -> [.., T, T].

    Entry (i, j) is ``exp(logs[j + 1] + ... + logs[i])``, summed from j on.
    """
    length = logs.shape[-1]
    after = torch.ones(length, length, dtype=torch.bool, device=logs.device).tril(-1)
    terms = logs[..., :, None].expand(*logs.shape, length).tril(-1)  # [.., T, T]
    sums = terms.cumsum(-2)
    return torch.exp(sums.masked_fill(after.mT, -torch.inf))
