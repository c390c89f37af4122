"""ViT-B/16, the supervised image classifier without its classification head, arXiv 2010.11929."""

from typing import Any

from PIL.Image import Resampling
from torch import Tensor, nn

from efficarch.models.base import Normalization, Subject, WeightsRequest
from efficarch.models.checkpoint import Family, fixed_normalization, load_family
from efficarch.models.images import prepare

HUB_ID = "google/vit-base-patch16-224"
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
    """Load the model as asked; the embedding is the CLS state after the final norm, [n, 768].

    Raises:
        MissingWeightsError: no such weights here, or a folder that does not fit.
    """
    from transformers import ViTConfig

    loaded = load_family(Family(_Encoder(), ViTConfig(**CONFIG), HUB_ID, "--vit-path"), request)
    normalization = fixed_normalization(
        loaded, Normalization(loaded.model.config.image_size, MEAN, STD, Resampling.BILINEAR)
    )
    return Subject(
        model=loaded.model,
        prepare=lambda images: prepare(images, normalization),
        embed=lambda pixels: _embed(loaded.model, pixels),
        weights=request.weights,
        source=loaded.source,
    )


class _Encoder:
    """ViTModel without the pooler, which checkpoints of classifiers do not hold.

    Not a subclass: transformers renames a checkpoint's keys by the name of the class.
    """

    __name__ = "ViTModel"

    def __call__(self, config: Any) -> nn.Module:
        from transformers import ViTModel

        return ViTModel(config, add_pooling_layer=False)

    def from_pretrained(
        self, name: str, *, local_files_only: bool, output_loading_info: bool
    ) -> Any:
        """Load a checkpoint as the method of the same name does."""
        from transformers import ViTModel

        return ViTModel.from_pretrained(
            name,
            add_pooling_layer=False,
            local_files_only=local_files_only,
            output_loading_info=output_loading_info,
        )


def _embed(model: nn.Module, pixels: Tensor) -> Tensor:
    states: Tensor = model(pixel_values=pixels).last_hidden_state
    return states[:, 0]
