"""Random pruning: the control that every claim of a ranking rule has to beat.

Strong in practice: arXiv 2502.11501 and 2511.02650 find many published methods below it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from efficarch.reducers.base import Reducer, check_keep, gather_patches, kept_patches
from efficarch.reducers.norm import block_to_prune_after


@dataclass(frozen=True)
class RandomPrune(Reducer):
    """Keep a seeded random subset of the patches.

    One subset serves the whole batch, so that an image's result does not depend on its batch mates.

    Attributes:
        keep: fraction of the patches left, in (0, 1].
        after: the block, counted from 0, after which patches are dropped.
        seed: of the subset.
    """

    keep: float
    after: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        check_keep(self.keep)

    @contextmanager
    def attach(self, model: nn.Module) -> Iterator[None]:
        """Drop patches after one block; nothing is hooked at keep 1."""
        if self.keep == 1:
            yield
            return
        block = block_to_prune_after(model, self.after)
        chosen: dict[int, Tensor] = {}

        def drop(_module: nn.Module, _args: object, x: Tensor) -> Tensor:
            patches = x.shape[1] - 1
            if patches not in chosen:
                count = kept_patches(self.keep, patches)
                chosen[patches] = random_subset(patches, count, self.seed).to(x.device)
            return gather_patches(x, chosen[patches].expand(x.shape[0], -1))

        handle = block.module.register_forward_hook(drop)
        try:
            yield
        finally:
            handle.remove()


def random_subset(patches: int, count: int, seed: int) -> Tensor:
    """Return ``count`` of ``patches`` indices in ascending order, int64 [count]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(patches, generator=generator)[:count].sort().values
