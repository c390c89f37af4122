"""Decays of all states of a channel from one exponential: their rates rounded to a ladder.

A state's rate A_dn becomes ``base_d * m_n``: with ``q = exp(base s)`` all its decays are powers of
q. The multiples m_n are the same for all channels, the base is a channel's own. They are

- 1, 2, 3, ..., the rates a Mamba layer begins with (S4D-Real, arXiv 2312.00752, section 3.6) and,
  on average over its channels, mostly keeps: a running product;
- else the nearest of ``MULTIPLES``, half an octave apart: products that are looked up.

States that decay alike, as those of Mamba-2, are on the first rung of these, exactly.

Where ``eta = |base m - A| / min(|base m|, |A|)`` is the mismatch of a rate that decays, the error
of its decay is at most ``eta / e``: by the mean value theorem it is no more than
``eta x exp(-x)`` at ``x = min(...) s``.

What a run began with is settled at its end: its decay is multiplied by the cubic Taylor polynomial
of ``exp((A - base m) s)``, which leaves an error of at most ``0.2 eta^4``: by Taylor's theorem it
is no more than ``(eta x)^4 / 24 exp(-x)``. Rates of more than twice their rung count as twice, so
that no power of a large number stands against the decay; there the error is at most 1.
"""

import torch
from torch import Tensor

# B batch, D channels, N state size

MULTIPLES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Multiples to look up; from the fourth on each is twice the last but one."""

LARGEST = 1e12
"""Argument of the polynomial beyond which nothing is left to settle; its cube is still a float."""

HALF_STEP = 2**0.25
"""Most that looking up is off by: counting is done where a layer's rates, on average over its
channels, are not further off."""


class Ladder:
    """The rates of a layer, rounded.

    ``base`` [D] is what a channel's multiples are of, ``multiples`` [N] those of its states, and
    ``rung`` [N] their places in ``MULTIPLES``, or None where they are 1, 2, 3, ...
    """

    def __init__(self, A: Tensor) -> None:  # [D, N]
        self.rung: Tensor | None = None
        self.multiples = torch.arange(1, A.shape[1] + 1, dtype=A.dtype, device=A.device)
        if not _counts_fit(A.sum(0).tolist()):
            self.rung = _nearest(A)
            self.multiples = A.new_tensor(MULTIPLES)[self.rung]
        self.base = A @ (1 / (self.multiples * A.shape[1]))
        self._A = A

    @property
    def rates(self) -> Tensor:
        """The rounded rates, [D, N]."""
        return self.base[:, None] * self.multiples

    def decays(self, elapsed: Tensor) -> Tensor:  # [B, D] -> [B, D, N]
        """Return how much of each state is left after some time."""
        return torch.exp(elapsed[..., None] * self.rates)

    def settlement(self, elapsed: Tensor) -> Tensor:  # [B, D] -> [B, D, N]
        """Return what to add to ``decays`` for what a run began with, at its end."""
        left_out = torch.maximum(self._A - self.rates, -self.rates.abs())  # [D, N]
        x = (elapsed[..., None] * left_out).clamp(-LARGEST, LARGEST)
        return self.decays(elapsed) * (x + x**2 / 2 + x**3 / 6)


def are_equal(A: Tensor) -> bool:  # [D, N]
    """Whether all states of each channel decay alike."""
    return torch.equal(A, A[:, :1].expand_as(A))


def _counts_fit(rates: list[float]) -> bool:
    """Whether rates, summed over the channels, are nearly 1, 2, 3, ... times the first of them."""
    base = sum(rate / count for count, rate in enumerate(rates, start=1)) / len(rates)
    off = (abs(rate - count * base) for count, rate in enumerate(rates, start=1))
    return base != 0 and all(
        each <= (HALF_STEP - 1) * abs(count * base) for count, each in enumerate(off, start=1)
    )


def _nearest(A: Tensor) -> Tensor:  # [D, N] -> [N]
    multiples = A.new_tensor(MULTIPLES)
    mean = A.mean(-1, keepdim=True)  # [D, 1]
    # channels that decay not at all say nothing about how their states differ
    relative = torch.where(mean == 0, 1.0, A / mean).mean(0)  # [N]
    relative = relative.clamp(min=float(relative.max()) / MULTIPLES[-1])
    distance = (relative / relative.min())[:, None].log() - multiples.log()
    return distance.abs().argmin(-1)
