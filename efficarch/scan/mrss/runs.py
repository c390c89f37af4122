"""Sums over the runs of a plan."""

from torch import Tensor

from efficarch.scan.mrss.plan import Plan

# B batch, L length, K runs


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
