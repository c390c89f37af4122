"""Sums over the runs of a plan, and the B that a run's inputs are committed with."""

import torch
from torch import Tensor

from efficarch.scan.mrss.plan import Plan

# B batch, N state size, L length, K runs, G groups

STEADY = 0.25
"""Largest root mean square distance of a run's B from their mean, over that mean, to share it."""


class Runs:
    """Which run each token of a plan belongs to; the run's last token is the committed one.

    ``of`` [B, L] numbers the runs of a row from zero, ``count`` is the most that a row has.
    """

    def __init__(self, plan: Plan) -> None:
        committed = (~plan.deferred).long()
        self.last_seen = committed.cumsum(-1) - 1  # [B, L], the run last committed at each token
        self.of = self.last_seen + 1 - committed
        self.count = int(self.of[:, -1].max()) + 1

    def sums(self, x: Tensor) -> Tensor:  # [B, ..., L] -> [B, ..., K]
        """Sum over the tokens of each run."""
        return x.new_zeros(*x.shape[:-1], self.count).scatter_add(-1, spread(self.of, x), x)

    def at_tokens(self, x: Tensor) -> Tensor:  # [B, ..., K] -> [B, ..., L]
        """Return at each token what belongs to its run."""
        return x.gather(-1, spread(self.of, x))


def spread(index: Tensor, x: Tensor) -> Tensor:  # [B, L] -> [B, ..., L]
    """Repeat an index over the axes that ``x`` has between the first and the last."""
    shape = (*x.shape[:-1], index.shape[-1])
    return index.reshape(len(index), *[1] * (x.ndim - 2), -1).expand(shape)


def shared_B(B: Tensor, plan: Plan) -> Tensor:  # [B, G, N, L] -> [B, G, N, L]
    """Return the B of each token's input at the commit of its run: where B is steady, one for all.

    A run whose B stay within ``STEADY`` of their mean is committed with that mean. What this
    changes is ``sum (a_p - a) (B_p - mean)``, small twice over.
    """
    runs = Runs(plan)
    size = runs.sums(torch.ones_like(B[:, :1, :1]))  # [B, 1, 1, K]
    mean = runs.sums(B) / size.clamp(min=1)  # [B, G, N, K]
    means = runs.at_tokens(mean)
    spread_of_run = runs.sums((B - means).square().sum(2, keepdim=True))  # [B, G, 1, K]
    steady = spread_of_run <= STEADY**2 * size * mean.square().sum(2, keepdim=True)
    return torch.where(runs.at_tokens(steady), means, B)
