"""VisionZip: the attended patches, and averages of the rest (Yang et al., arXiv 2412.04467).

The dominant patches are those of highest attention. Of the rest, in raster order, every so many-th
is a contextual target; each other one joins the target of most similar key and is averaged in.

Deviations: inside the encoder, after a block; the paper reduces what a language model is given. The
published code adds the mean of those that joined to their target; that makes a token about twice
as long, beside which all that later blocks add counts half, so the sum is halved here: the
direction is the same. A target that nothing joined stays as it is.

# B batch, P patches, D dominant and T contextual ones, R the others, C channels
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from efficarch.errors import EfficarchError
from efficarch.reducers.base import head_mean, take_rows
from efficarch.reducers.pruning import STAGES, Patches, Pruner


@dataclass(frozen=True)
class VisionZip(Pruner):
    """Keep the attended patches and average the rest into a few others.

    Attributes:
        contextual: fraction of the tokens left that are averages, in [0, 1); the paper's split is
            54 to 10. Their number is rounded up, and one dominant patch always stays.
    """

    contextual: float = 10 / 64

    choices: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "after": STAGES,
        "contextual": (10 / 64, 0.3, 0.5),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.contextual < 1:
            raise EfficarchError(
                f"contextual is {self.contextual}; it must lie in [0, 1), for instance 0.2"
            )

    def reduce(self, patches: Patches, count: int) -> Tensor:
        """Return dominant patches and contextual averages, each at its place in the image."""
        averages = min(ceil(self.contextual * count), count - 1)
        order = patches.attention().argsort(dim=-1, descending=True, stable=True)  # [B, P]
        dominant = order[:, : count - averages]  # [B, D]
        rest = order[:, count - averages :].sort(dim=-1).values  # [B, T + R]
        if averages == 0:
            return patches.take(dominant.sort(dim=-1).values)
        keys = head_mean(patches.patch_keys, patches.heads)
        targets, others = split(rest, averages)
        joined = join(patches.states, keys, targets, others)  # [B, T, C]
        stay = torch.cat([dominant, targets], dim=1)  # [B, D + T]
        # targets are taken as well: they stay, if as averages
        taken = torch.cat([patches.take(stay)[:, :-averages], joined], dim=1)
        return take_rows(taken, stay.argsort(dim=-1)[..., None])


def split(rest: Tensor, count: int) -> tuple[Tensor, Tensor]:  # [B, T + R] -> [B, T], [B, R]
    """Return every so many-th of some patches, ``count`` in all, and the others."""
    step = rest.shape[1] // count
    runs = rest[:, : step * count].unflatten(1, (count, step))  # [B, T, step]
    others = torch.cat([runs[:, :, 1:].flatten(1), rest[:, step * count :]], dim=1)
    return runs[:, :, 0], others


def join(
    states: Tensor, keys: Tensor, targets: Tensor, others: Tensor
) -> Tensor:  # [B, P, C], [B, P, *], [B, T], [B, R] -> [B, T, C]
    """Average targets half and half with the mean of the patches most similar to them by key."""
    unit = functional.normalize(keys.float(), dim=-1)
    target, other = targets[..., None], others[..., None]
    similarity = take_rows(unit, other) @ take_rows(unit, target).transpose(1, 2)  # [B, R, T]
    nearest = functional.one_hot(similarity.argmax(dim=-1), targets.shape[1])  # [B, R, T]
    joining = nearest.transpose(1, 2).float()  # [B, T, R]
    number = joining.sum(dim=-1, keepdim=True)  # [B, T, 1]
    mean = joining @ take_rows(states, other).float() / number.clamp(min=1)
    kept = take_rows(states, target)
    return kept.where(number == 0, ((kept.float() + mean) / 2).to(states.dtype))
