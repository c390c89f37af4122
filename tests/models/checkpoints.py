"""Tiny random checkpoints of the families as they come from the hub, saved to a folder."""

import json
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import torch
from torch import nn

PX = 32
PATCH = 8
TEXT_TOKENS = 32
"""Enough for a prompt, at one token a letter."""

START, END = "<|startoftext|>", "<|endoftext|>"
LETTERS = [*ascii_lowercase, *(f"{letter}</w>" for letter in ascii_lowercase)]
VOCABULARY = {token: index for index, token in enumerate([*LETTERS, START, END])}


def clip(folder: Path) -> nn.Module:
    """Save both towers of a CLIP with its tokenizer; return the model."""
    from transformers import CLIPConfig, CLIPModel

    config = CLIPConfig(
        text_config={**_text(), "projection_dim": 16},
        vision_config={**_vision(), "projection_dim": 16},
        projection_dim=16,
    )
    return _saved(CLIPModel, config, folder, tokenizer=True)


def siglip(folder: Path) -> nn.Module:
    """Save both towers of a SigLIP with a tokenizer; return the model."""
    from transformers import SiglipConfig, SiglipModel

    config = SiglipConfig(
        text_config={**_text(), "projection_size": 32, "pad_token_id": VOCABULARY[END]},
        vision_config=_vision(),
    )
    return _saved(SiglipModel, config, folder, tokenizer=True)


def vit(folder: Path) -> nn.Module:
    """Save a ViT with its classification head, which has no pooler; return the model."""
    from transformers import ViTConfig, ViTForImageClassification

    return _saved(ViTForImageClassification, ViTConfig(**_vision()), folder, tokenizer=False)


def dinov2(folder: Path) -> nn.Module:
    """Save a DINOv2 whose configuration names another size than its crops; return the model."""
    from transformers import Dinov2Config, Dinov2Model

    sizes = {**_vision(), "image_size": 2 * PX, "mlp_ratio": 2}
    del sizes["intermediate_size"]
    return _saved(Dinov2Model, Dinov2Config(**sizes), folder, tokenizer=False)


FAMILIES = {"clip": clip, "siglip": siglip, "vit_classifier": vit, "dinov2": dinov2}


def preprocessor(folder: Path, **settings: Any) -> None:
    """Write the settings of an image processor beside the weights."""
    (folder / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")


def _saved(kind: Any, config: Any, folder: Path, *, tokenizer: bool) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = kind(config).eval()
    # the head of SigLIP and the blocks of all start near zero: make images differ
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(std=0.2)
    model.save_pretrained(folder)
    if tokenizer:
        from transformers import CLIPTokenizer

        CLIPTokenizer(vocab=VOCABULARY, merges=[]).save_pretrained(folder)
    return model


def _vision() -> dict[str, Any]:
    return {**_blocks(), "image_size": PX, "patch_size": PATCH}


def _text() -> dict[str, Any]:
    return {
        **_blocks(),
        "vocab_size": len(VOCABULARY),
        "max_position_embeddings": TEXT_TOKENS,
        "bos_token_id": VOCABULARY[START],
        "eos_token_id": VOCABULARY[END],
    }


def _blocks() -> dict[str, Any]:
    return {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
    }
