"""What every model family hands to the harness."""

from collections.abc import Callable
from dataclasses import dataclass

from PIL.Image import Image, Resampling
from torch import Tensor, nn

from efficarch.record import Weights


@dataclass(frozen=True)
class WeightsRequest:
    """Which weights the user asked for; never silently replaced by others.

    ``location`` is a hub id or a local folder; ``None`` means the family's default.
    """

    weights: Weights
    location: str | None
    seed: int


@dataclass(frozen=True)
class TextHead:
    """A zero-shot classifier: text embeddings of unit length, and what their cosines are scaled by.

    In float32 on the CPU, whatever the model of the images runs in.
    """

    embeddings: Tensor  # [classes, channels]
    scale: float


@dataclass(frozen=True)
class Subject:
    """A loaded model in evaluation mode with its way in and its way out.

    ``prepare`` turns images into pixel values [n, 3, height, width]; ``embed`` turns those into
    one embedding per image [n, channels]; ``classify`` turns texts into a head over those
    embeddings, where the checkpoint has a text tower and its tokenizer.
    """

    model: nn.Module
    prepare: Callable[[list[Image]], Tensor]
    embed: Callable[[Tensor], Tensor]
    weights: Weights
    source: str
    classify: Callable[[list[str]], TextHead] | None = None


@dataclass(frozen=True)
class LanguageSubject:
    """A loaded vision-language model in evaluation mode with its way in.

    ``prepare`` turns an image and a prompt into the model's keyword arguments: ``input_ids``,
    ``attention_mask`` and ``mm_token_type_ids`` [1, length], ``pixel_values`` [patches, values] and
    ``image_grid_thw`` [1, 3].
    """

    model: nn.Module
    prepare: Callable[[Image, str], dict[str, Tensor]]
    weights: Weights
    source: str


@dataclass(frozen=True)
class SequenceSubject:
    """A loaded causal language model of transformers in evaluation mode; ids are [n, length]."""

    model: nn.Module
    weights: Weights
    source: str


@dataclass(frozen=True)
class Normalization:
    """Input size, per-channel statistics and resizing filter a model was trained with."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resample: Resampling = Resampling.BICUBIC
