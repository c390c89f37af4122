"""Qwen2.5-VL, whole model: vision tower, merger and language model, arXiv 2502.13923.

Besides the two released sizes there is one of reduced depth and width. It has seeded random weights
whatever was asked for, and says so: it measures latency, memory and FLOPs where the others do not
fit, and nothing about quality.

# P visual tokens, L tokens of a prompt
"""

from typing import Any
from zlib import crc32

import torch
from PIL.Image import Image, new
from torch import Tensor

from efficarch.errors import MissingWeightsError, first_line
from efficarch.models.base import LanguageSubject, WeightsRequest
from efficarch.models.loading import load_cached, load_pretrained, load_random
from efficarch.record import Weights

HUB_3B = "Qwen/Qwen2.5-VL-3B-Instruct"
HUB_7B = "Qwen/Qwen2.5-VL-7B-Instruct"

TOWER: dict[str, Any] = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "fullatt_block_indexes": [7, 15, 23, 31],
    "window_size": 112,
}
"""The vision tower both sizes share; ``out_hidden_size`` follows from the language model's."""

TEXT: dict[str, Any] = {
    "max_position_embeddings": 128000,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 1e6,
        "mrope_section": [16, 24, 24],
    },
}

TEXT_3B: dict[str, Any] = {
    **TEXT,
    "vocab_size": 151936,
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
}
TEXT_7B: dict[str, Any] = {
    **TEXT,
    "vocab_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
}

REDUCED_INIT = 0.1
"""Five times the usual: at this width, attention would otherwise be flat and positions silent."""

TOWER_REDUCED: dict[str, Any] = {
    "depth": 8,
    "hidden_size": 256,
    "intermediate_size": 684,
    "num_heads": 4,
    "fullatt_block_indexes": [1, 3, 5, 7],
    "window_size": 112,
    "initializer_range": REDUCED_INIT,
}
TEXT_REDUCED: dict[str, Any] = {
    **TEXT,
    "rope_parameters": {**TEXT["rope_parameters"], "mrope_section": [8, 12, 12]},
    "vocab_size": 4096,
    "hidden_size": 256,
    "intermediate_size": 1376,
    "num_hidden_layers": 9,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": REDUCED_INIT,
    "bos_token_id": 4083,
    "eos_token_id": 4085,
}
SPECIAL_REDUCED: dict[str, Any] = {
    "vision_start_token_id": 4092,
    "vision_end_token_id": 4093,
    "image_token_id": 4095,
    "video_token_id": 4094,
}

BLANK_PX = 56
"""Sides of the smallest image that the released preprocessing takes as it is."""

PIXELS = {"shortest_edge": 56 * 56, "longest_edge": 16384 * 28 * 28}
"""Least and most pixels of an image, as in the released preprocessing configuration."""

CHAT = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    "<|vision_start|>{image}<|vision_end|>{prompt}<|im_end|>\n<|im_start|>assistant\n"
)
PLACEHOLDER = "<|image_pad|>"


def config_3b() -> Any:
    """Return the configuration of Qwen2.5-VL-3B."""
    return _config(TOWER, TEXT_3B, tie_word_embeddings=True)


def config_7b() -> Any:
    """Return the configuration of Qwen2.5-VL-7B."""
    return _config(TOWER, TEXT_7B, tie_word_embeddings=False)


def config_reduced() -> Any:
    """Return the configuration at reduced depth and width; all layers keep their kinds."""
    return _config(TOWER_REDUCED, TEXT_REDUCED, tie_word_embeddings=True, special=SPECIAL_REDUCED)


def _config(
    tower: dict[str, Any],
    text: dict[str, Any],
    *,
    tie_word_embeddings: bool,
    special: dict[str, Any] | None = None,
) -> Any:
    from transformers import Qwen2_5_VLConfig

    return Qwen2_5_VLConfig(
        vision_config={**tower, "out_hidden_size": text["hidden_size"]},
        text_config={**text, "rope_parameters": dict(text["rope_parameters"])},
        tie_word_embeddings=tie_word_embeddings,
        **(special or {}),
    )


def load_3b(request: WeightsRequest) -> LanguageSubject:
    """Load Qwen2.5-VL-3B as asked; see `load`."""
    return load(request, HUB_3B, config_3b(), option="--qwen-3b-path")


def load_7b(request: WeightsRequest) -> LanguageSubject:
    """Load Qwen2.5-VL-7B as asked; see `load`."""
    return load(request, HUB_7B, config_7b(), option="--qwen-7b-path")


def load_reduced(request: WeightsRequest) -> LanguageSubject:
    """Build the reduced model, always with random weights of the request's seed."""
    return _random(config_reduced(), request.seed, "reduced depth and width, ")


def load(request: WeightsRequest, hub_id: str, config: Any, *, option: str) -> LanguageSubject:
    """Load a released size as asked.

    Without a location only a copy already on this machine is used: a benchmark does not download
    what nobody named.

    Raises:
        MissingWeightsError: no such weights here, or a folder that does not fit.
    """
    from transformers import Qwen2_5_VLForConditionalGeneration

    if request.weights is Weights.RANDOM:
        return _random(config, request.seed, "")
    kind = Qwen2_5_VLForConditionalGeneration
    if request.location is not None:
        model, source = load_pretrained(kind, request.location)
    else:
        model, source = load_cached(kind, hub_id, option=option)
    model.eval()
    processor, tokenizer = _processors(request.location or hub_id)
    return LanguageSubject(
        model=model,
        prepare=lambda image, prompt: _chat(model.config, processor, tokenizer, image, prompt),
        weights=request.weights,
        source=source,
    )


def _random(config: Any, seed: int, note: str) -> LanguageSubject:
    from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil

    model, source = load_random(Qwen2_5_VLForConditionalGeneration, config, seed)
    model.eval()
    processor = Qwen2VLImageProcessorPil(size=PIXELS)
    return LanguageSubject(
        model=model,
        prepare=lambda image, prompt: _synthetic(config, processor, image, prompt),
        weights=Weights.RANDOM,
        source=note + source + ", synthetic token ids",
    )


def _processors(name: str) -> tuple[Any, Any]:
    # the model's own processor class also wants a video processor, and that one torchvision
    from transformers import AutoTokenizer, Qwen2VLImageProcessorPil

    try:
        processor = Qwen2VLImageProcessorPil.from_pretrained(name)
        tokenizer = AutoTokenizer.from_pretrained(name)
    except Exception as error:  # whatever damaged settings lead to in there
        raise MissingWeightsError(
            f"{name!r} holds no image processor and tokenizer beside its weights: "
            f"{first_line(str(error))}"
        ) from error
    _check_processor(name, processor)
    return processor, tokenizer


def _check_processor(name: str, processor: Any) -> None:
    """Prepare a blank image, so that settings that cannot are found before a cell needs them."""
    blank = new("RGB", (BLANK_PX, BLANK_PX))
    try:
        pixels = processor(images=[blank], return_tensors="pt")["pixel_values"]
        why = "" if pixels.isfinite().all() else "pixels are not finite"
    except Exception as error:  # whatever damaged settings lead to in there
        why = f"{type(error).__name__}: {first_line(str(error))}"
    if why:
        raise MissingWeightsError(
            f"{name!r}: its preprocessor_config.json cannot prepare an image: {why}; mend it"
        )


def _chat(
    config: Any, processor: Any, tokenizer: Any, image: Image, prompt: str
) -> dict[str, Tensor]:
    pixels = processor(images=[image], return_tensors="pt")
    text = CHAT.format(image=PLACEHOLDER * _visual_tokens(config, pixels), prompt=prompt)
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    return _inputs(config, ids, pixels)


def _synthetic(config: Any, processor: Any, image: Image, prompt: str) -> dict[str, Tensor]:
    """Put an image between token ids that a prompt's words stand for, one seeded id each."""
    pixels = processor(images=[image], return_tensors="pt")
    generator = torch.Generator().manual_seed(crc32(prompt.encode()))
    # special tokens have the highest ids of every vocabulary in use here
    ordinary = min(config.vision_start_token_id, config.text_config.bos_token_id)
    words = torch.randint(ordinary, (max(1, len(prompt.split())),), generator=generator)
    ids = torch.cat(
        [
            torch.tensor([config.text_config.bos_token_id, config.vision_start_token_id]),
            torch.full((_visual_tokens(config, pixels),), config.image_token_id),
            torch.tensor([config.vision_end_token_id]),
            words,
        ]
    )
    return _inputs(config, ids[None], pixels)


def _visual_tokens(config: Any, pixels: Any) -> int:
    cell: int = config.vision_config.spatial_merge_size**2
    return int(pixels["image_grid_thw"].prod()) // cell


def _inputs(config: Any, ids: Tensor, pixels: Any) -> dict[str, Tensor]:
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == config.image_token_id).int(),
        "pixel_values": pixels["pixel_values"],
        "image_grid_thw": pixels["image_grid_thw"],
    }
