"""Claims about the attention the scan is compared with."""

import torch

from efficarch.scan.attention import QKV, causal_attention, synthetic_qkv


def _synthetic(seed: int = 0, dtype: torch.dtype = torch.float32) -> QKV:
    return synthetic_qkv(
        batch=2, heads=3, head_dim=8, length=37, seed=seed, device="cpu", dtype=dtype
    )


def test_attention_is_a_masked_softmax() -> None:
    """The fused kernel computes softmax(q k^T / sqrt(E)) v with the future masked out."""
    q, k, v = _synthetic(dtype=torch.float64)
    future = torch.ones(37, 37, dtype=torch.bool).triu(1)
    scores = (q @ k.transpose(-1, -2) / 8**0.5).masked_fill(future, -torch.inf)

    torch.testing.assert_close(causal_attention(q, k, v), scores.softmax(-1) @ v)


def test_attention_is_causal() -> None:
    """Changing the last step changes no earlier output."""
    q, k, v = _synthetic()
    other_k, other_v = k.clone(), v.clone()
    other_k[..., -1, :] = 9.0
    other_v[..., -1, :] = 9.0

    before, after = causal_attention(q, k, v), causal_attention(q, other_k, other_v)

    torch.testing.assert_close(before[..., :-1, :], after[..., :-1, :])
    assert not torch.allclose(before[..., -1, :], after[..., -1, :])


def test_synthetic_qkv_repeats_with_its_seed() -> None:
    """The same seed draws the same q, k and v; they differ from each other and between seeds."""
    first = _synthetic()

    assert all(torch.equal(a, b) for a, b in zip(first, _synthetic(), strict=True))
    assert not torch.equal(first.q, first.k)
    assert not torch.equal(first.q, _synthetic(seed=1).q)
    assert first.q.shape == (2, 3, 37, 8)
