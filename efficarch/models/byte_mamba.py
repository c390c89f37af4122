"""A byte-level Mamba (arXiv 2312.00752) that ships with efficarch, weights included.

Small enough to train on two CPU cores (``benchmarks/byte_mamba``), on text that every Python
installation carries: what must be measured on a trained model can be, with nothing to download.
"""

from hashlib import sha256
from pathlib import Path
from typing import Any

from efficarch.errors import MissingWeightsError
from efficarch.files import parse_json, read_text
from efficarch.models.base import SequenceSubject, WeightsRequest
from efficarch.models.loading import load_random, load_state
from efficarch.record import Weights

DATA = Path(__file__).parent / "data"
CHECKPOINT = "byte_mamba.safetensors"
DESCRIPTION = "byte_mamba.json"
"""What the checkpoint is: configuration, seed, text, Python, and its bits per byte."""


def load(request: WeightsRequest) -> SequenceSubject:
    """Load the packaged model, or one of its shape with random weights; tokens are bytes.

    Raises:
        MissingWeightsError: its files are missing, or do not belong together.
    """
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(**_section("config", DATA))
    if request.weights is Weights.RANDOM:
        model, source = load_random(MambaForCausalLM, config, request.seed)
    else:
        model = load_state(MambaForCausalLM, config, packaged_state())
        source = f"packaged {CHECKPOINT}"
    model.eval()
    return SequenceSubject(model=model, weights=request.weights, source=source)


def description(folder: Path = DATA) -> dict[str, Any]:
    """Return what a folder's checkpoint is said to be.

    Raises:
        MissingWeightsError: the file is missing or no JSON object.
    """
    try:
        found = parse_json(read_text(folder / DESCRIPTION))
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(folder) from error
    if not isinstance(found, dict):
        raise _unreadable(folder)
    return found


def _section(name: str, folder: Path) -> dict[str, Any]:
    section = description(folder).get(name)
    if not isinstance(section, dict):
        raise _unreadable(folder)
    return section


def _unreadable(folder: Path) -> MissingWeightsError:
    return MissingWeightsError(
        f"cannot read {folder / DESCRIPTION}; reinstall efficarch, or train the model again "
        "with tox -e train-byte-mamba"
    )


def packaged_state(folder: Path = DATA) -> dict[str, Any]:
    """Return the weights in a folder by name, if they are the ones its description is about.

    Raises:
        MissingWeightsError: a file is missing, or the two do not belong together.
    """
    from safetensors.torch import load as loaded

    wanted = _section("checkpoint", folder).get("sha256")
    path = folder / CHECKPOINT
    content = path.read_bytes() if path.is_file() else b""
    if sha256(content).hexdigest() != wanted:
        raise MissingWeightsError(
            f"{path} is missing or not the checkpoint that {DESCRIPTION} describes; reinstall "
            "efficarch, or train the model again with tox -e train-byte-mamba"
        )
    state: dict[str, Any] = loaded(content)
    return state
