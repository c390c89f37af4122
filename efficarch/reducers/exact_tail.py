"""Exact tail: the last block computes the CLS token alone.

CLIP and DINOv2 pool the CLS row of the last block, and no other row of that block reaches it: keys
and values are needed of all tokens, but query, attention row, output projection and MLP of CLS
only. The embedding is the same up to rounding; patch rows of the last hidden state vanish.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from efficarch.errors import EfficarchError
from efficarch.models.vit import blocks_of
from efficarch.reducers.base import Reducer, replaced_forward


@dataclass(frozen=True)
class ExactTail(Reducer):
    """Compute only CLS in the last block; composes with any method before it."""

    site: ClassVar[str | None] = "tail"

    @contextmanager
    def attach(self, model: nn.Module) -> Iterator[None]:
        """Replace the last block's forward within the context.

        Raises:
            EfficarchError: the model pools its patches, so their rows are needed.
        """
        block = blocks_of(model)[-1]
        if block.prefix == 0:
            raise EfficarchError(
                f"{type(model).__name__} has no CLS token: its embedding needs every row of the "
                "last block; use exact-tail on CLIP, DINOv2 or ViT"
            )

        def forward(x: Tensor, attention_mask: Tensor | None = None, **_ignored: object) -> Tensor:
            return block.feed_forward(block.attend(x, attention_mask, queries=1))  # [B, 1, C]

        with replaced_forward(block.module, forward):
            yield
