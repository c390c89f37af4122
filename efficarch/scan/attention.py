"""Causal attention, the thing the selective scan claims to beat at the same width and length."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

# B batch, H heads, L length, E head dimension; H * E is the width, the scan's channels


class QKV(NamedTuple):
    """Queries, keys and values, [B, H, L, E] each."""

    q: Tensor
    k: Tensor
    v: Tensor


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return softmax(q k^T / sqrt(E)) v over the current and earlier steps, [B, H, L, E].

    Runs ``torch.nn.functional.scaled_dot_product_attention``, which picks the fastest kernel it
    has for this device and dtype (FlashAttention-2, arXiv 2307.08691, for half dtypes on CUDA).
    """
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def synthetic_qkv(
    *,
    batch: int,
    heads: int,
    head_dim: int,
    length: int,
    seed: int,
    device: torch.device | str,
    dtype: torch.dtype,
) -> QKV:
    """Return seeded standard normal q, k, v, drawn on the CPU so every device gets the same."""
    rng = torch.Generator().manual_seed(seed)
    drawn = torch.randn(3, batch, heads, length, head_dim, generator=rng)  # [3, B, H, L, E]
    return QKV(*drawn.to(device=device, dtype=dtype))
