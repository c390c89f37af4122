"""Maximal marginal relevance: attended patches that differ from those already chosen.

Carbonell and Goldstein, SIGIR 1998: always take the item of highest balance *
relevance - (1 - balance) * similarity to the most similar chosen one. Here relevance is the
attention a patch receives, from 0 to 1 within each image, and similarity a cosine of states.

Cost: one P x P similarity matrix, then K steps over P patches, one after the other.

# B batch, P patches, K kept patches, C channels
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from efficarch.errors import EfficarchError
from efficarch.reducers.base import cosines
from efficarch.reducers.greedy import choose
from efficarch.reducers.pruning import STAGES, Patches, Pruner


@dataclass(frozen=True)
class MMR(Pruner):
    """Keep patches that are attended to and unlike each other.

    Attributes:
        balance: the paper's lambda, in [0, 1]: 1 looks at attention alone, 0 at similarity.
    """

    balance: float = 0.5

    choices: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "after": STAGES,
        "balance": (0.25, 0.5, 0.75),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.balance <= 1:
            raise EfficarchError(
                f"balance is {self.balance}; it must lie in [0, 1], for instance 0.5"
            )

    def reduce(self, patches: Patches, count: int) -> Tensor:
        """Return the patches of highest marginal relevance."""
        relevance = from_0_to_1(patches.attention())
        return patches.take(most_relevant(cosines(patches.states), relevance, count, self.balance))


def most_relevant(
    similarity: Tensor, relevance: Tensor, count: int, balance: float
) -> Tensor:  # [B, P, P], [B, P] -> [B, K]
    """Choose patches greedily, the most relevant one first."""

    def gain(nearest: Tensor) -> Tensor:
        return balance * relevance - (1 - balance) * nearest

    return choose(similarity, relevance.argmax(dim=-1), count, gain)


def from_0_to_1(score: Tensor) -> Tensor:  # [B, P] -> [B, P]
    """Stretch each image's scores to [0, 1]; equal scores become 0."""
    low, high = score.aminmax(dim=-1, keepdim=True)
    width = high - low
    return (score - low) / width.where(width > 0, 1.0)
