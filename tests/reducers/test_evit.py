"""Claims about EViT: which patches stay, and what becomes of the others."""

from itertools import combinations

import pytest
import torch
from torch import Tensor

from efficarch.errors import EfficarchError
from efficarch.models.base import Subject
from efficarch.models.vit import blocks_of
from efficarch.reducers.evit import EViT, fuse_others
from efficarch.reducers.pruning import Patches
from tests.models.samples import DEPTH, leaving, noise, tiny
from tests.reducers.samples import (
    KEY,
    QUERY,
    kept_indices,
    prefix_of,
    projections,
    received,
)


def attention_by_hand(subject: Subject, pixels: Tensor) -> list[list[float]]:
    """Return the attention that patches of each image receive in block 1, in plain Python."""
    queries, keys = (projections(subject, name, pixels).tolist() for name in (QUERY, KEY))
    return [received(*image, 4, prefix_of(subject)) for image in zip(queries, keys, strict=True)]


def test_attention_is_that_of_the_block(encoder: Subject) -> None:
    """One row of the map (or its column means, without CLS) is what a plain loop finds."""
    pixels = noise(encoder.model.config.image_size)
    patches = Patches(
        states=torch.empty(0),
        queries=projections(encoder, QUERY, pixels),
        keys=projections(encoder, KEY, pixels),
        heads=4,
        prefix=prefix_of(encoder),
    )

    expected = torch.tensor(attention_by_hand(encoder, pixels))

    torch.testing.assert_close(patches.attention(), expected, rtol=1e-4, atol=1e-6)


def test_the_attended_patches_stay(encoder: Subject) -> None:
    """The patches left are those of highest attention, computed independently."""
    pixels = noise(encoder.model.config.image_size)
    prefix = prefix_of(encoder)
    kept = kept_indices(encoder, EViT(0.5, after=(1,)), pixels)
    count = kept.shape[1] - prefix

    best = [
        sorted(sorted(range(len(row)), key=lambda i, row=row: -row[i])[:count])
        for row in attention_by_hand(encoder, pixels)
    ]

    assert (kept[:, prefix:] - prefix).tolist() == best


def test_patches_are_dropped_before_the_mlp(encoder: Subject) -> None:
    """The MLP of the deciding block sees the kept patches only."""
    pixels = noise(encoder.model.config.image_size)
    block = blocks_of(encoder.model)[1]
    seen: list[int] = []
    handle = block.mlp.register_forward_pre_hook(lambda _m, args: seen.append(args[0].shape[1]))

    with EViT(0.5, after=(1,)).attach(encoder.model):
        after = leaving(encoder, 1, pixels)
    handle.remove()

    patches = (encoder.model.config.image_size // 14) ** 2
    assert seen == [after.shape[1]] == [prefix_of(encoder) + (patches + 1) // 2]


def fused_by_hand(states: Tensor, attention: Tensor, kept: list[int], mean: bool) -> Tensor:
    """Fuse one image's other patches, one at a time."""
    total, weight = torch.zeros(states.shape[-1]), 0.0
    for index, state in enumerate(states):
        if index not in kept:
            total = total + attention[index] * state
            weight += float(attention[index])
    return total / weight if mean else total


@pytest.mark.parametrize("mean", [False, True], ids=["sum", "mean"])
def test_the_fused_token_is_the_weighted_sum_of_the_others(mean: bool) -> None:
    """By the formula, image by image."""
    states, attention = torch.randn(2, 7, 3), torch.rand(2, 7)
    index = torch.tensor([[0, 3, 4], [1, 2, 6]])

    fused = fuse_others(states, attention, index, mean=mean)

    expected = [
        fused_by_hand(*image, mean) for image in zip(states, attention, index.tolist(), strict=True)
    ]
    torch.testing.assert_close(fused[:, 0], torch.stack(expected))


@pytest.mark.parametrize("fuse", ["sum", "mean"])
@pytest.mark.parametrize("keep", [1e-9, 0.1, 0.5, 0.999])
def test_a_fused_token_counts_among_the_kept(encoder: Subject, fuse: str, keep: float) -> None:
    """Counts are the same with and without fusion, down to a single token."""
    pixels = noise(encoder.model.config.image_size)

    with EViT(keep, after=(0, 1, 2)).attach(encoder.model):
        plain = leaving(encoder, DEPTH - 1, pixels)
    with EViT(keep, after=(0, 1, 2), fuse=fuse).attach(encoder.model):
        fused = leaving(encoder, DEPTH - 1, pixels)

    assert fused.shape == plain.shape
    assert fused.isfinite().all()


def test_the_settings_differ() -> None:
    """Losing, adding up and averaging the others are three different results."""
    tokens = []
    for fuse in ("none", "sum", "mean"):
        with EViT(0.5, after=(1,), fuse=fuse).attach(tiny("dinov2").model):
            tokens.append(leaving(tiny("dinov2"), DEPTH - 1, noise())[:, 0])

    for one, other in combinations(tokens, 2):
        assert not torch.allclose(one, other, atol=1e-3)


def test_unattended_patches_fuse_to_zero() -> None:
    """Where attention is so sharp that all others round to zero, nothing becomes NaN."""
    attention = torch.tensor([[1.0, 0.0, 0.0, 0.0]])

    fused = fuse_others(torch.randn(1, 4, 3), attention, torch.tensor([[0]]), mean=True)

    assert torch.equal(fused, torch.zeros(1, 1, 3))


def test_an_unknown_setting_is_refused() -> None:
    """The error names the value and the choices."""
    fuse: str = "max"
    with pytest.raises(EfficarchError, match="fuse is 'max'; choose 'none', 'sum' or 'mean'"):
        EViT(0.5, fuse=fuse)


def test_sixteen_bits_rank_as_thirty_two_do() -> None:
    """Attention is computed in float32 whatever came in."""
    x = torch.randn(1, 5, 8, dtype=torch.bfloat16)

    assert Patches(x, x, x, heads=2, prefix=1).attention().dtype == torch.float32
