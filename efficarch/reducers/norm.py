"""The original rule: rank patches by the L2 norms of their keys and queries.

The project's own starting point, not a published method. Related evidence points both ways: in
language models a low key norm marks attended tokens (arXiv 2406.11430), in vision transformers
high-norm tokens tend to be artifacts (arXiv 2309.16588). Hence ``sign``; compare with ``random``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from efficarch.errors import EfficarchError
from efficarch.reducers.base import top_patches
from efficarch.reducers.pruning import STAGES, Patches, Pruner


@dataclass(frozen=True)
class NormPrune(Pruner):
    """Keep the patches whose key and query norms in one block rank highest.

    Attributes:
        of: the norms that are added up: of keys, of queries or of both, over all heads together.
        sign: ``high`` keeps the largest norms, ``low`` the smallest.
    """

    of: Literal["both", "key", "query"] = "both"
    sign: Literal["high", "low"] = "high"

    choices: ClassVar[Mapping[str, tuple[Any, ...]]] = {"after": STAGES}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.of not in ("both", "key", "query"):
            raise EfficarchError(f"of is {self.of!r}; choose 'both', 'key' or 'query'")
        if self.sign not in ("high", "low"):
            raise EfficarchError(f"sign is {self.sign!r}; choose 'high' or 'low'")

    def reduce(self, patches: Patches, count: int) -> Tensor:
        """Return the patches of highest (or lowest) norm."""
        chosen = {
            "key": (patches.patch_keys,),
            "query": (patches.patch_queries,),
            "both": (patches.patch_keys, patches.patch_queries),
        }[self.of]
        score = torch.stack([row_norms(projected) for projected in chosen]).sum(dim=0)  # [B, P]
        return patches.take(top_patches(score if self.sign == "high" else -score, count))


def row_norms(projected: Tensor) -> Tensor:  # [B, P, C] -> [B, P]
    """Return the L2 norm of every row, in float32."""
    norms: Tensor = torch.linalg.vector_norm(projected.float(), dim=-1)
    return norms
