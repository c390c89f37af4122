"""The fused multi-resolution scan, one step at a time: the oracle of every fused kernel.

With ``a_t = delta_t u_t``, a run of deferred tokens and the committing token e updates the state
once. What the state held decays exactly, the run's inputs by the half-octave `Ladder`:

    h <- exp(A span) h + sum over the run's tokens p of  ladder(since_p) a_p B'_p

    span = sum of delta over the run,   since_p = sum of delta after p, up to e

B' is B, or the run's mean of it where that is nearly the same (`shared_B`). A deferred token t
reads the state its run began with and the inputs of the run so far, and no state is written:

    y_t = C_t . (ladder(elapsed) h) + sum over pending p <= t of  C_t . (ladder(since_p) a_p B_p)

Everything is causal given the plan. Output then gets ``D u`` and ``silu(z)`` per token, exactly.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from efficarch.scan.base import ScanInputs, ScanOutput, skip_and_gate, step_sizes
from efficarch.scan.mrss.ladder import Ladder
from efficarch.scan.mrss.plan import MAX_RUN, Plan
from efficarch.scan.mrss.runs import shared_B

# B batch, D channels, N state size, L length, G groups of channels that share B and C


@dataclass(frozen=True)
class _Pending:
    """One token of the run so far; ``added`` is zero in rows that have committed it."""

    added: Tensor  # [B, D], delta * u
    B: Tensor  # [B, D, N]
    shared: Tensor  # [B, D, N], B at the commit
    since: Tensor  # [B, D], delta summed over the tokens after it


def scan(inputs: ScanInputs, plan: Plan, *, return_last_state: bool = False) -> ScanOutput:
    """Run the scan of ``inputs`` with the updates of ``plan.deferred`` [B, L] deferred.

    Computes in the dtype of ``u``, at least float32. Returns [B, D, L] in the dtype of ``u`` and,
    if asked, the last state [B, D, N] in the computing dtype.

    Raises:
        ValueError: the plan was made for inputs of another shape.
    """
    plan.check_matches(inputs.u.shape[0], inputs.length)
    delta = step_sizes(inputs)  # [B, D, L]
    added = delta * inputs.u.to(delta.dtype)  # [B, D, L]
    A = inputs.A.to(delta.dtype)  # [D, N]
    ladder = Ladder(A)
    B, C = inputs.grouped_B, inputs.grouped_C  # [B, G, N, L]
    shared = shared_B(B, plan)
    state = torch.zeros_like(A).expand(added.shape[0], -1, -1)  # [B, D, N]
    elapsed = torch.zeros_like(added[..., 0])  # [B, D], delta summed since the last commit
    pending: list[_Pending] = []
    outputs = []
    for t in range(inputs.length):
        deferred = plan.deferred[:, t, None]  # [B, 1]
        B_t, shared_t, C_t = (_per_channel(each[..., t], inputs) for each in (B, shared, C))
        elapsed = elapsed + delta[..., t]
        aged = [_Pending(p.added, p.B, p.shared, p.since + delta[..., t]) for p in pending]
        now = _Pending(added[..., t], B_t, shared_t, torch.zeros_like(elapsed))
        pending = [*aged, now][-MAX_RUN:]
        committed = torch.exp(elapsed[..., None] * A) * state  # [B, D, N]
        read = ladder.decays(elapsed) * state  # [B, D, N]
        for p in pending:
            left = ladder.decays(p.since) * p.added[..., None]  # [B, D, N]
            committed, read = committed + left * p.shared, read + left * p.B
        seen = torch.where(deferred[..., None], read, committed)
        outputs.append((C_t * seen).sum(-1))
        state = torch.where(deferred[..., None], state, committed)
        elapsed = elapsed * deferred
        pending = [_Pending(p.added * deferred, p.B, p.shared, p.since) for p in pending]
    out = skip_and_gate(inputs, torch.stack(outputs, dim=-1))  # [B, D, L]
    return (out, state) if return_last_state else out


def _per_channel(grouped: Tensor, inputs: ScanInputs) -> Tensor:
    """Repeat each group's row for its channels, [B, G, N] -> [B, D, N]."""
    return grouped.repeat_interleave(inputs.channels // inputs.groups, dim=1)
