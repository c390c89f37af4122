"""EViT: keep the patches that CLS attends to most (Liang et al., ICLR 2022, arXiv 2202.07800).

Section 3.2: in three blocks, between attention and MLP, patches are ranked by the attention of CLS
averaged over heads; section 3.3: those dropped may be fused into one token, weighted by that
attention. One row of the attention map is recomputed from queries and keys, so any attention kernel
will do.

Deviations: no fine-tuning; ``keep`` is the fraction left after the last stage, not of each; where a
model has no CLS, the attention received from all patches ranks them; a fused token counts among
those kept.

# B batch, P patches, K kept patches, C channels
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from efficarch.errors import EfficarchError
from efficarch.reducers.base import top_patches
from efficarch.reducers.pruning import STAGES, Patches, Pruner

FUSE = ("none", "sum", "mean")


@dataclass(frozen=True)
class EViT(Pruner):
    """Keep the patches of highest CLS attention, in stages.

    Attributes:
        fuse: what becomes of the patches dropped in a stage: ``none`` is lost; ``sum`` adds them up
            weighted by their attention, as the paper does; ``mean`` also divides by the sum of
            these weights.
    """

    after: tuple[int, ...] = (3, 6, 9)
    fuse: Literal["none", "sum", "mean"] = "none"

    before_mlp: ClassVar[bool] = True
    choices: ClassVar[Mapping[str, tuple[Any, ...]]] = {"after": STAGES, "fuse": FUSE}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fuse not in FUSE:
            raise EfficarchError(f"fuse is {self.fuse!r}; choose 'none', 'sum' or 'mean'")

    def reduce(self, patches: Patches, count: int) -> Tensor:
        """Return the attended patches, then the fused one if there is one."""
        attention = patches.attention()  # [B, P]
        if self.fuse == "none":
            return patches.take(top_patches(attention, count))
        index = top_patches(attention, count - 1)
        fused = fuse_others(patches.states, attention, index, mean=self.fuse == "mean")
        return torch.cat([patches.take(index), fused], dim=1)


def fuse_others(
    states: Tensor, attention: Tensor, index: Tensor, *, mean: bool
) -> Tensor:  # [B, P, C], [B, P], [B, K] -> [B, 1, C]
    """Add up the patches that are not in ``index``, weighted by attention (to 1 if ``mean``)."""
    weight = attention.scatter(1, index, 0.0)[:, None]  # [B, 1, P]
    if mean:
        # attention so sharp that all others round to zero fuses them to zero, not to NaN
        weight = weight / weight.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)
    fused: Tensor = weight @ states.float()
    return fused.to(states.dtype)
