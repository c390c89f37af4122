"""Tiny Mamba, Mamba-2 and Llama models with random weights, as rows of the table of models."""

from typing import Any

from efficarch.models import ModelRow
from efficarch.models.base import SequenceSubject, WeightsRequest
from efficarch.models.loading import load_random
from efficarch.record import Weights

WORDS = 32
WIDTH = 64
LAYERS = 2


def mamba(seed: int = 0) -> Any:
    """Return a Mamba of two layers and width 64."""
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(
        hidden_size=WIDTH, num_hidden_layers=LAYERS, vocab_size=WORDS, state_size=8
    )
    return load_random(MambaForCausalLM, config, seed)[0].eval()


def mamba2(seed: int = 0, limit: tuple[float, float] = (0.0, float("inf"))) -> Any:
    """Return a Mamba-2 of two layers and width 64: 4 heads in 2 groups, chunks of 16."""
    from transformers import Mamba2Config, Mamba2ForCausalLM

    config = Mamba2Config(
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        vocab_size=WORDS,
        state_size=8,
        num_heads=4,
        head_dim=32,
        n_groups=2,
        chunk_size=16,
        time_step_limit=limit,
        tie_word_embeddings=True,
    )
    return load_random(Mamba2ForCausalLM, config, seed)[0].eval()


BUILDERS = {"mamba": mamba, "mamba2": mamba2}


def load_mamba(request: WeightsRequest) -> SequenceSubject:
    """Load the tiny Mamba under the label asked for."""
    return SequenceSubject(mamba(request.seed), request.weights, f"tiny, seed {request.seed}")


def load_mamba2(request: WeightsRequest) -> SequenceSubject:
    """Load the tiny Mamba-2, always random."""
    return SequenceSubject(mamba2(request.seed), Weights.RANDOM, f"tiny, seed {request.seed}")


ROWS = {
    name: ModelRow(name, f"tests.models.sequence_models:load_{kind}", "tiny", None)
    for name, kind in (("tiny-mamba", "mamba"), ("tiny-mamba2", "mamba2"))
}
