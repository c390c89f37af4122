"""Mamba (arXiv 2312.00752) and Mamba-2 (arXiv 2405.21060) language models from transformers.

Any checkpoint of ``MambaForCausalLM`` or ``Mamba2ForCausalLM`` will do. The reduced ones have the
full width, so that a layer costs what it costs in the 130 M models, but two layers and a small
vocabulary; their weights are always random.
"""

from pathlib import Path
from typing import Any

from efficarch.errors import MissingWeightsError
from efficarch.files import from_home
from efficarch.models.base import SequenceSubject, WeightsRequest
from efficarch.models.checkpoint import Checkpoint, Family, load_family
from efficarch.models.loading import load_random
from efficarch.models.settings import CONFIG
from efficarch.record import Weights

HUB_MAMBA = "state-spaces/mamba-130m-hf"
HUB_MAMBA2 = "AntonV/mamba2-130m-hf"
"""A conversion: ``state-spaces/mamba2-130m`` itself is in mamba-ssm's format, which transformers
cannot read."""

OPTION_MAMBA = "--mamba-path"
OPTION_MAMBA2 = "--mamba2-path"

WIDTH = 768
LAYERS = 24
REDUCED_LAYERS = 2
REDUCED_WORDS = 1024


def mamba_config(*, layers: int = LAYERS, words: int = 50280) -> Any:
    """Return the dimensions of mamba-130m, with so many layers and words."""
    from transformers import MambaConfig

    return MambaConfig(
        hidden_size=WIDTH,
        num_hidden_layers=layers,
        vocab_size=words,
        state_size=16,
        expand=2,
        conv_kernel=4,
        time_step_rank=48,
    )


def mamba2_config(*, layers: int = LAYERS, words: int = 50288) -> Any:
    """Return the dimensions of mamba2-130m, with so many layers and words."""
    from transformers import Mamba2Config

    return Mamba2Config(
        hidden_size=WIDTH,
        num_hidden_layers=layers,
        vocab_size=words,
        state_size=128,
        expand=2,
        head_dim=64,
        num_heads=2 * WIDTH // 64,
        n_groups=1,
        conv_kernel=4,
        chunk_size=256,
        tie_word_embeddings=True,
    )


def load_mamba(request: WeightsRequest) -> SequenceSubject:
    """Load mamba-130m, or another Mamba by hub id or folder; see `load_family`."""
    from transformers import MambaForCausalLM

    family = Family(MambaForCausalLM, mamba_config(), HUB_MAMBA, OPTION_MAMBA)
    return _released(family, request)


def load_mamba2(request: WeightsRequest) -> SequenceSubject:
    """Load mamba2-130m, or another Mamba-2 by hub id or folder; see `load_family`."""
    from transformers import Mamba2ForCausalLM

    family = Family(Mamba2ForCausalLM, mamba2_config(), HUB_MAMBA2, OPTION_MAMBA2)
    return _released(family, request)


def load_mamba_reduced(request: WeightsRequest) -> SequenceSubject:
    """Build the reduced Mamba, always with random weights of the request's seed."""
    from transformers import MambaForCausalLM

    config = mamba_config(layers=REDUCED_LAYERS, words=REDUCED_WORDS)
    return _reduced(MambaForCausalLM, config, request.seed)


def load_mamba2_reduced(request: WeightsRequest) -> SequenceSubject:
    """Build the reduced Mamba-2, always with random weights of the request's seed."""
    from transformers import Mamba2ForCausalLM

    config = mamba2_config(layers=REDUCED_LAYERS, words=REDUCED_WORDS)
    return _reduced(Mamba2ForCausalLM, config, request.seed)


def _released(family: Family, request: WeightsRequest) -> SequenceSubject:
    if request.weights is Weights.PRETRAINED and request.location is not None:
        _check_kind(family, from_home(request.location))
    loaded = load_family(family, request)
    return SequenceSubject(loaded.model, request.weights, loaded.source)


def _check_kind(family: Family, folder: Path) -> None:
    """Refuse a folder of another model, which transformers would try to read as one of this kind.

    Raises:
        MissingWeightsError: its configuration names another type of model.
    """
    if not (folder / CONFIG).is_file():
        return
    wanted = family.config.model_type
    found = Checkpoint(str(folder)).settings(CONFIG).get("model_type")
    if found != wanted:
        raise MissingWeightsError(
            f"{str(folder)!r} holds a model of type {found!r}; {family.option} takes one of type "
            f"{wanted!r}"
        )


def _reduced(kind: Any, config: Any, seed: int) -> SequenceSubject:
    model, source = load_random(kind, config, seed)
    return SequenceSubject(model.eval(), Weights.RANDOM, f"reduced depth and vocabulary, {source}")
