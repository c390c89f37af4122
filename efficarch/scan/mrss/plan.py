"""Which tokens a multi-resolution scan defers, and the rules every plan keeps.

A run is a chain of deferred tokens with the committing token behind it. Planners decide, kernels
only see the plan.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

# B batch, L length

MAX_RUN = 8
"""Most tokens of a run, the committing one included: at most seven deferred in a row."""


@dataclass(frozen=True, eq=False)
class Plan:
    """``deferred`` [B, L], boolean: the tokens whose state update waits for the next committed one.

    Raises:
        ValueError: another dtype or shape, the first or the last token deferred, or a run of more
            than ``MAX_RUN`` tokens.
    """

    deferred: Tensor

    def __post_init__(self) -> None:
        shape = tuple(self.deferred.shape)
        if self.deferred.dtype != torch.bool or self.deferred.ndim != 2 or 0 in shape:
            raise ValueError(
                f"deferred has shape {shape} and dtype {self.deferred.dtype}, expected booleans "
                "(batch, length), each at least 1"
            )
        if not self.defers:
            return
        if bool(self.deferred[:, :: max(shape[1] - 1, 1)].any()):
            raise ValueError(
                f"a plan of shape {shape} defers the first or the last token; commit both"
            )
        if _has_chain(self.deferred, MAX_RUN):
            raise ValueError(
                f"a plan of shape {shape} has a run of {longest_chain(self.deferred) + 1} tokens; "
                f"commit at least every {MAX_RUN}th"
            )

    @cached_property
    def defers(self) -> bool:
        """Whether any token is deferred."""
        return bool(self.deferred.any())

    @property
    def updates_saved(self) -> float:
        """1 - executed / all state updates, over the whole batch."""
        return float(self.deferred.float().mean())

    def check_matches(self, batch: int, length: int) -> None:
        """Raise a ValueError if the plan was made for inputs of another shape."""
        if tuple(self.deferred.shape) != (batch, length):
            raise ValueError(
                f"the plan has shape {tuple(self.deferred.shape)}, the inputs have (batch, length) "
                f"= {(batch, length)}; plan for these inputs"
            )


def _has_chain(deferred: Tensor, tokens: int) -> bool:  # [B, L]
    """Whether as many tokens in a row are deferred; cheap, as it runs with every plan."""
    chain, length = deferred, 1  # chain[t]: whether tokens t to t + length - 1 are deferred
    while length < tokens:
        more = min(length, tokens - length)
        chain = chain[:, :-more] & chain[:, more:]
        length += more
    return bool(chain.any())


def longest_chain(deferred: Tensor) -> int:  # [B, L] -> number
    """Return the length of the longest chain of deferred tokens."""
    ends = F.pad(deferred, (1, 1)).int().diff(dim=1)  # [B, L + 1], 1 where a chain begins
    starts, stops = (ends == 1).nonzero()[:, 1], (ends == -1).nonzero()[:, 1]
    return int((stops - starts).max()) if len(starts) else 0


def check_saving(saving: float) -> None:
    """Raise a ValueError unless plans of runs of ``MAX_RUN`` can save this share of the updates."""
    most = 1 - 1 / MAX_RUN
    if not 0 <= saving <= most:
        raise ValueError(
            f"saving is {saving}, expected a share of the state updates from 0 to {most}, "
            f"since one token in {MAX_RUN} is always committed"
        )
