"""Getting weights into transformers models, with one clear sentence when they are not there."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from efficarch.errors import MissingWeightsError, first_line
from efficarch.files import from_home
from efficarch.models.settings import check_config


def load_random(kind: Any, config: Any, seed: int) -> tuple[Any, str]:
    """Build a seeded random model: right for timing, meaningless for quality."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(config)
    return model, f"random weights, seed {seed}"


def load_state(kind: Any, config: Any, state: dict[str, Tensor]) -> Any:
    """Load a state dict with the same renaming of keys that a checkpoint from the hub gets."""
    _quiet()
    return kind.from_pretrained(None, config=config, state_dict=state)


def load_pretrained(kind: Any, location: str) -> tuple[Any, str]:
    """Load a hub id or a local folder.

    Raises:
        MissingWeightsError: it is not there, is no checkpoint of this class, or does not fit.
    """
    # whatever looks like a path and is none would be asked of the hub, with a puzzling answer
    looks_like_path = location.startswith((".", "/", "~")) or location.count("/") != 1
    folder = from_home(location)
    if looks_like_path and not folder.is_dir():
        raise MissingWeightsError(
            f"no weights folder {location!r}; give an existing folder or a hub id"
        )
    if folder.is_dir():
        check_config(folder)
    name = str(folder) if folder.is_dir() else location
    model, source = _from_pretrained(kind, name, local_only=False), _source(location, folder)
    return model, source


def load_cached(kind: Any, hub_id: str, *, option: str) -> tuple[Any, str]:
    """Load a hub id from this machine's cache only.

    Raises:
        MissingWeightsError: it was never downloaded here; names the option that helps.
    """
    from huggingface_hub import try_to_load_from_cache

    # asked first: transformers looks a few things up on the network even for a local copy
    if not isinstance(try_to_load_from_cache(hub_id, "config.json"), str):
        raise MissingWeightsError(
            f"{hub_id} is not on this machine; name a folder or hub id with {option}, "
            "or ask for random weights (timing only) with --weights random; pytest calls these "
            f"{option.replace('--', '--efficarch-', 1)} and --efficarch-weights"
        )
    return _from_pretrained(kind, hub_id, local_only=True), f"hub {hub_id}"


def _source(location: str, folder: Path) -> str:
    return f"folder {folder.resolve().name}" if folder.is_dir() else f"hub {location}"


def _from_pretrained(kind: Any, name: str, *, local_only: bool) -> nn.Module:
    _quiet()
    try:
        model, info = kind.from_pretrained(
            name, local_files_only=local_only, output_loading_info=True
        )
    except Exception as error:  # whatever a configuration or damaged weights lead to in there
        raise MissingWeightsError(
            f"{name!r} holds no loadable {kind.__name__}: {type(error).__name__}: "
            f"{first_line(str(error))}"
        ) from error
    missing = sorted(info["missing_keys"]) + sorted(str(key) for key in info["mismatched_keys"])
    if missing:
        raise MissingWeightsError(
            f"{name!r} does not fit {kind.__name__}: {len(missing)} parameters are missing or of "
            f"another shape, the first is {missing[0]}"
        )
    loaded: nn.Module = model
    return loaded


def _quiet() -> None:
    """Keep the progress bar of a few hundred tensors from standing between lines of a run."""
    from transformers.utils import logging

    logging.disable_progress_bar()
