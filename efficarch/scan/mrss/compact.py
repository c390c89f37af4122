"""The unfused multi-resolution scan: fewer, longer steps for any backend, unchanged.

A run of deferred tokens and the committing token e becomes one step that decays exactly as the run
does, ``prod exp(A delta_t) = exp(A sum delta_t)``, and adds the best rank-one input: with
``a_t = psi_t delta_t u_t`` over the channels of a group and ``a = sum a_t``,

    delta' = sum delta_t,   u' = a / delta',   B' = sum (<a_t, a> / <a, a>) B_t,   C' = C_e

B' is the least-squares choice: no other makes ``a B'^T`` nearer to ``sum a_t B_t^T``, and it is B
itself where B does not change within the run. ``psi_t = exp(mean A * (delta behind t, up to e))``
with the mean over the states, hence exact where all states of a channel decay alike (Mamba-2).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from efficarch.scan.base import ScanInputs, step_sizes
from efficarch.scan.mrss.plan import MAX_RUN, Plan
from efficarch.scan.mrss.runs import Runs, spread

# B batch, D channels, N state size, L length, K committed tokens, G groups, P channels of a group


@dataclass(frozen=True)
class Compacted:
    """A shorter scan, and where each of its steps comes from.

    ``inputs`` has length K, the most tokens that a row commits; rows with fewer end in steps of
    size zero, which change nothing. ``step`` [B, L] is the last step that a token can see.
    """

    inputs: ScanInputs
    step: Tensor


def compact(inputs: ScanInputs, plan: Plan) -> Compacted:
    """Return the scan of the committed tokens alone, without skip term and gate.

    Raises:
        ValueError: the plan was made for inputs of another shape.
    """
    plan.check_matches(inputs.u.shape[0], inputs.length)
    delta = step_sizes(inputs)  # [B, D, L]
    runs = Runs(plan)
    span = runs.sums(delta)  # [B, D, K]
    behind = _behind(delta, plan.deferred)  # [B, D, L]
    mean = inputs.A.to(delta.dtype).mean(-1)[:, None]  # [D, 1]
    added = torch.exp(mean * behind) * delta * inputs.u.to(delta.dtype)  # [B, D, L]
    total = runs.sums(added)  # [B, D, K]
    return Compacted(
        ScanInputs(
            u=torch.where(span > 0, total / span, 0.0),
            delta=span,
            A=inputs.A,
            B=_least_squares(inputs, added, total, runs),
            C=runs.sums(inputs.grouped_C * ~plan.deferred[:, None, None]),
        ),
        step=runs.last_seen,
    )


def expand(y: Tensor, compacted: Compacted) -> Tensor:  # [B, D, K] -> [B, D, L]
    """Return at each token the output of the last committed one: the emission ``hold``."""
    return y.gather(-1, spread(compacted.step, y))


def local(inputs: ScanInputs, plan: Plan) -> Tensor:
    """Return what deferred tokens see of their own run's inputs, undecayed, [B, D, L]."""
    delta = step_sizes(inputs)
    added = torch.unflatten(delta * inputs.u.to(delta.dtype), 1, (inputs.groups, -1))
    B, C = inputs.grouped_B, inputs.grouped_C  # [B, G, N, L]
    seen = torch.zeros_like(added)  # [B, G, P, L]
    pending = plan.deferred  # [B, L]: the token, and all after it up to `back` steps later
    for back in range(MAX_RUN - 1):
        pending = pending & _shifted(plan.deferred, back)
        products = (C * _shifted(B, back)).sum(2, keepdim=True)  # [B, G, 1, L]
        seen = seen + pending[:, None, None] * products * _shifted(added, back)
    return seen.flatten(1, 2)


def _least_squares(inputs: ScanInputs, added: Tensor, total: Tensor, runs: Runs) -> Tensor:
    """Return B' of every run, [B, G, N, K]."""
    groups = (inputs.groups, -1)
    parts = torch.unflatten(added, 1, groups)  # [B, G, P, L]
    whole = torch.unflatten(total, 1, groups)  # [B, G, P, K]
    size = whole.square().sum(2)  # [B, G, K]
    at_tokens = runs.at_tokens(size)
    share = (parts * runs.at_tokens(whole)).sum(2)  # [B, G, L]
    # a run that adds nothing may have any B
    weight = torch.where(at_tokens > 0, share / at_tokens, 0.0)
    return runs.sums(weight[:, :, None] * inputs.grouped_B)


def _behind(delta: Tensor, deferred: Tensor) -> Tensor:
    """Return delta summed over the tokens of the same run behind each one, [B, D, L]."""
    behind = torch.zeros_like(delta)
    waits = deferred  # [B, L]: the token, and all after it up to `ahead` - 1 steps later
    for ahead in range(1, MAX_RUN):
        behind = behind + waits[:, None] * _shifted(delta, -ahead)
        waits = waits & _shifted(deferred, -ahead)
    return behind


def _shifted(x: Tensor, steps: int) -> Tensor:
    """Return at each place what stood ``steps`` before it, zero where nothing did."""
    if steps < 0:
        return F.pad(x, (0, -steps))[..., -steps:]
    return F.pad(x, (steps, 0))[..., : x.shape[-1]]
