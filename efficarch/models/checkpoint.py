"""A checkpoint as a whole: its weights, and the files beside them that say how to use it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL.Image import Resampling

from efficarch.errors import MissingWeightsError
from efficarch.models.base import Normalization, WeightsRequest
from efficarch.models.loading import load_cached, load_pretrained, load_random
from efficarch.record import Weights

PREPROCESSOR = "preprocessor_config.json"
PROCESSOR = "processor_config.json"
"""Newer checkpoints keep the preprocessor inside the settings of the whole processor."""


@dataclass(frozen=True)
class Checkpoint:
    """A folder or hub id that weights were loaded from."""

    name: str
    local_only: bool = False
    """Whether only a copy already on this machine is used."""

    def file(self, filename: str) -> Path | None:
        """Return one of its files; ``None`` if it holds none of that name."""
        folder = Path(self.name)
        if folder.is_dir():
            return folder / filename if (folder / filename).is_file() else None
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        try:
            return Path(hf_hub_download(self.name, filename, local_files_only=self.local_only))
        except EntryNotFoundError:
            return None

    def settings(self, filename: str) -> dict[str, Any]:
        """Return one of its JSON files; nothing if it holds none of that name."""
        path = self.file(filename)
        if path is None:
            return {}
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise MissingWeightsError(f"{self.name}: {filename} is not valid JSON") from error
        return data if isinstance(data, dict) else {}


@dataclass(frozen=True)
class Family:
    """A model class with the configuration of its random weights and its default checkpoint."""

    kind: Any
    config: Any
    hub_id: str
    option: str


@dataclass(frozen=True)
class Loaded:
    """A model, its source in words, and its checkpoint; random weights have none."""

    model: Any
    source: str
    checkpoint: Checkpoint | None


def load_family(family: Family, request: WeightsRequest) -> Loaded:
    """Load random weights, the location asked for, or the default if this machine has it.

    Without a location nothing is downloaded: a benchmark fetches only what somebody named.

    Raises:
        MissingWeightsError: no such weights here, or they do not fit.
    """
    if request.weights is Weights.RANDOM:
        model, source = load_random(family.kind, family.config, request.seed)
        checkpoint = None
    elif request.location is not None:
        model, source = load_pretrained(family.kind, request.location)
        checkpoint = checkpoint_at(request.location)
    else:
        model, source = load_cached(family.kind, family.hub_id, option=family.option)
        checkpoint = Checkpoint(family.hub_id, local_only=True)
    model.eval()
    return Loaded(model, source, checkpoint)


def checkpoint_at(location: str) -> Checkpoint:
    """Return the checkpoint at a location that `load_pretrained` took."""
    folder = Path(location).expanduser()
    return Checkpoint(str(folder) if folder.is_dir() else location)


def normalization_of(checkpoint: Checkpoint | None, default: Normalization) -> Normalization:
    """Return how a checkpoint wants its images; the family's default where it does not say.

    Raises:
        MissingWeightsError: its preprocessor asks for what square images cannot give.
    """
    if checkpoint is None:
        return default
    said = checkpoint.settings(PREPROCESSOR)
    said = said or checkpoint.settings(PROCESSOR).get("image_processor", {})
    try:
        return _normalization(said, default)
    except (KeyError, TypeError, ValueError) as error:
        raise MissingWeightsError(
            f"{checkpoint.name}: its {PREPROCESSOR} must give one square size and three means and "
            f"deviations; {error}"
        ) from error


def fixed_normalization(loaded: Loaded, default: Normalization) -> Normalization:
    """Return `normalization_of` for a model whose positions fit one image size only.

    Raises:
        MissingWeightsError: the preprocessor asks for another size.
    """
    normalization = normalization_of(loaded.checkpoint, default)
    size = loaded.model.config.image_size
    if normalization.size != size:
        name = loaded.checkpoint.name if loaded.checkpoint else loaded.source
        raise MissingWeightsError(
            f"{name}: its {PREPROCESSOR} asks for images of {normalization.size} px, its weights "
            f"take {size} px only; set the size to {size}"
        )
    return normalization


def _normalization(said: dict[str, Any], default: Normalization) -> Normalization:
    mean, std = said.get("image_mean", default.mean), said.get("image_std", default.std)
    if not said.get("do_normalize", True):
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return Normalization(
        size=_side(said, default.size),
        mean=_triple(mean),
        std=_triple(std),
        resample=Resampling(said.get("resample", default.resample)),
    )


def _side(said: dict[str, Any], default: int) -> int:
    """Return the side of the square that enters the model: of the crop, if there is one.

    The photos are square crops already, so they are resized straight to it.
    """
    cropped = said.get("do_center_crop", False) and "crop_size" in said
    size = said.get("crop_size" if cropped else "size", default)
    if isinstance(size, dict):
        sides = [size["height"], size["width"]] if "height" in size else [size["shortest_edge"]]
    else:
        sides = [size]
    if len(set(sides)) != 1 or type(sides[0]) is not int or sides[0] < 1:
        raise ValueError(f"its size is {size}")
    return sides[0]


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
