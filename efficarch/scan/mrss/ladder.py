"""Decays of all states of a channel from one exponential: rates rounded to a half-octave ladder.

A state's rate A_dn becomes ``base_d * m_n`` with m_n in ``MULTIPLES``: with ``q = exp(base s)`` the
decays are q, q^2, q^3 = q q^2, and from there every second one is a square. The rungs m_n are the
same for all channels, the base is a channel's own.

Where ``eta = |base m - A| / min(|base m|, |A|)`` is the mismatch of a rate that decays, the error
of its decay is at most ``eta / e``: by the mean value theorem it is no more than
``eta x exp(-x)`` at ``x = min(...) s``. Rates that are multiples of each other by the ladder's
own have none: all equal (Mamba-2), or a single state.
"""

import torch
from torch import Tensor

# B batch, D channels, N state size, L length, G groups

MULTIPLES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Rates of the rungs over that of the first; from the fourth on each is twice the last but one."""


class Ladder:
    """The rates of a layer, rounded.

    ``base`` [D] is the rate of a channel's first rung, ``rung`` [N] the place of each state in
    ``MULTIPLES``.
    """

    def __init__(self, A: Tensor) -> None:  # [D, N]
        multiples = A.new_tensor(MULTIPLES)
        mean = A.mean(-1, keepdim=True)  # [D, 1]
        # channels that decay not at all say nothing about how their states differ
        relative = torch.where(mean == 0, 1.0, A / mean).mean(0)  # [N]
        relative = relative.clamp(min=float(relative.max()) / MULTIPLES[-1])
        distance = (relative / relative.min())[:, None].log() - multiples.log()
        self.rung = distance.abs().argmin(-1)  # [N]
        self.base = (A / multiples[self.rung]).mean(-1)  # [D]

    @property
    def rates(self) -> Tensor:
        """The rounded rates, [D, N]."""
        return self.base[:, None] * self.base.new_tensor(MULTIPLES)[self.rung]

    def decays(self, elapsed: Tensor) -> Tensor:  # [B, D] -> [B, D, N]
        """Return how much of each state is left after some time."""
        return torch.exp(elapsed[..., None] * self.rates)
