"""Grid pruning: the control that keeps patches evenly spaced over the image, whatever it shows.

# R rows and Q columns of the image's patches
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from efficarch.errors import EfficarchError
from efficarch.reducers.pruning import STAGES, Patches, Pruner


@dataclass(frozen=True)
class GridPrune(Pruner):
    """Keep patches of evenly spaced rows and columns; all at once, so ``after`` names one block."""

    choices: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "after": tuple(stages for stages in STAGES if len(stages) == 1)
    }
    wants_grid: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.after) != 1:
            raise EfficarchError(
                f"after is {self.after}; grid keeps an even grid only when it prunes once: "
                f"use after={self.after[:1]}"
            )

    def reduce(self, patches: Patches, count: int) -> Tensor:
        """Return the patches on the grid."""
        if patches.grid is None:
            raise EfficarchError(
                "grid needs all rows and columns of the image's patches, which this model does not "
                "show, or tower-block has thinned out; use random as the control"
            )
        index = even_grid(*patches.grid, count, patches.states.device)
        return patches.take(index.expand(len(patches.states), -1))


@lru_cache(maxsize=64)
def even_grid(rows: int, columns: int, count: int, device: torch.device | str = "cpu") -> Tensor:
    """Return ``count`` evenly spaced indices in raster order, int64 [count].

    As many rows are used as make the gaps between rows and between columns most alike; their
    numbers of patches differ by one at most.
    """
    wanted = round((count * rows / columns) ** 0.5)
    # every row used has to hold its share, and needs a patch of its own
    used = min(max(wanted, -(-count // columns)), rows, count)
    index: list[int] = []
    for position, row in enumerate(evenly(rows, used)):
        share = (position + 1) * count // used - position * count // used
        index += [row * columns + column for column in evenly(columns, share)]
    return torch.tensor(index, device=device)


def evenly(total: int, count: int) -> list[int]:
    """Return ``count`` of ``total`` positions, each in the middle of an equal share."""
    return [(2 * step + 1) * total // (2 * count) for step in range(count)]
