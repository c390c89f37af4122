"""Pruning between a vision tower and its language model: after the merger.

The rules of `pruning` look at the merged features, and at queries and keys of the tower's last
full-attention block, as its attention sees them (with their rotary embedding). A merged token's
query and key are the means of those of its patches, so attention between them approximates that of
the tower. They travel through the merger beside the features: the model's own code then undoes the
window order of the tower.

# B prompts, P visual tokens, K kept ones, C channels of the language model, V of the tower
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from efficarch.models.vision_language import VisionLanguage, rotated
from efficarch.reducers.base import take_rows
from efficarch.reducers.visual_prompt import Hooked, visual_prompt


@dataclass(frozen=True)
class MergedTokens:
    """The visual tokens as the language model would get them, in raster order."""

    states: Tensor  # [B, P, C]
    queries: Tensor  # [B, P, V]
    keys: Tensor  # [B, P, V]
    heads: int
    grid: tuple[int, int] | None
    """Rows and columns of the image's cells; ``None`` when some were dropped inside the tower."""


Choose = Callable[[MergedTokens], tuple[Tensor, Tensor]]
"""Returns which tokens stay, ascending [B, K], and their states [B, K, C]."""


@contextmanager
def pruned_visual_tokens(model: nn.Module, choose: Choose) -> Iterator[None]:
    """Hand only the chosen visual tokens to the language model within the context."""
    with visual_prompt(model) as prompt, ExitStack() as stack:
        parts = prompt.parts
        riders = _Riders(parts)

        def drop(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hooked:
            if prompt.columns is None:
                return args, kwargs
            columns, cells = prompt.seen()
            queries, keys = riders.of(cells)
            states = take_rows(kwargs["inputs_embeds"], columns[..., None])
            rows, across = prompt.grid
            whole = prompt.grid if columns.shape[1] == rows * across else None
            kept, left = choose(MergedTokens(states, queries, keys, parts.heads, whole))
            return args, prompt.drop(kwargs, kept, left)

        attention = parts.blocks[parts.full_attention[-1]].get_submodule("attn")
        for handle in (
            attention.register_forward_pre_hook(riders.see_rotary, with_kwargs=True),
            attention.get_submodule("qkv").register_forward_hook(riders.mount),
            # first, so that whoever restores the tokens that were dropped inside the tower
            # restores rows with their riders on
            parts.merger.register_forward_hook(riders.join, prepend=True),
            parts.tower.register_forward_hook(riders.dismount),
            parts.language.register_forward_pre_hook(drop, with_kwargs=True),
        ):
            stack.callback(handle.remove)
        yield


class _Riders:
    """Queries and keys of one block on their way to the order of the merged features."""

    def __init__(self, parts: VisionLanguage) -> None:
        self._parts = parts
        self._rotary: tuple[Tensor, Tensor] | None = None
        self._mounted = torch.empty(0)
        self._arrived = torch.empty(0)

    def see_rotary(self, _module: nn.Module, _args: object, kwargs: dict[str, Any]) -> None:
        self._rotary = kwargs["position_embeddings"]  # two of [N, D]

    def mount(self, _module: nn.Module, _args: object, projected: Tensor) -> None:
        if self._rotary is None:
            raise AssertionError("the block's rotary embedding comes before its projections")
        cos, sin = (part[:, None, None] for part in self._rotary)  # [N, 1, 1, D]
        split = projected.unflatten(-1, (3, self._parts.heads, -1))[:, :2]  # [N, 2, H, D]
        turned = rotated(split, cos, sin).to(projected.dtype).flatten(1)  # [N, 2 V]
        self._mounted = turned.unflatten(0, (-1, self._parts.cell)).mean(dim=1)  # [B * P, 2 V]

    def join(self, _module: nn.Module, _args: object, merged: Tensor) -> Tensor:
        return torch.cat([merged, self._mounted], dim=-1)  # [B * P, C + 2 V]

    def dismount(self, _module: nn.Module, _args: object, output: Any) -> Any:
        width = output.pooler_output.shape[-1] - self._mounted.shape[-1]
        output.pooler_output, self._arrived = output.pooler_output.tensor_split((width,), dim=-1)
        return output

    def of(self, cells: Tensor) -> tuple[Tensor, Tensor]:  # [B, P] -> two of [B, P, V]
        """Return queries and keys of some cells of every image."""
        everything = self._arrived.unflatten(0, (len(cells), -1))
        queries, keys = take_rows(everything, cells[..., None]).chunk(2, dim=-1)
        return queries, keys
