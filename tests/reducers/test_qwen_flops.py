"""Prefill FLOPs of Qwen2.5-VL at the real dimensions, by a formula tested against the counter.

The real model does not fit a test, and its data-dependent lengths do not pass torch's meta device;
so the formula is compared with torch's counter on the reduced model, and evaluated for the 3B one.

# N patches, P visual tokens, T text tokens
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from torch import nn

from efficarch.models.base import LanguageSubject
from efficarch.models.qwen2_5_vl import config_3b
from efficarch.models.vision_language import recorded_layers
from efficarch.probe import count_flops
from efficarch.reducers import REDUCERS
from efficarch.reducers.base import Reducer, kept_patches, parts
from efficarch.reducers.in_llm import LanguagePruner
from efficarch.reducers.pruning import Pruner
from efficarch.reducers.random import RandomPrune
from efficarch.reducers.tower_block import TowerBlock
from tests.models.samples import picture, prompted, reduced_qwen


@dataclass(frozen=True)
class Lengths:
    """What a prefill works on: attention segments of every tower block, tokens of every layer."""

    segments: Sequence[Sequence[int]]
    layers: Sequence[int]


@pytest.fixture(scope="session")
def qwen() -> LanguageSubject:
    """Return the reduced model."""
    return reduced_qwen()


def prefill_flops(config: Any, lengths: Lengths, reducer: Reducer) -> int:
    """Return the FLOPs of a prefill: two for each multiplication of a matrix product."""
    vision, text = config.vision_config, config.text_config
    return 2 * (
        tower_products(vision, lengths.segments)
        + sum(layer_products(text, tokens) for tokens in lengths.layers)
        + text.hidden_size * text.vocab_size
        + sum(ranking_products(config, lengths, part) for part in parts(reducer))
    )


def tower_products(vision: Any, segments: Sequence[Sequence[int]]) -> int:
    """Patch embedding, blocks and merger."""
    width, first, last = vision.hidden_size, sum(segments[0]), sum(segments[-1])
    products = first * 3 * vision.temporal_patch_size * vision.patch_size**2 * width
    for each in segments:
        weights = 4 * width**2 + 3 * width * vision.intermediate_size
        products += sum(each) * weights + sum(2 * n**2 * width for n in each)
    cell = 4 * width
    return products + last // 4 * (cell**2 + cell * vision.out_hidden_size)


def layer_products(text: Any, tokens: int) -> int:
    """One layer: attention with shared keys and values, then the gated MLP."""
    width = text.hidden_size
    weights = 2 * width**2 + 2 * width * keys_width(text) + 3 * width * text.intermediate_size
    return tokens * weights + 2 * tokens**2 * width


def keys_width(text: Any) -> int:
    """Width of the keys of a layer."""
    return int(text.hidden_size * text.num_key_value_heads // text.num_attention_heads)


def ranking_products(config: Any, lengths: Lengths, reducer: Reducer) -> int:
    """What a method adds to decide: a map in the tower, or one row per stage in the layers."""
    vision, text = config.vision_config, config.text_config
    if isinstance(reducer, TowerBlock):
        return int(sum(lengths.segments[0]) ** 2 * vision.hidden_size)
    if not isinstance(reducer, LanguagePruner) or "Random" in type(reducer).__name__:
        return 0
    products = 0
    for stage in reducer.stages(len(lengths.layers)):
        tokens = lengths.layers[stage - 1]
        products += text.hidden_size**2 + tokens * text.hidden_size * (keys_width(text) + 1)
    return products


def expected_lengths(config: Any, reducer: Reducer, px: int, text_tokens: int) -> Lengths:
    """Return the lengths of a square image whose kept cells fill whole windows.

    That is the most that window attention can cost: the same cells spread over more windows attend
    to fewer patches each.
    """
    vision, patches = config.vision_config, (px // config.vision_config.patch_size) ** 2
    visual = patches // 4
    window = (vision.window_size // vision.patch_size) ** 2
    tower, layers = [patches] * vision.depth, [visual] * config.text_config.num_hidden_layers
    for part in parts(reducer):
        if isinstance(part, TowerBlock):
            visual = kept_patches(part.keep, visual)
            after = min(vision.fullatt_block_indexes)
            tower = [patches] * (after + 1) + [4 * visual] * (vision.depth - after - 1)
        if isinstance(part, Pruner):
            visual = kept_patches(part.keep, visual)
        layers = [visual] * len(layers)
        if isinstance(part, LanguagePruner):
            for stage, fraction in part.stages(len(layers)).items():
                left = kept_patches(fraction, visual)
                layers[stage:] = [left] * (len(layers) - stage)
    segments = [
        [n] if block in vision.fullatt_block_indexes else [window] * (n // window) + [n % window]
        for block, n in enumerate(tower)
    ]
    return Lengths(segments, [text_tokens + visual for visual in layers])


METHODS = ["none", "random", "tower-block", "fastv", "pyramid-drop", "tower-block+random+fastv"]


@pytest.mark.parametrize("name", METHODS)
def test_the_formula_matches_the_counter(qwen: LanguageSubject, name: str) -> None:
    """With the lengths that the pass had, formula and counter agree."""
    model, inputs, reducer = qwen.model, prompted(qwen, picture(280, 280)), REDUCERS[name](0.5)
    segments: list[list[int]] = []

    def record(_module: nn.Module, _args: object, kwargs: dict[str, Any]) -> None:
        segments.append(kwargs["cu_seqlens"].diff().tolist())

    with reducer.attach(model), recorded_layers(model) as tokens:
        blocks: Any = model.get_submodule("model.visual.blocks")
        handles = [block.register_forward_pre_hook(record, with_kwargs=True) for block in blocks]
        counted = count_flops(lambda: model(**inputs, logits_to_keep=1))
        for handle in handles:
            handle.remove()

    # transformers before 5.18 turns positions into angles by a matrix product: a few thousand
    formula = prefill_flops(model.config, Lengths(segments, tokens), reducer)
    assert formula == pytest.approx(counted, rel=1e-4)


def test_the_lengths_without_a_run_are_those_of_a_run(qwen: LanguageSubject) -> None:
    """Layers as in a run; window segments are an upper bound."""
    model, reducer = qwen.model, REDUCERS["tower-block+pyramid-drop"](0.5)
    with reducer.attach(model), recorded_layers(model) as tokens:
        model(**prompted(qwen, picture(448, 448)))

    assert expected_lengths(model.config, reducer, 448, text_tokens=6).layers == tokens


RATIOS = {
    "random": (0.743, 0.732),
    "fastv": (0.757, 0.747),
    "pyramid-drop": (0.861, 0.855),
    "tower-block": (0.565, 0.548),
    "tower-block+fastv": (0.645, 0.631),
}
"""Prefill FLOPs of the 3B model over the dense one's at keep 0.5, with 64 text tokens and an image
of 896 and of 1344 px. Figures in the documentation come from here."""


@pytest.mark.parametrize("name", RATIOS)
def test_prefill_flops_at_real_dimensions(name: str) -> None:
    """At half the visual tokens, dropping them inside the tower meets the goal of 0.60."""
    config, ratios = config_3b(), []
    for px in (896, 1344):
        dense, reduced = (
            prefill_flops(config, expected_lengths(config, reducer, px, 64), reducer)
            for reducer in (REDUCERS["none"](), REDUCERS[name](0.5))
        )
        ratios.append(reduced / dense)

    assert ratios == pytest.approx(RATIOS[name], abs=5e-4)


@pytest.mark.parametrize("px", [896, 1344])
def test_the_goal_is_met_at_half_the_visual_tokens(px: int) -> None:
    """Tower and language model together need at most 0.60 of the FLOPs; the merger alone more."""
    config = config_3b()
    dense, within, after = (
        prefill_flops(config, expected_lengths(config, reducer, px, 64), reducer)
        for reducer in (REDUCERS["none"](), TowerBlock(0.5), RandomPrune(0.5))
    )

    assert within <= 0.60 * dense < after
