"""Random pruning: the control that every claim of a ranking rule has to beat.

Strong in practice: arXiv 2502.11501 and 2511.02650 find many published methods below it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from efficarch.reducers.pruning import STAGES, Patches, Pruner


@dataclass(frozen=True)
class RandomPrune(Pruner):
    """Keep a seeded random subset of the patches.

    One subset serves the whole batch, so that an image's result does not depend on its batch mates.

    Attributes:
        seed: of the subset.
    """

    seed: int = 0

    choices: ClassVar[Mapping[str, tuple[Any, ...]]] = {"after": STAGES}

    def reduce(self, patches: Patches, count: int) -> Tensor:
        """Return the patches of the subset."""
        batch, total, _ = patches.states.shape
        subset = random_subset(total, count, self.seed, patches.states.device)
        return patches.take(subset.expand(batch, -1))


@lru_cache(maxsize=64)
def random_subset(
    patches: int, count: int, seed: int, device: torch.device | str = "cpu"
) -> Tensor:
    """Return ``count`` of ``patches`` indices in ascending order, int64 [count]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(patches, generator=generator)[:count].sort().values.to(device)
