"""The table of models: a new family is one file here, one row below and one suite.

Importing this package imports no torch; a row loads its file when asked.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from efficarch.errors import UnknownNameError

if TYPE_CHECKING:
    from efficarch.models.base import LanguageSubject, SequenceSubject, Subject, WeightsRequest


@dataclass(frozen=True)
class ModelRow:
    """A model as suites name it; ``module`` holds its ``load``, or the one named after a colon."""

    name: str
    module: str
    summary: str
    option: str | None
    """The command-line option that names a hub id or folder; ``None`` for a model whose weights
    are `without_option`."""
    without_option: str = "always seeded random"

    def load(self, request: "WeightsRequest") -> "Subject | LanguageSubject | SequenceSubject":
        """Load the model; see the ``load`` of its file."""
        module, _, name = self.module.partition(":")
        loader: Callable[[WeightsRequest], Subject | LanguageSubject | SequenceSubject] = getattr(
            import_module(module), name or "load"
        )
        return loader(request)


MODELS = {
    row.name: row
    for row in (
        ModelRow(
            "dinov2-small",
            "efficarch.models.dinov2",
            "DINOv2-small, 22 M parameters, 257 tokens at 224 px (arXiv 2304.07193)",
            "--dinov2-path",
        ),
        ModelRow(
            "clip-vit-b16",
            "efficarch.models.clip",
            "CLIP ViT-B/16 image encoder, 86 M parameters, 197 tokens (arXiv 2103.00020)",
            "--clip-path",
        ),
        ModelRow(
            "siglip-base-p16",
            "efficarch.models.siglip",
            "SigLIP base image encoder, 93 M parameters, 196 tokens, no CLS (arXiv 2303.15343)",
            "--siglip-path",
        ),
        ModelRow(
            "vit-b16",
            "efficarch.models.vit_classifier",
            "ViT-B/16 without its classification head, 86 M parameters, 197 tokens "
            "(arXiv 2010.11929)",
            "--vit-path",
        ),
        ModelRow(
            "qwen2.5-vl-3b",
            "efficarch.models.qwen2_5_vl:load_3b",
            "Qwen2.5-VL-3B, whole model: image and prompt to text (arXiv 2502.13923)",
            "--qwen-3b-path",
        ),
        ModelRow(
            "qwen2.5-vl-7b",
            "efficarch.models.qwen2_5_vl:load_7b",
            "Qwen2.5-VL-7B, whole model: image and prompt to text (arXiv 2502.13923)",
            "--qwen-7b-path",
        ),
        ModelRow(
            "qwen2.5-vl-reduced",
            "efficarch.models.qwen2_5_vl:load_reduced",
            "Qwen2.5-VL at a quarter of the depth and a fraction of the width: timing only",
            None,
        ),
        ModelRow(
            "mamba-130m",
            "efficarch.models.mamba:load_mamba",
            "Mamba language model, 129 M parameters, 24 layers (arXiv 2312.00752)",
            "--mamba-path",
        ),
        ModelRow(
            "mamba2-130m",
            "efficarch.models.mamba:load_mamba2",
            "Mamba-2 language model, 129 M parameters, 24 layers (arXiv 2405.21060)",
            "--mamba2-path",
        ),
        ModelRow(
            "mamba-reduced",
            "efficarch.models.mamba:load_mamba_reduced",
            "Mamba-130m at its full width, with 2 layers and 1,024 words: timing only",
            None,
        ),
        ModelRow(
            "mamba2-reduced",
            "efficarch.models.mamba:load_mamba2_reduced",
            "Mamba-2-130m at its full width, with 2 layers and 1,024 words: timing only",
            None,
        ),
        ModelRow(
            "mamba-byte",
            "efficarch.models.byte_mamba",
            "byte-level Mamba, 4 layers, 1 M parameters, trained by this repository "
            "(arXiv 2312.00752)",
            None,
            "packaged",
        ),
    )
}


OPTIONS = {row.option: row.name for row in MODELS.values() if row.option is not None}
"""Which model's weights a command-line option names."""


def destination(option: str) -> str:
    """Return the attribute under which argparse and pytest keep an option."""
    return option.removeprefix("--").replace("-", "_")


def model_row(name: str) -> ModelRow:
    """Return the row of a model.

    Raises:
        UnknownNameError: no such model; names the nearest one.
    """
    if name not in MODELS:
        raise UnknownNameError.of("model", name, list(MODELS))
    return MODELS[name]
