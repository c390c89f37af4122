"""Claims about Qwen2.5-VL: configurations, folders, and how a prompt is put together."""

from pathlib import Path
from typing import Any

import pytest
import torch

from efficarch.errors import MissingWeightsError
from efficarch.models import MODELS, model_row
from efficarch.models.base import LanguageSubject, WeightsRequest
from efficarch.models.qwen2_5_vl import (
    PIXELS,
    config_3b,
    config_7b,
    config_reduced,
    load_3b,
    load_reduced,
)
from efficarch.record import Weights
from tests.models.samples import picture, reduced_qwen

SPECIAL = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>")
WORDS = ("system", "user", "assistant", "Describe", "this")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a reduced checkpoint with a tokenizer of a few words and an image processor."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast, Qwen2VLImageProcessorPil

    path = tmp_path_factory.mktemp("qwen")
    vocabulary = {word: index for index, word in enumerate(("unknown", *WORDS))}
    plain = Tokenizer(WordLevel(vocabulary, unk_token="unknown"))
    plain.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain)
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    model: Any = load_reduced(WeightsRequest(Weights.RANDOM, None, 5)).model
    model.config.image_token_id = tokenizer.convert_tokens_to_ids("<|image_pad|>")
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    Qwen2VLImageProcessorPil(size=PIXELS).save_pretrained(path)
    return path


def request(location: Path | str | None, weights: Weights = Weights.PRETRAINED) -> WeightsRequest:
    """Ask for weights."""
    return WeightsRequest(weights, None if location is None else str(location), 0)


def test_a_folder_is_loaded_with_its_tokenizer(folder: Path) -> None:
    """Weights are called pretrained, the prompt is the chat format with the image in its place."""
    subject = load_3b(request(folder))

    inputs = subject.prepare(picture(), "Describe this")

    assert subject.weights is Weights.PRETRAINED
    assert subject.source == f"folder {folder.name}"
    ids = inputs["input_ids"][0].tolist()
    image: int = subject.model.config.image_token_id
    first = ids.index(image)
    assert ids[first : first + 30] == [image] * 30
    assert ids.count(image) == 30
    assert inputs["mm_token_type_ids"][0].nonzero().flatten().tolist() == list(
        range(first, first + 30)
    )
    assert subject.model(**inputs).logits.isfinite().all()


def test_a_folder_without_a_tokenizer_is_refused(folder: Path, tmp_path: Path) -> None:
    """Weights alone cannot read a prompt."""
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())

    with pytest.raises(MissingWeightsError, match="no image processor and tokenizer"):
        load_3b(request(tmp_path))


def test_weights_that_are_not_here_are_missing() -> None:
    """Nothing is downloaded that nobody named."""
    with pytest.raises(MissingWeightsError, match="--qwen-7b-path"):
        model_row("qwen2.5-vl-7b").load(request(None))


@pytest.mark.parametrize("weights", [Weights.PRETRAINED, Weights.RANDOM])
def test_the_reduced_model_never_claims_to_be_pretrained(weights: Weights) -> None:
    """It has random weights, whatever was asked for."""
    subject = model_row("qwen2.5-vl-reduced").load(request(None, weights))

    assert subject.weights is Weights.RANDOM
    assert "random weights, seed 0" in subject.source
    assert MODELS["qwen2.5-vl-reduced"].option is None


def test_seeds_give_other_weights() -> None:
    """The seed of the request is that of the weights."""
    one, two = (load_reduced(WeightsRequest(Weights.RANDOM, None, seed)) for seed in (0, 1))
    name = "model.visual.merger.mlp.0.weight"

    assert torch.equal(one.model.get_parameter(name), reduced_qwen().model.get_parameter(name))
    assert not torch.equal(one.model.get_parameter(name), two.model.get_parameter(name))


def parameters(config: Any) -> int:
    """Count the parameters of a configuration without allocating them."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    with torch.device("meta"):
        model = Qwen2_5_VLForConditionalGeneration(config)
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("config", "millions"), [(config_3b(), 3_754.6), (config_7b(), 8_292.2)], ids=["3b", "7b"]
)
def test_the_released_sizes_have_as_many_parameters(config: Any, millions: float) -> None:
    """The published checkpoints hold 3.75 and 8.29 billion parameters."""
    assert parameters(config) / 1e6 == pytest.approx(millions, abs=0.1)


@pytest.mark.parametrize("config", [config_3b(), config_7b(), config_reduced()])
def test_full_attention_lies_within_the_tower(config: Any) -> None:
    """Every fourth of the depth ends with a block that sees the whole image."""
    vision = config.vision_config
    quarter = vision.depth // 4

    assert list(vision.fullatt_block_indexes) == [quarter * n - 1 for n in (1, 2, 3, 4)]
    assert vision.out_hidden_size == config.text_config.hidden_size
    sections = config.text_config.rope_parameters["mrope_section"]
    heads = config.text_config.num_attention_heads
    assert 2 * sum(sections) == config.text_config.hidden_size // heads


def test_prompts_of_random_weights_are_synthetic_and_seeded() -> None:
    """One token per word, the same for the same words, around as many placeholders as cells."""
    subject: LanguageSubject = reduced_qwen()
    one, again, other = (
        subject.prepare(picture(), words)["input_ids"][0] for words in ("a b", "a b", "c d e")
    )

    assert one.tolist() == again.tolist()
    assert len(one) == 3 + 30 + 2
    assert len(other) == 3 + 30 + 3
    assert one[-2:].tolist() != other[-3:-1].tolist()
    special = subject.model.config
    assert one[:2].tolist() == [special.text_config.bos_token_id, special.vision_start_token_id]
    assert (one == special.image_token_id).sum() == 30
