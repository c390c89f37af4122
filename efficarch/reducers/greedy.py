"""Greedy selection: what the rules share that choose patches one at a time.

Each step looks at what was chosen before, so K patches take K steps one after the other, each for
the whole batch at once.

# B batch, P patches, K kept patches, C channels
"""

from collections.abc import Callable

import torch
from torch import Tensor


def choose(
    similarity: Tensor, first: Tensor, count: int, gain: Callable[[Tensor], Tensor]
) -> Tensor:  # [B, P, P], [B] -> [B, K]
    """Choose ``count`` patches, ``first`` and then always the one of highest gain.

    ``gain`` turns every patch's similarity to its most similar chosen one, [B, P], into scores
    [B, P]. Returns indices in ascending order.
    """
    taken = torch.zeros_like(similarity[:, 0], dtype=torch.bool)  # [B, P]
    pick = first[:, None]  # [B, 1]
    nearest = row_of(similarity, pick)  # [B, P]
    chosen = [pick]
    for _step in range(count - 1):
        taken = taken.scatter(1, pick, value=True)
        pick = gain(nearest).masked_fill(taken, -torch.inf).argmax(dim=-1, keepdim=True)
        nearest = torch.maximum(nearest, row_of(similarity, pick))
        chosen.append(pick)
    return torch.cat(chosen, dim=1).sort(dim=-1).values


def row_of(similarity: Tensor, pick: Tensor) -> Tensor:  # [B, P, P], [B, 1] -> [B, P]
    """Return one row of each image's similarities."""
    wanted = pick[..., None].expand(-1, 1, similarity.shape[-1])
    return similarity.gather(1, wanted)[:, 0]
