"""Claims about pruning inside the language model: masks instead of drops give the same."""

from itertools import pairwise
from math import ceil
from typing import Any

import pytest
import torch
from torch import Tensor

from efficarch.models.base import LanguageSubject
from efficarch.reducers.fastv import FastV
from efficarch.reducers.in_llm import LanguagePruner
from efficarch.reducers.llm_random import LanguageRandom
from efficarch.reducers.pyramid_drop import PyramidDrop
from efficarch.reducers.random import random_subset
from tests.models.samples import prompted, reduced_qwen

DEPTH = 9


@pytest.fixture(scope="session")
def qwen() -> LanguageSubject:
    """Return the reduced model."""
    return reduced_qwen()


def layer_inputs(subject: LanguageSubject, inputs: dict[str, Tensor]) -> Any:
    """Return what the first layer of the dense model gets."""
    model: Any = subject.model
    seen: list[Any] = []
    handle = model.model.language_model.layers[0].register_forward_pre_hook(
        lambda _module, args, kwargs: seen.append((args[0], kwargs["position_embeddings"])),
        with_kwargs=True,
    )
    model(**inputs)
    handle.remove()
    return seen[0]


def masked(
    subject: LanguageSubject, inputs: dict[str, Tensor], rule: LanguagePruner
) -> tuple[Tensor, list[list[int]]]:
    """Return the next token's logits and the columns left after each stage.

    Every token is carried to the end under eager attention, whose weights rank them; those dropped
    are hidden from all others instead.
    """
    model: Any = subject.model
    language = model.model.language_model
    states, rotary = layer_inputs(subject, inputs)
    visual = (inputs["input_ids"][0] == model.config.image_token_id).nonzero().flatten().tolist()
    total, hidden, history = len(visual), set[int](), []
    stages = rule.stages(DEPTH)
    last_row: list[float] = []
    for index, layer in enumerate(language.layers):
        if index in stages:
            if isinstance(rule, PyramidDrop):
                last_row = attention(layer, states, rotary, hidden)[1][-1].tolist()
            count = ceil(stages[index] * total - 1e-9)
            if isinstance(rule, LanguageRandom):
                best = [visual[i] for i in random_subset(len(visual), count, rule.seed).tolist()]
            else:
                best = sorted(sorted(visual, key=lambda c: -last_row[c])[:count])
            hidden |= set(visual) - set(best)
            visual = best
            history.append(best)
        states, weights = attention(layer, states, rotary, hidden)
        last_row = weights[-1].tolist()
    return model.lm_head(language.norm(states))[:, -1], history


def attention(layer: Any, states: Tensor, rotary: Any, hidden: set[int]) -> tuple[Tensor, Tensor]:
    """Return a layer's output and its attention [N, N] averaged over heads, some tokens hidden."""
    tokens = states.shape[1]
    mask = torch.full((tokens, tokens), -1e30).triu(1)
    mask[:, list(hidden)] = -1e30
    weights: list[Tensor] = []
    handle = layer.self_attn.register_forward_hook(lambda _m, _a, out: weights.append(out[1]))
    out = layer(states, attention_mask=mask[None, None], position_embeddings=rotary)
    handle.remove()
    return out, weights[0][0].mean(dim=0)


RULES = [
    FastV(0.5),
    FastV(0.3, layer=1),
    FastV(0.2, layer=8),
    LanguageRandom(0.5),
    LanguageRandom(0.4, layer=5, seed=3),
    PyramidDrop(0.5),
    PyramidDrop(0.125),
]


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_hiding_instead_of_dropping_is_the_same(
    qwen: LanguageSubject, rule: LanguagePruner
) -> None:
    """The rule keeps the tokens that explicit attention ranks highest, and nothing else changes."""
    model: Any = qwen.model
    inputs = prompted(qwen)
    model.set_attn_implementation("eager")
    try:
        wanted, history = masked(qwen, inputs, rule)
    finally:
        model.set_attn_implementation("sdpa")

    with rule.attach(model):
        found = model(**inputs, logits_to_keep=1).logits[:, 0]

    assert all(set(after) < set(before) for before, after in pairwise(history))
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


def test_pyramid_drop_has_the_papers_schedule() -> None:
    """Four equal groups of layers; an eighth at the end is a half after each."""
    assert PyramidDrop(0.125).stages(32) == pytest.approx({8: 0.5, 16: 0.25, 24: 0.125})


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_decoding_continues_on_the_shortened_caches(
    qwen: LanguageSubject, rule: LanguagePruner
) -> None:
    """Each layer's cache holds what entered it, and three tokens at once are three single steps."""
    model: Any = qwen.model
    inputs = prompted(qwen)
    more = torch.tensor([[5, 6, 7]])
    with rule.attach(model):
        single, together = (model(**inputs, use_cache=True).past_key_values for _ in range(2))
        lengths = [layer.get_seq_length() for layer in single.layers]
        steps = [
            model(input_ids=token, past_key_values=single).logits for token in more.split(1, dim=1)
        ]
        block = model(input_ids=more, past_key_values=together).logits

    first = min(rule.stages(DEPTH))
    assert lengths[0] == 36
    assert lengths[first - 1] == 36
    assert lengths[first] < 36
    torch.testing.assert_close(torch.cat(steps, dim=1), block, rtol=1e-3, atol=1e-3)
