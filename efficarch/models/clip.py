"""CLIP ViT-B/16 image encoder with its projection, arXiv 2103.00020."""

from typing import Any

from torch import Tensor, nn

from efficarch.models.base import Normalization, Subject, WeightsRequest
from efficarch.models.images import prepare
from efficarch.models.loading import load_cached, load_pretrained, load_random
from efficarch.record import Weights

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

    Without a location only a copy already on this machine is used: a benchmark does not download
    what nobody named.

    Raises:
        MissingWeightsError: no such weights here, or a folder that does not fit.
    """
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    if request.weights is Weights.RANDOM:
        config = CLIPVisionConfig(**CONFIG)
        model, source = load_random(CLIPVisionModelWithProjection, config, request.seed)
    elif request.location is not None:
        model, source = load_pretrained(CLIPVisionModelWithProjection, request.location)
    else:
        model, source = load_cached(CLIPVisionModelWithProjection, HUB_ID, option="--clip-path")
    model.eval()
    normalization = Normalization(model.config.image_size, MEAN, STD)
    return Subject(
        model=model,
        prepare=lambda images: prepare(images, normalization),
        embed=lambda pixels: _embed(model, pixels),
        weights=request.weights,
        source=source,
    )


def _embed(model: nn.Module, pixels: Tensor) -> Tensor:
    embedding: Tensor = model(pixel_values=pixels).image_embeds
    return embedding
