"""One view of the transformer blocks of CLIP, SigLIP, DINOv2 and ViT, whatever their parts' names.

# B batch, N tokens (CLS first where there is one), C channels, H heads, D channels per head
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from efficarch.errors import EfficarchError


@dataclass(frozen=True)
class Block:
    """A pre-norm transformer block: the module itself and its parts."""

    module: nn.Module
    norm1: nn.Module
    query: nn.Module
    key: nn.Module
    value: nn.Module
    output: nn.Module
    scale1: nn.Module
    norm2: nn.Module
    mlp: nn.Module
    scale2: nn.Module
    heads: int
    prefix: int
    """Tokens before the patches: 1 with CLS, 0 without."""

    def attend(
        self, x: Tensor, bias: Tensor | None = None, *, queries: int | None = None
    ) -> Tensor:
        """Return the residual stream after self-attention.

        Args:
            x: tokens, [B, N, C].
            bias: added to the attention logits, broadcastable to [B, H, N, N].
            queries: compute only the first so many rows; all by default.
        """
        normed = self.norm1(x)  # [B, N, C]
        asked = normed if queries is None else normed[:, :queries]
        mixed = functional.scaled_dot_product_attention(
            self._split(self.query(asked)),
            self._split(self.key(normed)),
            self._split(self.value(normed)),
            attn_mask=bias,
        )  # [B, H, queries, D]
        mixed = mixed.transpose(1, 2).flatten(2)  # [B, queries, C]
        residual = x if queries is None else x[:, :queries]
        attended: Tensor = residual + self.scale1(self.output(mixed))
        return attended

    def feed_forward(self, x: Tensor) -> Tensor:
        """Return the residual stream [B, N, C] after the MLP."""
        result: Tensor = x + self.scale2(self.mlp(self.norm2(x)))
        return result

    def _split(self, x: Tensor) -> Tensor:
        split: Tensor = x.unflatten(-1, (self.heads, -1))
        return split.transpose(1, 2)  # [B, H, N, D]


def _clip_block(layer: nn.Module, heads: int, *, prefix: int = 1) -> Block:
    attention = layer.get_submodule("self_attn")
    return Block(
        module=layer,
        norm1=layer.get_submodule("layer_norm1"),
        query=attention.get_submodule("q_proj"),
        key=attention.get_submodule("k_proj"),
        value=attention.get_submodule("v_proj"),
        output=attention.get_submodule("out_proj"),
        scale1=nn.Identity(),
        norm2=layer.get_submodule("layer_norm2"),
        mlp=layer.get_submodule("mlp"),
        scale2=nn.Identity(),
        heads=heads,
        prefix=prefix,
    )


def _siglip_block(layer: nn.Module, heads: int) -> Block:
    # the same parts as CLIP's, but the image embedding is pooled from the patches
    return _clip_block(layer, heads, prefix=0)


def _vit_block(layer: nn.Module, heads: int) -> Block:
    attention = layer.get_submodule("attention")
    return Block(
        module=layer,
        norm1=layer.get_submodule("layernorm_before"),
        query=attention.get_submodule("q_proj"),
        key=attention.get_submodule("k_proj"),
        value=attention.get_submodule("v_proj"),
        output=attention.get_submodule("o_proj"),
        scale1=nn.Identity(),
        norm2=layer.get_submodule("layernorm_after"),
        mlp=layer.get_submodule("mlp"),
        scale2=nn.Identity(),
        heads=heads,
        prefix=1,
    )


def _dinov2_block(layer: nn.Module, heads: int) -> Block:
    attention = layer.get_submodule("attention")
    # transformers renamed these in the 5.x series; both spellings are in use
    renamed = hasattr(attention, "q_proj")
    names = (
        ("q_proj", "k_proj", "v_proj", "o_proj")
        if renamed
        else ("attention.query", "attention.key", "attention.value", "output.dense")
    )
    query, key, value, output = (attention.get_submodule(name) for name in names)
    return Block(
        module=layer,
        norm1=layer.get_submodule("norm1"),
        query=query,
        key=key,
        value=value,
        output=output,
        scale1=layer.get_submodule("layer_scale1"),
        norm2=layer.get_submodule("norm2"),
        mlp=layer.get_submodule("mlp"),
        scale2=layer.get_submodule("layer_scale2"),
        heads=heads,
        prefix=1,
    )


_BLOCKS: dict[str, Callable[[nn.Module, int], Block]] = {
    "CLIPEncoderLayer": _clip_block,
    "Dinov2Layer": _dinov2_block,
    "SiglipEncoderLayer": _siglip_block,
    "ViTLayer": _vit_block,
}


def blocks_of(model: nn.Module) -> list[Block]:
    """Return the model's transformer blocks in order.

    Raises:
        EfficarchError: the model has no block of a known family.
    """
    heads = getattr(getattr(model, "config", None), "num_attention_heads", None)
    found = [
        _BLOCKS[type(module).__name__](module, heads)
        for module in model.modules()
        if type(module).__name__ in _BLOCKS and isinstance(heads, int)
    ]
    if not found:
        raise EfficarchError(
            f"{type(model).__name__} has no block this project can reduce; "
            f"known blocks: {', '.join(sorted(_BLOCKS))}"
        )
    return found


def patch_convolution(model: nn.Module) -> nn.Conv2d:
    """Return the convolution that cuts the pixels into patches.

    Raises:
        EfficarchError: the model is of no known family, or has no such convolution.
    """
    blocks_of(model)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            return module
    raise EfficarchError(
        f"{type(model).__name__} has no convolution that cuts pixels into patches; "
        "name the whole image encoder, not its blocks"
    )


@contextmanager
def recorded_tokens(model: nn.Module) -> Iterator[list[int]]:
    """Within the context, append to the yielded list the tokens entering each block."""
    tokens: list[int] = []

    def record(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
        tokens.append(args[0].shape[1])

    handles = [block.module.register_forward_pre_hook(record) for block in blocks_of(model)]
    try:
        yield tokens
    finally:
        for handle in handles:
            handle.remove()


def torch_dtype(name: str) -> torch.dtype:
    """Return the torch dtype of a record's dtype name."""
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise EfficarchError(f"unknown dtype {name!r}; known: float32, bfloat16, float16")
    return dtype
