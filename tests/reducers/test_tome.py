"""Claims about token merging, against the paper's rule written out token by token."""

from typing import Literal

import pytest
import torch
from torch import Tensor

from efficarch.models.base import Subject
from efficarch.models.vit import blocks_of
from efficarch.reducers.base import kept_patches
from efficarch.reducers.merging import SCHEDULES, Tokens, merge_schedule
from efficarch.reducers.tome import ToMe, match
from tests.models.samples import DEPTH, entering, leaving, noise
from tests.reducers.samples import Row, cosine, in_rows, prefix_of


def merge_one(
    x: list[Row], metric: list[Row], size: Row, r: int, prefix: int
) -> tuple[list[Row], Row]:
    """Merge one image's tokens as section 3 of the paper describes it, one pair at a time."""
    set_a, set_b = range(0, len(x), 2), range(1, len(x), 2)
    proposals = []
    for a in set_a:
        if a < prefix:
            continue  # CLS never proposes
        partner = max(set_b, key=lambda b, a=a: cosine(metric[a], metric[b]))
        proposals.append((cosine(metric[a], metric[partner]), a, partner))
    accepted = sorted(proposals, reverse=True)[:r]
    tokens, sizes = [list(row) for row in x], list(size)
    for _similarity, a, b in accepted:
        total = sizes[b] + size[a]
        tokens[b] = [
            (sizes[b] * old + size[a] * new) / total
            for old, new in zip(tokens[b], x[a], strict=True)
        ]
        sizes[b] = total
    gone = {a for _similarity, a, _b in accepted}
    left = [a for a in set_a if a not in gone] + list(set_b)
    return [tokens[i] for i in left], [sizes[i] for i in left]


def naive_merge(
    x: Tensor, metric: Tensor, size: Tensor, r: int, prefix: int = 1
) -> tuple[Tensor, Tensor]:
    """Merge a batch image by image, in float64."""
    return in_rows(
        lambda tokens, keys, sizes: merge_one(tokens, keys, sizes, r, prefix), x, metric, size
    )


def merge(
    x: Tensor, metric: Tensor, size: Tensor, r: int, prefix: int = 1
) -> tuple[Tensor, Tensor]:
    """Merge as the method does, wherever in the model."""
    return ToMe(0.5).merge(Tokens(x, metric, 1, size, prefix, depth=0.0), r)


@pytest.mark.parametrize("prefix", [0, 1], ids=["no CLS", "CLS"])
@pytest.mark.parametrize("sized", [False, True], ids=["sizes of 1", "given sizes"])
@pytest.mark.parametrize(
    ("tokens", "r"), [(2, 0), (3, 1), (6, 1), (6, 2), (7, 3), (17, 1), (17, 8), (26, 5), (26, 12)]
)
def test_merge_is_the_paper_s_rule(tokens: int, r: int, sized: bool, prefix: int) -> None:
    """Tokens and sizes equal those of a plain loop over pairs, for odd and even counts."""
    x, metric = torch.randn(3, tokens, 5), torch.randn(3, tokens, 4)
    size = torch.randint(1, 9, (3, tokens, 1)).float() if sized else torch.ones(3, tokens, 1)

    merged, merged_size = merge(x, metric, size, r, prefix)
    expected, expected_size = naive_merge(x, metric, size, r, prefix)

    torch.testing.assert_close(merged, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(merged_size, expected_size)


def test_cls_never_proposes() -> None:
    """Even with the most similar pair of all, CLS stays first, alone and unchanged."""
    x = torch.randn(1, 9, 4)
    metric = torch.randn(1, 9, 4)
    metric[:, 1] = metric[:, 0]

    merged, size = merge(x, metric, torch.ones(1, 9, 1), 4)

    assert torch.equal(merged[:, 0], x[:, 0])
    assert size[:, 0] == 1


def test_ties_keep_the_earlier_token_going() -> None:
    """Between equal proposals the first in order is carried out, as the docstring says."""
    _stay, go, target = match(torch.ones(1, 9, 3), 2)

    assert go.flatten().tolist() == [1, 2]
    assert target.flatten().tolist() == [0, 0]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("proportional", [True, False], ids=["proportional", "flat"])
def test_the_whole_encoder_follows_the_rule(
    encoder: Subject, schedule: Literal["constant", "parabolic", "decreasing"], proportional: bool
) -> None:
    """Attend, merge by this block's keys, feed forward, block by block, gives the same states."""
    pixels = noise(encoder.model.config.image_size)
    x = entering(encoder, 0, pixels)
    prefix = prefix_of(encoder)
    patches = x.shape[1] - prefix
    merges = merge_schedule(patches - kept_patches(0.5, patches), patches, DEPTH, schedule)
    size = torch.ones_like(x[..., :1])

    for block, r in zip(blocks_of(encoder.model), merges, strict=True):
        keys = block.key(block.norm1(x)).unflatten(-1, (4, 16)).mean(2)
        bias = size.log().transpose(1, 2)[:, None] if proportional else None
        x, size = naive_merge(block.attend(x, bias), keys, size, r, prefix)
        x = block.feed_forward(x)

    with ToMe(0.5, schedule, proportional).attach(encoder.model):
        ours = leaving(encoder, DEPTH - 1, pixels)

    torch.testing.assert_close(ours, x, rtol=1e-4, atol=1e-4)
    assert torch.equal(size.sum(1), torch.full((3, 1), float(patches + prefix)))
