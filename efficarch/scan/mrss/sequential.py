"""The fused multi-resolution scan, one step at a time: the oracle of every fused kernel.

With ``a_t = delta_t u_t`` and ``alpha = -A``, a run of deferred tokens and the committing token e
updates the state once, with the decay of the whole run exact:

    h <- exp(A span) h + sum over the run's tokens p of  w_p a_p B_p,    span = sum of delta

    w_p = 1 - (since_p / span) (1 - exp(A span)),     since_p = sum of delta after p, up to e

The chord of the exponential: exact for the run's first moment and its last, ``1`` at e itself, and
no exponential of its own. A deferred token t reads the state its run began with, the exact input
terms of the run so far, and no state is written:

    y_t = C_t . (g(elapsed) h) + sum over pending p <= t of  g(since_p) (C_t . B_p) a_p

    g(s) = exp(mean over the states of A * s), one exponential per channel

Everything is causal given the plan. Output then gets ``D u`` and ``silu(z)`` per token, exactly.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from efficarch.scan.base import ScanInputs, ScanOutput, skip_and_gate, step_sizes
from efficarch.scan.mrss.plan import MAX_RUN, Plan

# B batch, D channels, N state size, L length, G groups of channels that share B and C


@dataclass(frozen=True)
class _Pending:
    """One token of the run so far; ``added`` is zero in rows that have committed it."""

    added: Tensor  # [B, D], delta * u
    B: Tensor  # [B, D, N]
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
    state = torch.zeros_like(A).expand(added.shape[0], -1, -1)  # [B, D, N]
    elapsed = torch.zeros_like(added[..., 0])  # [B, D], delta summed since the last commit
    pending: list[_Pending] = []
    outputs = []
    for t in range(inputs.length):
        deferred = plan.deferred[:, t, None]  # [B, 1]
        B_t, C_t = (
            _per_channel(each[..., t], inputs) for each in (inputs.grouped_B, inputs.grouped_C)
        )
        elapsed = elapsed + delta[..., t]
        aged = [_Pending(p.added, p.B, p.since + delta[..., t]) for p in pending]
        pending = [*aged, _Pending(added[..., t], B_t, torch.zeros_like(elapsed))][-MAX_RUN:]
        committed = _commit(state, A, elapsed, pending)  # [B, D, N]
        read = _read(state, A, elapsed, pending, C_t)  # [B, D]
        outputs.append(torch.where(deferred, read, (C_t * committed).sum(-1)))
        state = torch.where(deferred[..., None], state, committed)
        elapsed = elapsed * deferred
        pending = [_Pending(p.added * deferred, p.B, p.since) for p in pending]
    out = skip_and_gate(inputs, torch.stack(outputs, dim=-1))  # [B, D, L]
    return (out, state) if return_last_state else out


def _commit(state: Tensor, A: Tensor, span: Tensor, pending: list[_Pending]) -> Tensor:
    """Return the state [B, D, N] after the run's only update."""
    decay = torch.exp(span[..., None] * A)  # [B, D, N]
    state = decay * state
    for p in pending:
        # where no time passed at all, every weight is 1
        share = torch.where(span > 0, p.since / span, 0.0)[..., None]  # [B, D, 1]
        weight = 1 - share * (1 - decay)  # [B, D, N]
        state = state + weight * p.added[..., None] * p.B
    return state


def _read(
    state: Tensor, A: Tensor, elapsed: Tensor, pending: list[_Pending], C_t: Tensor
) -> Tensor:
    """Return what a deferred token puts out [B, D], from the state its run began with."""
    mean = A.mean(-1)  # [D]
    y = torch.exp(elapsed * mean) * (C_t * state).sum(-1)  # [B, D]
    for p in pending:
        y = y + torch.exp(p.since * mean) * (C_t * p.B).sum(-1) * p.added
    return y


def _per_channel(grouped: Tensor, inputs: ScanInputs) -> Tensor:
    """Repeat each group's row for its channels, [B, G, N] -> [B, D, N]."""
    return grouped.repeat_interleave(inputs.channels // inputs.groups, dim=1)
