"""SCOPE: salient patches that cover the others (Deng et al., arXiv 2510.24214).

A set covers a patch by the cosine to its most similar member, and by 0 at least. Always take the
patch of highest saliency ** alpha * (what it adds to the coverage of all patches); saliency is the
attention a patch receives. Written from the formulas.

Deviation: inside the encoder, on the states after a block; the paper prunes a language model's
visual tokens.

Cost: one P x P similarity matrix, then K passes over it, one after the other: far more than the
other rules, and at most keep ratios more than the pruning saves in a small encoder.

# B batch, P patches, K kept patches, C channels
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from efficarch.errors import EfficarchError
from efficarch.reducers.base import cosines
from efficarch.reducers.greedy import choose
from efficarch.reducers.pruning import STAGES, Patches, Pruner


@dataclass(frozen=True)
class SCOPE(Pruner):
    """Keep salient patches that cover what the others do not.

    Attributes:
        alpha: how much saliency counts, at least 0; 0 looks at coverage alone.
    """

    alpha: float = 1.0

    choices: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "after": STAGES,
        "alpha": (0.0, 0.5, 1.0, 2.0),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.alpha >= 0:
            raise EfficarchError(f"alpha is {self.alpha}; it must be at least 0, for instance 1.0")

    def reduce(self, patches: Patches, count: int) -> Tensor:
        """Return the patches that add most, one after the other."""
        saliency = patches.attention() ** self.alpha
        return patches.take(best_covering(cosines(patches.states), saliency, count))


def best_covering(
    similarity: Tensor, saliency: Tensor, count: int
) -> Tensor:  # [B, P, P], [B, P] -> [B, K]
    """Choose patches greedily by saliency times gained coverage."""

    def gain(nearest: Tensor) -> Tensor:  # [B, P] -> [B, P]
        covered = nearest.clamp(min=0)[:, None]  # [B, 1, P]
        return saliency * (similarity - covered).relu().sum(dim=-1)

    first = gain(torch.zeros_like(saliency)).argmax(dim=-1)
    return choose(similarity, first, count, gain)
