"""Dropping inside the vision tower: whole 2x2 blocks of patches leave it early.

Only this point reduces the tower's own work, which in Qwen2.5-VL-3B is as much per visual token as
the language model's. The blocks, each one visual token to be, are ranked by the attention they
receive in one full-attention block (a block with windows sees 8x8 patches only), summed over their
patches and averaged over queries and heads. QuietPrune (CVPR 2026, poster 40193) drops 2x2 groups
inside the tower with a trained adapter; this is the training-free form of that place.

# B images, P cells (2x2 blocks) of an image, K kept ones, N patches of all images, H heads, D
# channels per head
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from efficarch.errors import EfficarchError
from efficarch.models.vision_language import VisionLanguage, check_attention, parts_of, rotated
from efficarch.reducers.base import Reducer, check_keep, kept_patches, top_patches
from efficarch.reducers.visual_prompt import Hooked, VisualPrompt, visual_prompt

CHUNK = 256
"""Query rows at a time: the whole map of a 1344 px image would take gigabytes."""


@dataclass(frozen=True)
class TowerBlock(Reducer):
    """Drop the cells of least attention after one full-attention block of the tower.

    Attributes:
        keep: fraction of the cells that stay, in (0, 1].
        after: that block, counted from 0; ``None`` for the first with full attention.
    """

    keep: float
    after: int | None = None

    site: ClassVar[str | None] = "tower"

    def __post_init__(self) -> None:
        check_keep(self.keep)

    @contextmanager
    def attach(self, model: nn.Module) -> Iterator[None]:
        """Drop cells within the context; nothing is hooked at keep 1.

        Raises:
            EfficarchError: the model has no such tower, ``after`` is no full-attention block with
                one behind it, or the tower's attention implementation does not suit.
        """
        if self.keep == 1:
            yield
            return
        parts = parts_of(model)
        check_attention(parts.config.vision_config, "tower-block")
        after = _block_to_drop_after(parts, self.after)
        with visual_prompt(model) as prompt, ExitStack() as stack:
            passing = _Pass(self.keep, parts, prompt)
            for handle in passing.hook(after):
                stack.callback(handle.remove)
            yield


def _block_to_drop_after(parts: VisionLanguage, after: int | None) -> int:
    suitable = [index for index in parts.full_attention if index < len(parts.blocks) - 1]
    if not suitable:
        raise EfficarchError("the tower has no full-attention block with another one behind it")
    if after is None:
        return suitable[0]
    if after not in suitable:
        nearest = min(suitable, key=lambda index: abs(index - after))
        raise EfficarchError(
            f"after is {after}; only full-attention blocks with a block behind them see the whole "
            f"image, the nearest is {nearest}"
        )
    return after


class _Pass:
    """One forward pass: which cells stay, in the window order of the tower and in the image's."""

    def __init__(self, keep: float, parts: VisionLanguage, prompt: VisualPrompt) -> None:
        self._keep = keep
        self._parts = parts
        self._prompt = prompt
        self._order = torch.empty(0)
        self._images = 0
        self._rotary: tuple[Tensor, ...] = ()
        self._kept = torch.empty(0)
        self._stays = torch.empty(0)

    def hook(self, after: int) -> list[RemovableHandle]:
        """Hook the tower and what is behind it."""
        parts, block = self._parts, self._parts.blocks[after]
        attention = block.get_submodule("attn")
        return [
            parts.tower.register_forward_pre_hook(self.start, with_kwargs=True),
            attention.register_forward_pre_hook(self.see_rotary, with_kwargs=True),
            attention.get_submodule("qkv").register_forward_hook(self.rank),
            block.register_forward_hook(self.drop),
            *(
                later.register_forward_pre_hook(self.shorten, with_kwargs=True)
                for later in parts.blocks[after + 1 :]
            ),
            parts.merger.register_forward_hook(self.restore),
            parts.language.register_forward_pre_hook(self.drop_placeholders, with_kwargs=True),
        ]

    def start(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hooked:
        """Before the tower: work the window order out in its place, and remember it."""
        from transformers.vision_utils import get_vision_window_index

        vision, grid = self._parts.config.vision_config, kwargs["grid_thw"]
        order, windows = get_vision_window_index(
            grid, vision.spatial_merge_size, vision.window_size, vision.patch_size
        )
        self._order, self._images = order, len(grid)
        return args, {**kwargs, "window_index": order, "cu_window_seqlens": windows}

    def see_rotary(self, _module: nn.Module, _args: object, kwargs: dict[str, Any]) -> None:
        self._rotary = kwargs["position_embeddings"]  # two of [N, D]

    def rank(self, _module: nn.Module, _args: object, projected: Tensor) -> None:
        """From queries and keys of the block: the cells that stay."""
        split = projected.unflatten(-1, (3, self._parts.heads, -1))[:, :2]  # [N, 2, H, D]
        cos, sin = (part[:, None, None] for part in self._rotary)  # [N, 1, 1, D]
        queries, keys = (
            part.unflatten(0, (self._images, -1)).transpose(1, 2)  # [B, H, N / B, D]
            for part in rotated(split, cos, sin).unbind(1)
        )
        score = attention_received(queries, keys).unflatten(1, (-1, self._parts.cell)).sum(dim=-1)
        self._kept = top_patches(score, kept_patches(self._keep, score.shape[1]))  # [B, K]
        stays = torch.zeros_like(score, dtype=torch.bool).scatter_(1, self._kept, value=True)
        self._stays = stays.flatten().repeat_interleave(self._parts.cell)  # [N]

    def drop(self, _module: nn.Module, _args: object, patches: Tensor) -> Tensor:
        """After the block: let only their patches go on."""
        self._rotary = tuple(part[self._stays] for part in self._rotary)
        return patches[self._stays]

    def shorten(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hooked:
        """Before a later block: segments and rotary embedding of the patches that are left."""
        before = functional.pad(self._stays.cumsum(dim=0), (1, 0))  # [N + 1]
        ends = kwargs["cu_seqlens"]
        # a window that lost all its patches is no segment any more
        segments = before[ends.long()].to(ends.dtype).unique_consecutive()
        return args, {**kwargs, "cu_seqlens": segments, "position_embeddings": self._rotary}

    def restore(self, _module: nn.Module, _args: object, merged: Tensor) -> Tensor:
        """After the merger: put zeros in place of the cells that are gone.

        The tower's code still expects a row for every cell; no placeholder is left for these.
        """
        full = merged.new_zeros(self._order.numel(), merged.shape[-1])
        return full.index_copy(0, self._rows().flatten(), merged)

    def drop_placeholders(
        self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Hooked:
        """Before the language model: take the placeholders of those cells out of the prompt."""
        if self._prompt.columns is None:
            return args, kwargs
        self._prompt.seen()
        cells = self._order.to(self._kept.device)[self._rows()]  # [B, K], over all images
        cells = cells - self._offsets()
        return args, self._prompt.drop(kwargs, cells.sort(dim=1).values)

    def _rows(self) -> Tensor:  # [B, K]
        """Return the kept cells in the tower's order, counted over all images."""
        return self._kept + self._offsets()

    def _offsets(self) -> Tensor:  # [B, 1]
        cells = self._order.numel() // self._images
        return torch.arange(self._images, device=self._kept.device)[:, None] * cells


def attention_received(queries: Tensor, keys: Tensor) -> Tensor:  # [B, H, N, D] twice -> [B, N]
    """Return the attention every patch receives, averaged over queries and heads."""
    received = queries.new_zeros(len(keys), keys.shape[2])
    for rows in queries.split(CHUNK, dim=2):
        weights = (rows @ keys.transpose(-1, -2) * keys.shape[-1] ** -0.5).softmax(dim=-1)
        received += weights.sum(dim=(1, 2))
    return received / (queries.shape[1] * queries.shape[2])
