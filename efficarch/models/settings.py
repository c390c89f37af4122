"""The JSON files beside a checkpoint's weights: read strictly, refused with file and field."""

from collections.abc import Iterator, Mapping
from math import isnan
from pathlib import Path
from typing import Any

from efficarch.errors import MissingWeightsError, brief
from efficarch.files import parse_json, read_text

CONFIG = "config.json"

MOST: dict[str, int] = {
    "hidden_size": 10**6,
    "intermediate_size": 10**7,
    "num_hidden_layers": 1_000,
    "depth": 1_000,
    "num_attention_heads": 10**4,
    "num_key_value_heads": 10**4,
    "num_heads": 10**4,
    "num_channels": 1_000,
    "image_size": 10**5,
    "patch_size": 1_000,
    "mlp_ratio": 1_000,
    "projection_dim": 10**5,
    "projection_size": 10**5,
    "vocab_size": 10**7,
    "max_position_embeddings": 10**6,
    "state_size": 10**4,
    "conv_kernel": 1_000,
    "head_dim": 10**5,
    "chunk_size": 10**6,
}
"""The largest that a size can be; a model of a million layers would be built for hours."""

BYTES_A_PARAMETER = 0.25
"""Fewer than any format stores."""
SPARE_PARAMETERS = 10**8
"""So many more than the weights can hold fit into memory, and are named when they are missing."""


def read_settings(path: Path, name: str) -> dict[str, Any]:
    """Return what a JSON file of the checkpoint ``name`` says.

    Raises:
        MissingWeightsError: it cannot be read, or holds no JSON object.
    """
    where = f"{name}: {path.name}"
    try:
        data = parse_json(read_text(path))
    except OSError as error:
        raise MissingWeightsError(f"{where}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise MissingWeightsError(f"{where} is not valid JSON ({error}); mend it") from error
    if not isinstance(data, dict):
        raise MissingWeightsError(f"{where} is {brief(data)}, not an object; mend it")
    return data


def check_config(folder: Path) -> None:
    """Check that a local folder's configuration has sizes that a model can be built with.

    transformers fails on others with whatever its arithmetic leads to, after hours, or by taking
    all memory for parameters that the weights do not hold.

    Raises:
        MissingWeightsError: a size is none, a number is not one, or the sizes do not belong to
            the weights; names the field.
    """
    if not (folder / CONFIG).is_file():
        return
    where, config = f"{folder}: {CONFIG}", read_settings(folder / CONFIG, str(folder))
    weights = [path for end in ("safetensors", "bin") for path in folder.glob(f"*.{end}")]
    stored = sum(path.stat().st_size for path in weights)
    for name, section in _sections(where, config):
        _check_sizes(name, section)
        fewest = _fewest_parameters(section)
        if stored and fewest > stored / BYTES_A_PARAMETER + SPARE_PARAMETERS:
            raise MissingWeightsError(
                f"{name}: its sizes (hidden_size {section.get('hidden_size')}) are those of "
                f"{fewest:,} parameters or more, its weights have {stored:,} bytes; mend it"
            )


def _sections(where: str, config: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the configuration and those of its towers, with their names."""
    yield where, config
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _sections(f"{where}: {name}", value)


def _check_sizes(where: str, section: Mapping[str, Any]) -> None:
    for name, value in section.items():
        if isinstance(value, float) and isnan(value):
            raise MissingWeightsError(f"{where}: {name} is NaN; mend it")
        # what is null takes the default of its class
        if name in MOST and value is not None and not _is_size(value, MOST[name]):
            raise MissingWeightsError(
                f"{where}: {name} is {brief(value)}, not a whole number from 1 to "
                f"{MOST[name]:,}; mend it"
            )


def _is_size(value: Any, most: int) -> bool:
    return type(value) is int and 1 <= value <= most


def _fewest_parameters(section: Mapping[str, Any]) -> int:
    """Return how many parameters a model of checked sizes has at least, of any family here."""

    def size(name: str) -> int:
        return section.get(name) or 0

    width, layers = size("hidden_size"), size("num_hidden_layers") or size("depth")
    inner = size("intermediate_size") or width * size("mlp_ratio")
    side = size("image_size") // (size("patch_size") or 1)
    return width * (layers * (width + inner) + size("vocab_size") + side**2)
