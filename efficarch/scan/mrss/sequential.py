"""The fused multi-resolution scan, one step at a time: the oracle of every fused kernel.

With ``a_t = delta_t u_t``, a deferred token decays all states of a channel by powers of one
exponential, on the `Ladder`:

    h <- ladder(delta_t) h + a_t B_t

The committing token e that ends a run of them does the same and puts right how the state that the
run began with decayed, to the third order in what the ladder leaves out of its rates:

    h <- ladder(delta_e) h + a_e B_e + ladder(span) (x + x^2 / 2 + x^3 / 6) begun

``begun`` is that state, ``span`` the sum of delta over the run and ``x = (A - r) span`` with the
ladder's rates r. So only the inputs of the run itself keep the ladder's error, however many runs
they live through. Every token puts out ``C_t . h``. Everything is causal given the plan. Output
then gets ``D u`` and ``silu(z)`` per token, exactly.
"""

import torch
from torch import Tensor

from efficarch.scan.base import ScanInputs, ScanOutput, skip_and_gate, step_sizes
from efficarch.scan.mrss.ladder import Ladder
from efficarch.scan.mrss.plan import Plan

# B batch, D channels, N state size, L length, G groups of channels that share B and C


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
    state = begun = torch.zeros_like(A).expand(added.shape[0], -1, -1)  # [B, D, N]
    elapsed = torch.zeros_like(added[..., 0])  # [B, D], delta summed since the last commit
    opened = torch.zeros_like(plan.deferred[:, 0])  # [B], whether the token before is deferred
    outputs = []
    for t in range(inputs.length):
        deferred = plan.deferred[:, t]  # [B]
        B, C = (_per_channel(each[..., t], inputs) for each in (inputs.grouped_B, inputs.grouped_C))
        elapsed = elapsed + delta[..., t]
        settled = ladder.settlement(elapsed) * begun  # [B, D, N]
        new = added[..., t, None] * B
        laddered = ladder.decays(delta[..., t]) * state + new
        plain = torch.exp(delta[..., t, None] * A) * state + new
        state = torch.where(_rows(deferred | opened), laddered, plain)
        state = torch.where(_rows(opened & ~deferred), state + settled, state)
        begun = torch.where(_rows(deferred), begun, state)
        elapsed = elapsed * deferred[:, None]
        opened = deferred
        outputs.append((C * state).sum(-1))
    out = skip_and_gate(inputs, torch.stack(outputs, dim=-1))  # [B, D, L]
    return (out, state) if return_last_state else out


def _rows(flags: Tensor) -> Tensor:  # [B] -> [B, 1, 1]
    return flags[:, None, None]


def _per_channel(grouped: Tensor, inputs: ScanInputs) -> Tensor:
    """Repeat each group's row for its channels, [B, G, N] -> [B, D, N]."""
    return grouped.repeat_interleave(inputs.channels // inputs.groups, dim=1)
