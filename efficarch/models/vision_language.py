"""One view of a vision-language model's parts (Qwen2.5-VL), for methods that reduce its tokens.

# N tokens, H heads, D channels per head, C = H * D channels
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from efficarch.errors import EfficarchError

KINDS = ("Qwen2_5_VLForConditionalGeneration",)
IMPLEMENTATIONS = ("sdpa", "eager")
"""Attention implementations that methods inside the tower or the language model work under."""


@dataclass(frozen=True)
class VisionLanguage:
    """A vision tower, its merger and the language model behind them.

    ``base`` takes prompt and pixels, runs the tower and hands embeddings to ``language``.
    """

    base: nn.Module
    tower: nn.Module
    blocks: tuple[nn.Module, ...]
    full_attention: tuple[int, ...]
    """The tower's blocks in which a patch attends to the whole image, not to its window alone."""
    heads: int
    """Of the tower."""
    merger: nn.Module
    cell: int
    """Patches of the tower that the merger makes one visual token of."""
    language: nn.Module
    layers: tuple[nn.Module, ...]
    image_token: int
    config: Any


def is_vision_language(model: nn.Module) -> bool:
    """Whether a model has a prompt with visual tokens in it."""
    return type(model).__name__ in KINDS


def parts_of(model: nn.Module) -> VisionLanguage:
    """Return the parts of a vision-language model.

    Raises:
        EfficarchError: the model is of another kind.
    """
    if not is_vision_language(model):
        raise EfficarchError(
            f"{type(model).__name__} has no vision tower with a language model behind it; "
            f"known models: {', '.join(KINDS)}"
        )
    config: Any = model.config
    vision = config.vision_config
    tower, language = (model.get_submodule(f"model.{n}") for n in ("visual", "language_model"))
    return VisionLanguage(
        base=model.get_submodule("model"),
        tower=tower,
        blocks=tuple(tower.get_submodule("blocks").children()),
        full_attention=tuple(sorted(vision.fullatt_block_indexes)),
        heads=vision.num_heads,
        merger=tower.get_submodule("merger"),
        cell=vision.spatial_merge_size**2,
        language=language,
        layers=tuple(language.get_submodule("layers").children()),
        image_token=config.image_token_id,
        config=config,
    )


def check_attention(config: Any, method: str) -> None:
    """Refuse an attention implementation whose masks or segments a method could not follow.

    Raises:
        EfficarchError: names the implementation and the ones that work.
    """
    found = config._attn_implementation
    if found not in IMPLEMENTATIONS:
        raise EfficarchError(
            f"{method} does not work under {found!r} attention; load the model with "
            f"attn_implementation={IMPLEMENTATIONS[0]!r} (or {IMPLEMENTATIONS[1]!r})"
        )


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return queries or keys under rotary embedding, in float32.

    All three broadcast against [..., N, D]; the second half of the channels is the partner of the
    first (arXiv 2104.09864, in the layout of transformers).
    """
    x, cos, sin = x.float(), cos.float(), sin.float()
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


@contextmanager
def recorded_layers(model: nn.Module) -> Iterator[list[int]]:
    """Within the context, append to the yielded list the tokens entering each language layer."""
    tokens: list[int] = []

    def record(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
        tokens.append(args[0].shape[1])

    handles = [layer.register_forward_pre_hook(record) for layer in parts_of(model).layers]
    try:
        yield tokens
    finally:
        for handle in handles:
            handle.remove()
