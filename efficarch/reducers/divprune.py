"""DivPrune: the most diverse patches (Alvar et al., CVPR 2025, arXiv 2503.02175).

Max-min diversity, solved greedily: start with the patch whose nearest neighbour is farthest away,
by cosine distance; then always take the patch farthest from its nearest chosen one. No attention is
looked at. Written from the formulas.

Deviation: inside the encoder, on the states after a block; the paper prunes a language model's
visual tokens.

Cost: one P x P similarity matrix, then K steps over P patches, one after the other.

# B batch, P patches, K kept patches, C channels
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from efficarch.reducers.base import cosines
from efficarch.reducers.greedy import choose
from efficarch.reducers.pruning import STAGES, Patches, Pruner


@dataclass(frozen=True)
class DivPrune(Pruner):
    """Keep patches far apart from each other."""

    choices: ClassVar[Mapping[str, tuple[Any, ...]]] = {"after": STAGES}

    def reduce(self, patches: Patches, count: int) -> Tensor:
        """Return the most diverse patches."""
        return patches.take(most_diverse(cosines(patches.states), count))


def most_diverse(similarity: Tensor, count: int) -> Tensor:  # [B, P, P] -> [B, K]
    """Choose patches by greedy max-min distance, 1 - similarity."""
    itself = torch.eye(similarity.shape[-1], dtype=torch.bool, device=similarity.device)
    neighbour = similarity.masked_fill(itself, -torch.inf).amax(dim=-1)  # [B, P]
    return choose(similarity, neighbour.argmin(dim=-1), count, torch.neg)
