"""The Transformer a Mamba is timed against: as wide, as deep, with as many parameters.

A Llama (arXiv 2302.13971: pre-norm, rotary positions, SwiGLU) on SDPA, with seeded random weights:
right for latency, memory and FLOPs, and for nothing else. Width, depth, vocabulary and whether
embeddings are tied are the Mamba's; the MLP takes what parameters are left, which is less than
usual, since a Mamba block is smaller than a Transformer's and is usually stacked twice as deep.
"""

from typing import Any

from torch import nn

from efficarch.errors import EfficarchError
from efficarch.models.loading import load_random

HEAD_DIM = 64
TOLERANCE = 0.01
"""How far the numbers of parameters may lie apart, relative to the Mamba's."""

ALIGNMENTS = (64, 8, 1)
"""What the MLP's width is a multiple of, best first: GPUs multiply aligned matrices faster."""

POSITIONS = 1 << 20


def parameter_count(model: nn.Module) -> int:
    """Return how many parameters a model has, tied ones counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


def matched_transformer(model: nn.Module, seed: int) -> nn.Module:
    """Build the Transformer that matches a causal language model, with random weights.

    Raises:
        EfficarchError: the width does not split into heads, or attention alone has more parameters.
    """
    from transformers import LlamaForCausalLM

    built: nn.Module = load_random(LlamaForCausalLM, matched_config(model), seed)[0]
    return built.eval()


def matched_config(model: nn.Module) -> Any:
    """Return the configuration of `matched_transformer`."""
    from transformers import LlamaConfig

    sizes: Any = model.config
    width, layers, words = sizes.hidden_size, sizes.num_hidden_layers, sizes.vocab_size
    if width % HEAD_DIM:
        raise EfficarchError(
            f"the width {width} does not split into heads of {HEAD_DIM}; use a model whose width "
            f"is a multiple of {HEAD_DIM}"
        )
    tied = bool(sizes.tie_word_embeddings)
    embeddings = words * width * (1 if tied else 2)
    without_mlp = embeddings + layers * (4 * width * width + 2 * width) + width
    config = LlamaConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        vocab_size=words,
        num_attention_heads=width // HEAD_DIM,
        intermediate_size=mlp_width(parameter_count(model), without_mlp, 3 * width * layers),
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=tied,
    )
    config._attn_implementation = "sdpa"
    return config


def mlp_width(wanted: int, without_mlp: int, per_unit: int) -> int:
    """Return the MLP's width with which ``without_mlp + width * per_unit`` comes near ``wanted``.

    Raises:
        EfficarchError: even the narrowest MLP makes too many parameters.
    """
    for multiple in ALIGNMENTS:
        width = max(1, round((wanted - without_mlp) / per_unit / multiple)) * multiple
        if abs(without_mlp + width * per_unit - wanted) <= TOLERANCE * wanted:
            return width
    raise EfficarchError(
        f"no Transformer of this width and depth has {wanted} parameters: attention and embeddings "
        f"alone have {without_mlp}; use a model with wider blocks"
    )
