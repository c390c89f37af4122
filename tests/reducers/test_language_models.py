"""Claims every method for vision-language models has to hold; a new row needs no new test."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from efficarch.errors import EfficarchError
from efficarch.models.base import LanguageSubject
from efficarch.models.vision_language import recorded_layers
from efficarch.reducers import LANGUAGE_MODELS, REDUCERS
from efficarch.reducers.base import Reducer
from efficarch.reducers.fastv import FastV
from efficarch.reducers.pyramid_drop import PyramidDrop
from efficarch.reducers.random import RandomPrune
from efficarch.reducers.tower_block import TowerBlock
from tests.models.samples import picture, prompted, reduced_qwen, tiny
from tests.reducers.samples import traces

JOINED = ("tower-block+random+fastv", "tower-block+pyramid-drop", "random+fastv")
METHODS = (*(row.name for row in REDUCERS if LANGUAGE_MODELS[-1] in row.models), *JOINED)
REDUCING = tuple(name for name in METHODS if name != "none")

TEXT = 6
"""Tokens of the prompt that are no visual ones."""

TOKENS = {
    "none": [30] * 9,
    "llm-random": [30, 30] + [15] * 7,
    "fastv": [30, 30] + [15] * 7,
    # fractions 0.79, 0.63 and 0.5 before layers 2, 4 and 6
    "pyramid-drop": [30, 30, 24, 24, 19, 19, 15, 15, 15],
    # the cube root of 0.5 three times, each rounded up
    "tower-block+random+fastv": [20, 20] + [16] * 7,
    # the square root of 0.5, then its cube root three times
    "tower-block+pyramid-drop": [22, 22, 20, 20, 18, 18, 16, 16, 16],
    "random+fastv": [22, 22] + [16] * 7,
}
"""Visual tokens entering each of nine layers at keep 0.5, of 30; all others see 15 everywhere."""


class BodyError(Exception):
    """What the body of a ``with`` raises in these tests."""


@pytest.fixture(scope="session")
def qwen() -> LanguageSubject:
    """Return the reduced model."""
    return reduced_qwen()


def build(name: str, keep: float = 0.5) -> Reducer:
    """Build a method of the table; ``keep`` where it takes one."""
    return REDUCERS[name](keep)


def logits(subject: LanguageSubject, reducer: Reducer, inputs: dict[str, Tensor]) -> Tensor:
    """Return the next token's logits under a method."""
    model: Any = subject.model
    with reducer.attach(model):
        out: Tensor = model(**inputs, use_cache=True, logits_to_keep=1).logits
    return out[:, 0]


def answered(subject: LanguageSubject, reducer: Reducer, inputs: dict[str, Tensor]) -> Tensor:
    """Return what ``generate`` makes of a prompt: four greedy tokens behind it."""
    model: Any = subject.model
    with reducer.attach(model):
        out: Tensor = model.generate(**inputs, max_new_tokens=4, min_new_tokens=4, do_sample=False)
    return out


def stepped(subject: LanguageSubject, reducer: Reducer, inputs: dict[str, Tensor]) -> Tensor:
    """Return the same by hand: one prefill and three decode steps without positions or mask."""
    model: Any = subject.model
    said: list[Tensor] = []
    with reducer.attach(model):
        out = model(**inputs, use_cache=True)
        while len(said) < 4:
            said.append(out.logits[:, -1:].argmax(dim=-1))
            out = model(input_ids=said[-1], past_key_values=out.past_key_values, use_cache=True)
    return torch.cat([inputs["input_ids"], *said], dim=1)


@pytest.mark.parametrize("name", REDUCING)
def test_it_leaves_no_trace(qwen: LanguageSubject, name: str) -> None:
    """After the context the output is bit-identical, and every module has what it had."""
    inputs, dense = prompted(qwen), build("none")
    before, left = logits(qwen, dense, inputs), traces(qwen.model)

    answered(qwen, build(name), inputs)

    assert traces(qwen.model) == left
    assert torch.equal(logits(qwen, dense, inputs), before)


@pytest.mark.parametrize("name", REDUCING)
def test_it_leaves_no_trace_after_an_error(qwen: LanguageSubject, name: str) -> None:
    """A pass that dies in the last layer makes no difference, nor to the pass after it."""
    inputs = prompted(qwen)
    expected, left = logits(qwen, build(name), inputs), traces(qwen.model)
    last = qwen.model.get_submodule("model.language_model.layers.8.mlp")

    def fail(_module: nn.Module, _args: object) -> None:
        raise BodyError

    with build(name).attach(qwen.model):
        handle = last.register_forward_pre_hook(fail)
        with pytest.raises(BodyError):
            qwen.model(**inputs)
        handle.remove()
        again = qwen.model(**inputs, use_cache=True, logits_to_keep=1).logits[:, 0]

    assert torch.equal(again, expected)
    assert traces(qwen.model) == left


@pytest.mark.parametrize("name", REDUCING)
def test_keep_1_changes_nothing(qwen: LanguageSubject, name: str) -> None:
    """At keep 1 nothing is hooked; prefill and answer are bit-identical to the dense model's."""
    inputs, dense = prompted(qwen), build("none")
    before = traces(qwen.model)

    with build(name, 1.0).attach(qwen.model):
        assert traces(qwen.model) == before
    assert torch.equal(logits(qwen, build(name, 1.0), inputs), logits(qwen, dense, inputs))
    assert torch.equal(answered(qwen, build(name, 1.0), inputs), answered(qwen, dense, inputs))


@pytest.mark.parametrize("name", REDUCING)
def test_reducing_has_an_effect(qwen: LanguageSubject, name: str) -> None:
    """At keep 0.5 the next token's distribution is another one."""
    inputs = prompted(qwen)

    assert not torch.allclose(
        logits(qwen, build(name), inputs), logits(qwen, build("none"), inputs), atol=1e-3
    )


@pytest.mark.parametrize("name", METHODS)
def test_token_counts_are_as_stated(qwen: LanguageSubject, name: str) -> None:
    """Every layer sees all text and as many visual tokens as the table's text says."""
    with build(name).attach(qwen.model), recorded_layers(qwen.model) as tokens:
        qwen.model(**prompted(qwen))

    assert [count - TEXT for count in tokens] == TOKENS.get(name, [15] * 9)


@pytest.mark.parametrize("name", METHODS)
def test_generation_goes_on_after_pruning(qwen: LanguageSubject, name: str) -> None:
    """The prompt comes back whole with new tokens behind it, the same as decoded by hand."""
    inputs = prompted(qwen)

    out = answered(qwen, build(name), inputs)

    prompt = inputs["input_ids"]
    assert out.shape == (1, prompt.shape[1] + 4)
    assert torch.equal(out[:, : prompt.shape[1]], prompt)
    assert torch.equal(out, stepped(qwen, build(name), inputs))


@pytest.mark.parametrize("name", ["random", "tower-block", "tower-block+random"])
def test_generation_without_a_cache_agrees(qwen: LanguageSubject, name: str) -> None:
    """Where the image alone decides, pruning the longer prompt anew in every step is the same."""
    model: Any = qwen.model
    inputs = prompted(qwen)

    with build(name).attach(model):
        cached, anew = (
            model.generate(
                **inputs, max_new_tokens=4, min_new_tokens=4, do_sample=False, use_cache=use
            )
            for use in (True, False)
        )

    assert torch.equal(cached, anew)


@pytest.mark.parametrize("name", METHODS)
def test_it_does_not_mix_images(qwen: LanguageSubject, name: str) -> None:
    """An image alone gives what it gives within a batch, and so does its answer."""
    pictures = [picture(seed=seed) for seed in range(3)]
    batch = prompted(qwen, *pictures)
    alone = [prompted(qwen, each) for each in pictures]

    torch.testing.assert_close(
        logits(qwen, build(name), batch),
        torch.cat([logits(qwen, build(name), each) for each in alone]),
        rtol=1e-4,
        atol=1e-4,
    )
    assert torch.equal(
        answered(qwen, build(name), batch),
        torch.cat([answered(qwen, build(name), each) for each in alone]),
    )


@pytest.mark.parametrize("name", METHODS)
def test_eager_attention_agrees(qwen: LanguageSubject, name: str) -> None:
    """Under eager attention, with its explicit masks, prefill and answer are the same."""
    inputs = prompted(qwen)
    expected, answer = logits(qwen, build(name), inputs), answered(qwen, build(name), inputs)

    qwen.model.set_attn_implementation("eager")
    try:
        found, said = logits(qwen, build(name), inputs), answered(qwen, build(name), inputs)
    finally:
        qwen.model.set_attn_implementation("sdpa")

    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(said, answer)


@pytest.mark.parametrize("name", METHODS)
def test_bfloat16_runs(qwen: LanguageSubject, name: str) -> None:
    """In bfloat16 the output stays bfloat16 and finite."""
    half = replace(qwen, model=deepcopy(qwen.model).bfloat16())

    out = logits(half, build(name), prompted(half))

    assert out.dtype == torch.bfloat16
    assert out.isfinite().all()


@pytest.mark.parametrize("name", REDUCING)
def test_the_smallest_keep_leaves_one_visual_token(qwen: LanguageSubject, name: str) -> None:
    """However small keep is, one visual token stays."""
    with build(name, 1e-9).attach(qwen.model), recorded_layers(qwen.model) as tokens:
        qwen.model(**prompted(qwen))

    assert tokens[-1] == TEXT + 1


@pytest.mark.parametrize("name", REDUCING)
def test_a_prompt_without_an_image_is_left_alone(qwen: LanguageSubject, name: str) -> None:
    """Text alone has nothing to drop."""
    model: Any = qwen.model
    ids = torch.arange(7)[None]
    before = model(input_ids=ids).logits

    with build(name).attach(model):
        assert torch.equal(model(input_ids=ids).logits, before)


def refuse(subject: LanguageSubject, reducer: Reducer, inputs: dict[str, Any], match: str) -> None:
    """Check that a pass is refused in one sentence."""
    with pytest.raises(EfficarchError, match=match) as caught, reducer.attach(subject.model):
        subject.model(**inputs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("reducer", [RandomPrune(0.5), TowerBlock(0.5), FastV(0.5)])
def test_bad_input_gets_one_sentence(qwen: LanguageSubject, reducer: Reducer) -> None:
    """What cannot be reduced says so, and what to do."""
    from transformers import StaticCache

    inputs = prompted(qwen)
    mixed = [qwen.prepare(image, "a") for image in (picture(), picture(140, 140))]
    sizes = {k: torch.cat([each[k] for each in mixed]) for k in ("pixel_values", "image_grid_thw")}
    static = StaticCache(config=qwen.model.config, max_cache_len=64)
    held = qwen.model(**inputs, use_cache=True).past_key_values
    mask = inputs["attention_mask"].clone()
    mask[:, 0] = 0

    refuse(qwen, reducer, {**inputs, **sizes}, r"images of 10x10 and 10x12 patches.*resize")
    refuse(qwen, reducer, {**inputs, "attention_mask": mask}, "padded; give prompts of equal")
    refuse(qwen, reducer, {**inputs, "attention_mask": mask[None, None]}, "prepared attention mask")
    refuse(qwen, reducer, {**inputs, "past_key_values": static}, "StaticCache.*DynamicCache")
    refuse(qwen, reducer, {**inputs, "past_key_values": held}, "already holds 36 tokens")


@pytest.mark.parametrize("reducer", [RandomPrune(0.5), TowerBlock(0.5), FastV(0.5)])
def test_two_images_in_one_prompt_are_refused(qwen: LanguageSubject, reducer: Reducer) -> None:
    """One prompt has one image."""
    inputs, other = prompted(qwen), prompted(qwen, picture(seed=1))
    rows = ("pixel_values", "image_grid_thw")
    both = {
        name: torch.cat([inputs[name], other[name]], dim=0 if name in rows else 1)
        for name in inputs
    }

    refuse(qwen, reducer, both, "2 images for 1 prompts; give each prompt one image")


def test_a_grid_with_holes_is_refused(qwen: LanguageSubject) -> None:
    """After tower-block the cells that are left lie on no grid."""
    joined = REDUCERS["tower-block+grid"](0.5)

    refuse(qwen, joined, prompted(qwen), "tower-block has thinned out; use random")


def test_positions_have_to_be_known(qwen: LanguageSubject) -> None:
    """Without the types of the tokens the model cannot tell the image's positions."""
    inputs = prompted(qwen)
    del inputs["mm_token_type_ids"]

    refuse(qwen, RandomPrune(0.5), inputs, "positions are unknown; pass mm_token_type_ids")


@pytest.mark.parametrize(
    ("reducer", "match"),
    [
        (TowerBlock(0.5, after=2), "only full-attention blocks.*the nearest is 1"),
        (TowerBlock(0.5, after=7), "the nearest is 5"),
        (FastV(0.5, layer=9), "before layer 9; with 9 layers it must lie in 1 to 8"),
        (FastV(0.5, layer=0), "before layer 0; with 9 layers it must lie in 1 to 8"),
    ],
)
def test_a_place_that_is_not_there_is_refused(
    qwen: LanguageSubject, reducer: Reducer, match: str
) -> None:
    """The error names the place and the nearest that would do."""
    with pytest.raises(EfficarchError, match=match), reducer.attach(qwen.model):
        pass


@pytest.mark.parametrize("reducer", [TowerBlock(0.5), FastV(0.5), PyramidDrop(0.5)])
def test_flash_attention_is_refused(
    qwen: LanguageSubject, reducer: Reducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot work under an attention implementation says so when it is attached."""
    config: Any = qwen.model.config
    for part in (config.vision_config, config.text_config):
        monkeypatch.setattr(part, "_attn_implementation_internal", "flash_attention_2")

    with (
        pytest.raises(EfficarchError, match=r"'flash_attention_2'.*attn_implementation='sdpa'"),
        reducer.attach(qwen.model),
    ):
        pass


@pytest.mark.parametrize("reducer", [TowerBlock(0.5), FastV(0.5), PyramidDrop(0.5)])
def test_an_encoder_is_refused(reducer: Reducer) -> None:
    """A model without a language model says which ones would do."""
    with (
        pytest.raises(EfficarchError, match="known models: Qwen2_5_VLForConditionalGeneration"),
        reducer.attach(tiny("dinov2").model),
    ):
        pass


def test_a_composition_in_another_order_is_refused() -> None:
    """The order is that in which a forward pass meets the places."""
    with pytest.raises(EfficarchError, match=r"FastV \(llm\) cannot be followed by RandomPrune"):
        FastV(0.5) | RandomPrune(0.5)


def test_keep_of_a_composition_is_what_is_left_at_the_end() -> None:
    """The parts share it evenly, and a part without a keep ratio takes no share."""
    joined = REDUCERS["tower-block+random+fastv"](0.125)

    assert [part.keep for part in joined.methods] == pytest.approx([0.5, 0.5, 0.5])
    assert [part.keep for part in REDUCERS["tome+exact-tail"](0.5).methods[:1]] == [0.5]
