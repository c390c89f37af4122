"""A checkpoint as a whole: its weights, and the files beside them that say how to use it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL.Image import Resampling

from efficarch.errors import MissingWeightsError, brief, first_line
from efficarch.files import from_home
from efficarch.models.base import Normalization, WeightsRequest
from efficarch.models.loading import load_cached, load_pretrained, load_random
from efficarch.models.settings import read_settings
from efficarch.record import Weights

PREPROCESSOR = "preprocessor_config.json"
PROCESSOR = "processor_config.json"
IMAGE_PROCESSOR = "image_processor"
"""Newer checkpoints keep the preprocessor inside the settings of the whole processor."""

LARGEST_PX = 8192
"""Of a side; no image encoder sees more."""
LARGEST_VALUE, SMALLEST_DEVIATION = 255.0, 1e-3
"""Pixels are normalised between 0 and 1, or between 0 and 255."""


@dataclass(frozen=True)
class Checkpoint:
    """A folder or hub id that weights were loaded from."""

    name: str
    local_only: bool = False
    """Whether only a copy already on this machine is used."""

    def file(self, filename: str) -> Path | None:
        """Return one of its files; ``None`` if it holds none of that name.

        Raises:
            MissingWeightsError: the hub does not hand it out.
        """
        folder = Path(self.name)
        if folder.is_dir():
            return folder / filename if (folder / filename).is_file() else None
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        try:
            return Path(hf_hub_download(self.name, filename, local_files_only=self.local_only))
        except EntryNotFoundError:
            return None
        except (OSError, ValueError) as error:  # no network, no access, no id of a repository
            raise MissingWeightsError(
                f"cannot get {filename} of {self.name}: {first_line(str(error))}"
            ) from error

    def settings(self, filename: str) -> dict[str, Any]:
        """Return one of its JSON files; nothing if it holds none of that name.

        Raises:
            MissingWeightsError: it is no JSON object.
        """
        path = self.file(filename)
        return {} if path is None else read_settings(path, self.name)


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
    folder = from_home(location)
    return Checkpoint(str(folder) if folder.is_dir() else location)


def normalization_of(checkpoint: Checkpoint | None, default: Normalization) -> Normalization:
    """Return how a checkpoint wants its images; the family's default where it does not say.

    Raises:
        MissingWeightsError: its preprocessor asks for what square images cannot give.
    """
    if checkpoint is None:
        return default
    filename, said = _preprocessor(checkpoint)
    try:
        return _normalization(said, default)
    except ValueError as error:
        raise MissingWeightsError(
            f"{checkpoint.name}: its {filename} must give one square size and three means and "
            f"deviations; {error}"
        ) from error


def _preprocessor(checkpoint: Checkpoint) -> tuple[str, Mapping[str, Any]]:
    """Return the file that says how images are prepared, and what it says."""
    said = checkpoint.settings(PREPROCESSOR)
    if said:
        return PREPROCESSOR, said
    inner = checkpoint.settings(PROCESSOR).get(IMAGE_PROCESSOR, {})
    if not isinstance(inner, dict):
        raise MissingWeightsError(
            f"{checkpoint.name}: {PROCESSOR}: {IMAGE_PROCESSOR} is {brief(inner)}, not an object; "
            "mend or remove it"
        )
    return (PROCESSOR, inner) if inner else (PREPROCESSOR, {})


def fixed_normalization(loaded: Loaded, default: Normalization) -> Normalization:
    """Return `normalization_of` for a model whose positions fit one image size only.

    Raises:
        MissingWeightsError: the preprocessor asks for another size.
    """
    normalization = normalization_of(loaded.checkpoint, default)
    size = loaded.model.config.image_size
    if normalization.size != size:
        name, filename = loaded.source, PREPROCESSOR
        if loaded.checkpoint is not None:
            name, (filename, _said) = loaded.checkpoint.name, _preprocessor(loaded.checkpoint)
        raise MissingWeightsError(
            f"{name}: its {filename} asks for images of {normalization.size} px, its weights "
            f"take {size} px only; set the size to {size}"
        )
    return normalization


def _normalization(said: Mapping[str, Any], default: Normalization) -> Normalization:
    mean, std = _triple(said, "image_mean", default.mean), _triple(said, "image_std", default.std)
    if min(std) < SMALLEST_DEVIATION:
        raise ValueError(f"its image_std is {list(std)}, which pixels cannot be divided by")
    if not _flag(said, "do_normalize", default=True):
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    resample = said.get("resample", default.resample)
    if type(resample) not in (int, Resampling) or resample not in list(Resampling):
        known = f"{min(Resampling)} to {max(Resampling)}"
        raise ValueError(f"its resample is {brief(resample)}, not a filter from {known}")
    return Normalization(_side(said, default.size), mean, std, Resampling(resample))


def _flag(said: Mapping[str, Any], name: str, *, default: bool) -> bool:
    # image processors write null for what they leave to their class
    value = said.get(name)
    if value is not None and type(value) is not bool:
        raise ValueError(f"its {name} is {brief(value)}, neither true nor false")
    return default if value is None else value


def _side(said: Mapping[str, Any], default: int) -> int:
    """Return the side of the square that enters the model: of the crop, if there is one.

    The photos are square crops already, so they are resized straight to it.
    """
    cropped = _flag(said, "do_center_crop", default=False) and "crop_size" in said
    name = "crop_size" if cropped else "size"
    size = said.get(name, default)
    sides = [size]
    if isinstance(size, dict):
        sides = [size.get(each) for each in ("height", "width")]
        sides = [size.get("shortest_edge")] if sides == [None, None] else sides
    if len(set(map(str, sides))) != 1 or type(sides[0]) is not int:
        raise ValueError(
            f"its {name} is {brief(size)}; give height and width alike, or shortest_edge"
        )
    if not 1 <= sides[0] <= LARGEST_PX:
        raise ValueError(f"its {name} is {brief(size)}, not from 1 to {LARGEST_PX} px")
    return sides[0]


def _triple(
    said: Mapping[str, Any], name: str, default: tuple[float, float, float]
) -> tuple[float, float, float]:
    values = said.get(name, default)
    if not isinstance(values, list | tuple) or len(values) != 3 or not all(map(_is_level, values)):
        raise ValueError(
            f"its {name} is {brief(values)}, not three numbers from -{LARGEST_VALUE:.0f} to "
            f"{LARGEST_VALUE:.0f}"
        )
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _is_level(value: Any) -> bool:
    """Whether a value is a number that pixels can be shifted by; NaN is none."""
    return type(value) in (int, float) and -LARGEST_VALUE <= value <= LARGEST_VALUE
