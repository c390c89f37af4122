"""Claims about PiToMe, against the paper's rule written out token by token."""

import math

import pytest
import torch
from torch import Tensor

from efficarch.models.base import Subject
from efficarch.models.vit import blocks_of
from efficarch.reducers.base import kept_patches
from efficarch.reducers.merging import Tokens, merge_schedule
from efficarch.reducers.pitome import PiToMe, energies, pair_up
from tests.models.samples import DEPTH, entering, leaving, noise
from tests.reducers.samples import Row, cosine, in_rows, prefix_of


def energy(keys: list[Row], token: int, others: range, margin: float) -> float:
    """Return the mean similarity of a token to all others, those below the margin bent."""
    total = 0.0
    for other in others:
        if other == token:
            continue
        above = cosine(keys[token], keys[other]) - margin
        total += above if above >= 0 else math.exp(above) - 1
    return total / len(others)


def merge_one(
    x: list[Row], keys: list[Row], size: Row, r: int, margin: float, prefix: int, weighted: bool
) -> tuple[list[Row], Row]:
    """Merge one image's tokens as section 3 of the paper describes it, one pair at a time."""
    patches = range(prefix, len(x))
    ranked = sorted(patches, key=lambda token: -energy(keys, token, patches, margin))
    going, taking = ranked[: 2 * r : 2], ranked[1 : 2 * r : 2]
    members = {b: [b] for b in taking}
    for a in going:
        members[max(taking, key=lambda b, a=a: cosine(keys[a], keys[b]))].append(a)
    tokens = [x[i] for i in range(len(x)) if i not in going and i not in taking]
    sizes = [size[i] for i in range(len(x)) if i not in going and i not in taking]
    for group in members.values():
        weights = [size[i] if weighted else 1.0 for i in group]
        columns = zip(*(x[i] for i in group), strict=True)
        tokens.append(
            [
                sum(w * value for w, value in zip(weights, column, strict=True)) / sum(weights)
                for column in columns
            ]
        )
        sizes.append(sum(size[i] for i in group))
    return tokens, sizes


@pytest.mark.parametrize("weighted", [True, False], ids=["weighted", "plain"])
@pytest.mark.parametrize("prefix", [0, 1], ids=["no CLS", "CLS"])
@pytest.mark.parametrize("depth", [0.0, 0.5, 11 / 12])
@pytest.mark.parametrize(("tokens", "r"), [(3, 1), (4, 1), (6, 2), (7, 3), (17, 8), (26, 5)])
def test_merge_is_the_paper_s_rule(
    tokens: int, r: int, depth: float, prefix: int, weighted: bool
) -> None:
    """Tokens and sizes equal those of a plain loop, for odd and even counts."""
    x, keys = torch.randn(3, tokens, 5), torch.randn(3, tokens, 4)
    size = torch.randint(1, 9, (3, tokens, 1)).float()
    method = PiToMe(0.5, weighted=weighted)

    merged, merged_size = method.merge(Tokens(x, keys, 1, size, prefix, depth), r)
    margin = 0.9 - 0.9 * depth
    expected, expected_size = in_rows(
        lambda x, keys, size: merge_one(x, keys, size, r, margin, prefix, weighted), x, keys, size
    )

    torch.testing.assert_close(merged, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(merged_size, expected_size)


@pytest.mark.parametrize("weighted", [True, False], ids=["weighted", "plain"])
def test_the_whole_encoder_follows_the_rule(encoder: Subject, weighted: bool) -> None:
    """Attend, merge by this block's keys, feed forward, block by block, gives the same states."""
    pixels = noise(encoder.model.config.image_size)
    prefix = prefix_of(encoder)
    x = entering(encoder, 0, pixels)
    patches = x.shape[1] - prefix
    merges = merge_schedule(patches - kept_patches(0.5, patches), patches, DEPTH, "constant")
    size = torch.ones_like(x[..., :1])

    for index, block in enumerate(blocks_of(encoder.model)):
        keys = block.key(block.norm1(x)).unflatten(-1, (4, 16)).mean(2)
        x = block.attend(x, size.log().transpose(1, 2)[:, None])
        x, size = by_hand(x, keys, size, merges[index], 0.9 * (1 - index / 4), prefix, weighted)
        x = block.feed_forward(x)

    with PiToMe(0.5, "constant", weighted=weighted).attach(encoder.model):
        ours = leaving(encoder, DEPTH - 1, pixels)

    torch.testing.assert_close(ours, x, rtol=1e-4, atol=1e-4)
    assert torch.equal(size.sum(1), torch.full((3, 1), float(patches + prefix)))


def by_hand(
    x: Tensor, keys: Tensor, size: Tensor, r: int, margin: float, prefix: int, weighted: bool
) -> tuple[Tensor, Tensor]:
    """Merge a batch with the naive rule."""
    return in_rows(
        lambda x, keys, size: merge_one(x, keys, size, r, margin, prefix, weighted), x, keys, size
    )


def test_tokens_that_stand_alone_are_protected() -> None:
    """Of eight equal tokens and two others, the two outlive four merges unchanged."""
    keys = torch.eye(3)[[0, 0, 1, 0, 0, 0, 2, 0, 0, 0]][None]
    x = torch.randn(1, 10, 4)

    merged, size = PiToMe(0.5).merge(Tokens(x, keys, 1, torch.ones(1, 10, 1), 0, 0.5), 4)

    assert torch.equal(merged[0, :2], x[0, [2, 6]])
    assert sorted(size.flatten().tolist()) == [1, 1, 1, 1, 1, 5]


def test_energy_by_hand() -> None:
    """Similarities above the margin count as they are, those below by exp(x) - 1."""
    similarity = torch.tensor([[[1.0, 0.2], [0.2, 1.0]]])

    found = energies(similarity, margin=0.5)

    expected = (0.5 + math.exp(-0.3) - 1) / 2
    torch.testing.assert_close(found, torch.full((1, 2), expected))


def test_ties_keep_the_order_of_the_image() -> None:
    """Of equal tokens the first pair merges first, as the docstring says."""
    stay, go, into, _target = pair_up(torch.ones(1, 9, 3), 2, 0.5, 1)

    assert go.flatten().tolist() == [1, 3]
    assert into.flatten().tolist() == [2, 4]
    assert stay.flatten().tolist() == [0, 5, 6, 7, 8]
