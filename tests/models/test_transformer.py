"""Claims about the Transformer that a Mamba is timed against."""

from typing import Any

import pytest
import torch
from torch import nn

from efficarch.errors import EfficarchError
from efficarch.models.mamba import mamba2_config, mamba_config
from efficarch.models.transformer import (
    ALIGNMENTS,
    TOLERANCE,
    matched_config,
    matched_transformer,
    mlp_width,
    parameter_count,
)
from tests.models.sequence_models import BUILDERS, LAYERS, WIDTH, WORDS

CONFIGS = {
    "mamba-130m": ("MambaForCausalLM", mamba_config()),
    "mamba2-130m": ("Mamba2ForCausalLM", mamba2_config()),
    "mamba-reduced": ("MambaForCausalLM", mamba_config(layers=2, words=1024)),
    "mamba2-reduced": ("Mamba2ForCausalLM", mamba2_config(layers=2, words=1024)),
}


def on_meta(kind: str, config: Any) -> nn.Module:
    """Build a model without allocating it."""
    import transformers

    with torch.device("meta"):
        built: nn.Module = getattr(transformers, kind)(config)
    return built


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_match_within_a_hundredth(name: str) -> None:
    """As many parameters at the same width, depth and vocabulary, in heads of 64."""
    kind, config = CONFIGS[name]
    model = on_meta(kind, config)
    matched = matched_config(model)
    reference = on_meta("LlamaForCausalLM", matched)

    wanted = parameter_count(model)
    assert abs(parameter_count(reference) - wanted) <= 0.01 * wanted
    assert matched.hidden_size == config.hidden_size == 768
    assert matched.num_hidden_layers == config.num_hidden_layers
    assert matched.vocab_size == config.vocab_size
    assert matched.head_dim == 64
    assert matched.tie_word_embeddings is True
    assert matched.intermediate_size % 8 == 0


@pytest.mark.parametrize("kind", BUILDERS)
def test_the_reference_is_a_seeded_causal_model_on_sdpa(kind: str) -> None:
    """It runs on the same token ids, through torch's attention, with the weights of its seed."""
    model = BUILDERS[kind]()
    one, same, other = (matched_transformer(model, seed) for seed in (0, 0, 1))
    ids = torch.arange(10)[None]

    with torch.inference_mode():
        logits: Any = [each(ids).logits for each in (one, same, other)]

    config: Any = one.config
    assert config._attn_implementation == "sdpa"
    assert logits[0].shape == (1, 10, WORDS)
    assert (config.hidden_size, config.num_hidden_layers) == (WIDTH, LAYERS)
    assert torch.equal(logits[0], logits[1])
    assert not torch.equal(logits[0], logits[2])
    assert not one.training


def test_a_width_without_whole_heads_is_refused() -> None:
    """The sentence names the width and what it must be a multiple of."""
    model = BUILDERS["mamba"]()
    model.config.hidden_size = 96

    with pytest.raises(EfficarchError, match="width 96 does not split into heads of 64"):
        matched_config(model)


@pytest.mark.parametrize("wanted", [20_000, 123_457, 9_999_999])
def test_the_mlp_takes_what_is_left(wanted: int) -> None:
    """The width comes within tolerance, aligned as well as that allows."""
    width = mlp_width(wanted, 10_000, 12)

    assert abs(10_000 + 12 * width - wanted) <= TOLERANCE * wanted
    best = [
        multiple
        for multiple in ALIGNMENTS
        if abs(10_000 + 12 * multiple * round((wanted - 10_000) / 12 / multiple) - wanted)
        <= TOLERANCE * wanted
    ]
    assert width % best[0] == 0


def test_attention_that_is_too_large_is_refused() -> None:
    """Nothing is left for an MLP: no such Transformer exists."""
    with pytest.raises(EfficarchError, match=r"has 1000 parameters: attention .* alone have 5000"):
        mlp_width(1000, 5000, 12)
