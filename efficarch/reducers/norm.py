"""The original rule: rank patches by the L2 norms of their keys and queries, once.

The project's own starting point, not a published method. Related evidence points both ways: in
language models a low key norm marks attended tokens (arXiv 2406.11430), in vision transformers
high-norm tokens tend to be artifacts (arXiv 2309.16588). Hence ``sign``; compare with ``random``.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from efficarch.errors import EfficarchError
from efficarch.models.vit import Block, blocks_of
from efficarch.reducers.base import (
    Reducer,
    check_keep,
    gather_patches,
    kept_patches,
    top_patches,
)


@dataclass(frozen=True)
class NormPrune(Reducer):
    """Keep the patches whose key and query norms in one block rank highest.

    Attributes:
        keep: fraction of the patches left, in (0, 1].
        of: the norms that are added up: of keys, of queries or of both, over all heads together.
        sign: ``high`` keeps the largest norms, ``low`` the smallest.
        after: the block, counted from 0, whose norms rank and after which patches are dropped.
    """

    keep: float
    of: Literal["both", "key", "query"] = "both"
    sign: Literal["high", "low"] = "high"
    after: int = 1

    def __post_init__(self) -> None:
        check_keep(self.keep)
        if self.of not in ("both", "key", "query"):
            raise EfficarchError(f"of is {self.of!r}; choose 'both', 'key' or 'query'")
        if self.sign not in ("high", "low"):
            raise EfficarchError(f"sign is {self.sign!r}; choose 'high' or 'low'")

    @contextmanager
    def attach(self, model: nn.Module) -> Iterator[None]:
        """Drop patches after one block; nothing is hooked at keep 1."""
        if self.keep == 1:
            yield
            return
        block = block_to_prune_after(model, self.after)
        norms: list[Tensor] = []

        def start(_module: nn.Module, _args: object) -> None:
            # a pass that raised between the projections and the drop leaves its norms behind
            norms.clear()

        def record(_module: nn.Module, _args: object, projected: Tensor) -> None:
            norms.append(patch_norms(projected))

        def drop(_module: nn.Module, _args: object, x: Tensor) -> Tensor:
            score = torch.stack(norms).sum(dim=0)  # [B, P]
            signed = score if self.sign == "high" else -score
            count = kept_patches(self.keep, score.shape[1])
            return gather_patches(x, top_patches(signed, count))

        with ExitStack() as stack:
            stack.callback(block.module.register_forward_pre_hook(start).remove)
            for projection in self._projections(block):
                stack.callback(projection.register_forward_hook(record).remove)
            stack.callback(block.module.register_forward_hook(drop).remove)
            yield

    def _projections(self, block: Block) -> list[nn.Module]:
        chosen = {"key": [block.key], "query": [block.query], "both": [block.key, block.query]}
        return chosen[self.of]


def patch_norms(projected: Tensor) -> Tensor:  # [B, N, C] -> [B, P]
    """Return the L2 norm of every patch's projection, in float32; CLS has no rank."""
    norms: Tensor = torch.linalg.vector_norm(projected[:, 1:].float(), dim=-1)
    return norms


def block_to_prune_after(model: nn.Module, after: int) -> Block:
    """Return the block after which tokens are dropped.

    Raises:
        EfficarchError: there is no later block that would be spared any work.
    """
    blocks = blocks_of(model)
    if not 0 <= after <= len(blocks) - 2:
        raise EfficarchError(
            f"after is {after}; with {len(blocks)} blocks it must lie in 0 to {len(blocks) - 2}"
        )
    return blocks[after]
