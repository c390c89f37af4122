"""SigLIP base, patch 16, image encoder with its attention-pooling head, arXiv 2303.15343."""

from typing import Any

from torch import Tensor, nn

from efficarch.models.base import Normalization, Subject, WeightsRequest
from efficarch.models.checkpoint import Family, fixed_normalization, load_family
from efficarch.models.images import prepare
from efficarch.models.texts import text_tower

HUB_ID = "google/siglip-base-patch16-224"
MEAN = (0.5, 0.5, 0.5)
STD = (0.5, 0.5, 0.5)

CONFIG: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 16,
}


def load(request: WeightsRequest) -> Subject:
    """Load the model as asked; the embedding is pooled from all patches, [n, 768].

    Raises:
        MissingWeightsError: no such weights here, or a folder that does not fit.
    """
    from transformers import SiglipModel, SiglipVisionConfig, SiglipVisionModel

    config = SiglipVisionConfig(**CONFIG)
    loaded = load_family(Family(SiglipVisionModel, config, HUB_ID, "--siglip-path"), request)
    normalization = fixed_normalization(
        loaded, Normalization(loaded.model.config.image_size, MEAN, STD)
    )
    return Subject(
        model=loaded.model,
        prepare=lambda images: prepare(images, normalization),
        embed=lambda pixels: _embed(loaded.model, pixels),
        weights=request.weights,
        source=loaded.source,
        classify=text_tower(SiglipModel, loaded.checkpoint),
    )


def _embed(model: nn.Module, pixels: Tensor) -> Tensor:
    embedding: Tensor = model(pixel_values=pixels).pooler_output
    return embedding
