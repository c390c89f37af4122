"""CLIP ViT-B/16 image encoder with its projection, arXiv 2103.00020."""

from typing import Any

from torch import Tensor, nn

from efficarch.models.base import Normalization, Subject, WeightsRequest
from efficarch.models.checkpoint import Family, fixed_normalization, load_family
from efficarch.models.images import prepare
from efficarch.models.texts import text_tower

HUB_ID = "openai/clip-vit-base-patch16"
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

CONFIG: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 16,
    "projection_dim": 512,
}


def load(request: WeightsRequest) -> Subject:
    """Load the model as asked; the embedding is the projected image embedding, [n, 512].

    Raises:
        MissingWeightsError: no such weights here, or a folder that does not fit.
    """
    from transformers import CLIPModel, CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(**CONFIG)
    family = Family(CLIPVisionModelWithProjection, config, HUB_ID, "--clip-path")
    loaded = load_family(family, request)
    normalization = fixed_normalization(
        loaded, Normalization(loaded.model.config.image_size, MEAN, STD)
    )
    return Subject(
        model=loaded.model,
        prepare=lambda images: prepare(images, normalization),
        embed=lambda pixels: _embed(loaded.model, pixels),
        weights=request.weights,
        source=loaded.source,
        classify=text_tower(CLIPModel, loaded.checkpoint),
    )


def _embed(model: nn.Module, pixels: Tensor) -> Tensor:
    embedding: Tensor = model(pixel_values=pixels).image_embeds
    return embedding
