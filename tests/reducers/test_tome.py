"""Claims about token merging, against the paper's rule written out token by token."""

import math
import re
from itertools import pairwise
from typing import Literal

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from efficarch.errors import EfficarchError
from efficarch.models.base import Subject
from efficarch.models.vit import blocks_of
from efficarch.reducers.base import kept_patches
from efficarch.reducers.tome import ToMe, match, merge, merge_schedule
from tests.models.samples import DEPTH, FAMILIES, entering, leaving, noise, tiny
from tests.reducers.samples import copied, reduced

Row = list[float]
KINDS = ["constant", "decreasing"]


def cosine(a: Row, b: Row) -> float:
    """Return the cosine of the angle between two vectors."""
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def merge_one(x: list[Row], metric: list[Row], size: Row, r: int) -> tuple[list[Row], Row]:
    """Merge one image's tokens as section 3 of the paper describes it, one pair at a time."""
    set_a, set_b = range(0, len(x), 2), range(1, len(x), 2)
    proposals = []
    for a in set_a:
        if a == 0:
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


def naive_merge(x: Tensor, metric: Tensor, size: Tensor, r: int) -> tuple[Tensor, Tensor]:
    """Merge a batch image by image, in float64."""
    images = [
        merge_one(*image, r)
        for image in zip(x.tolist(), metric.tolist(), size[..., 0].tolist(), strict=True)
    ]
    tokens = torch.tensor([tokens for tokens, _sizes in images], dtype=x.dtype)
    return tokens, torch.tensor([sizes for _tokens, sizes in images], dtype=x.dtype)[..., None]


@pytest.mark.parametrize("sized", [False, True], ids=["sizes of 1", "given sizes"])
@pytest.mark.parametrize(
    ("tokens", "r"), [(2, 0), (3, 1), (6, 1), (6, 2), (7, 3), (17, 1), (17, 8), (26, 5), (26, 12)]
)
def test_merge_is_the_paper_s_rule(tokens: int, r: int, sized: bool) -> None:
    """Tokens and sizes equal those of a plain loop over pairs, for odd and even counts."""
    x, metric = torch.randn(3, tokens, 5), torch.randn(3, tokens, 4)
    size = torch.randint(1, 9, (3, tokens, 1)).float() if sized else None
    given_size = torch.ones(3, tokens, 1) if size is None else size

    merged, merged_size = merge(x, metric, size, r)
    expected, expected_size = naive_merge(x, metric, given_size, r)

    torch.testing.assert_close(merged, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(merged_size, expected_size)


@settings(max_examples=60, deadline=None)
@given(tokens=st.integers(2, 40), data=st.data())
def test_merging_conserves_mass(tokens: int, data: st.DataObject) -> None:
    """The sum of sizes and the size-weighted sum of tokens stay; no size falls below 1."""
    r = data.draw(st.integers(0, (tokens - 1) // 2))
    rng = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    x, metric = torch.randn(2, 2, tokens, 6, generator=rng)
    size = torch.randint(1, 5, (2, tokens, 1), generator=rng).float()

    merged, merged_size = merge(x, metric, size, r)

    assert merged.shape == (2, tokens - r, 6)
    assert merged_size.min() >= 1
    assert torch.equal(merged_size.sum(1), size.sum(1))
    torch.testing.assert_close(
        (merged * merged_size).sum(1), (x * size).sum(1), rtol=1e-4, atol=1e-4
    )


def test_cls_never_proposes() -> None:
    """Even with the most similar pair of all, CLS stays first, alone and unchanged."""
    x = torch.randn(1, 9, 4)
    metric = torch.randn(1, 9, 4)
    metric[:, 1] = metric[:, 0]

    merged, size = merge(x, metric, None, 4)

    assert torch.equal(merged[:, 0], x[:, 0])
    assert size[:, 0] == 1


def test_ties_keep_the_earlier_token_going() -> None:
    """Between equal proposals the first in order is carried out, as the docstring says."""
    _stay, go, target = match(torch.ones(1, 9, 3), 2)

    assert go.flatten().tolist() == [1, 2]
    assert target.flatten().tolist() == [0, 0]


def test_length_of_the_metric_does_not_count() -> None:
    """Similarity is a cosine: scaling a token's keys changes no match."""
    metric = torch.randn(2, 12, 4)
    scaled = metric * torch.rand(2, 12, 1).add(0.1)

    for ours, theirs in zip(match(metric, 4), match(scaled, 4), strict=True):
        assert torch.equal(ours, theirs)


@settings(deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    patches=st.integers(1, 400),
    depth=st.integers(1, 24),
    data=st.data(),
)
def test_a_schedule_sums_up_and_halves_at_most(
    kind: str, patches: int, depth: int, data: st.DataObject
) -> None:
    """Merges add up to the total exactly, and no block merges more than half of its patches."""
    total = data.draw(st.integers(0, patches // 2))

    merges = merge_schedule(total, patches, depth, kind)

    assert len(merges) == depth
    assert sum(merges) == total
    left = patches
    for r in merges:
        assert 0 <= r <= left // 2
        left -= r


@settings(deadline=None)
@given(patches=st.integers(3, 400), depth=st.integers(1, 24), data=st.data())
def test_a_constant_schedule_is_even(patches: int, depth: int, data: st.DataObject) -> None:
    """Where no block is short of patches, two blocks differ by one merge at most."""
    # with a third of the patches or less to merge, half of what is left is always more than asked
    total = data.draw(st.integers(0, patches // 3))

    merges = merge_schedule(total, patches, depth, "constant")

    assert max(merges) - min(merges) <= 1


@settings(deadline=None)
@given(patches=st.integers(3, 400), depth=st.integers(1, 24), data=st.data())
def test_a_decreasing_schedule_falls(patches: int, depth: int, data: st.DataObject) -> None:
    """Up to rounding by one, no block merges more than the one before it."""
    total = data.draw(st.integers(0, patches // 3))

    merges = merge_schedule(total, patches, depth, "decreasing")

    assert all(later <= earlier + 1 for earlier, later in pairwise(merges))


@pytest.mark.parametrize(
    ("kind", "merges"),
    [
        ("constant", [11, 10, 11, 11, 10, 11, 11, 10, 11, 11, 10, 11]),
        ("decreasing", [20, 18, 16, 15, 13, 12, 10, 8, 6, 5, 3, 2]),
    ],
)
def test_the_schedule_of_dinov2_at_keep_half(kind: str, merges: list[int]) -> None:
    """128 of 256 patches over 12 blocks: evenly, or falling linearly towards zero."""
    found = merge_schedule(128, 256, 12, kind)

    assert all(abs(a - b) <= 1 for a, b in zip(found, merges, strict=True))
    assert sum(found) == 128


def refusal(total: int, patches: int, depth: int, kind: str) -> str | None:
    """Return why a schedule is refused, or ``None`` if it is not."""
    try:
        merge_schedule(total, patches, depth, kind)
    except EfficarchError as error:
        return str(error)
    return None


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(
    kind=st.sampled_from(KINDS),
    patches=st.integers(2, 400),
    depth=st.integers(1, 6),
    data=st.data(),
)
def test_an_infeasible_keep_gets_one_that_works(
    kind: str, patches: int, depth: int, data: st.DataObject
) -> None:
    """The keep that the error names is taken when asked for."""
    refused = refusal(data.draw(st.integers(0, patches - 1)), patches, depth, kind)
    assume(refused is not None)

    named = re.search(r"use keep >= ([0-9.]+)$", str(refused))

    assert named
    kept = kept_patches(float(named[1]), patches)
    assert refusal(patches - kept, patches, depth, kind) is None


@settings(max_examples=200, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    patches=st.integers(2, 400),
    depth=st.integers(1, 6),
    data=st.data(),
)
def test_halving_everywhere_is_the_only_limit(
    kind: str, patches: int, depth: int, data: st.DataObject
) -> None:
    """A keep is refused only where even halving in every block leaves more."""
    fewest = patches
    for _block in range(depth):
        fewest -= fewest // 2
    total = data.draw(st.integers(0, patches - fewest))

    assert refusal(total, patches, depth, kind) is None


def test_an_infeasible_keep_is_refused_by_the_model() -> None:
    """Four blocks cannot leave 1 of 25 patches; the error names patches, blocks and a keep."""
    subject = tiny("dinov2", 70)

    with pytest.raises(
        EfficarchError,
        match=r"keep leaves 1 of 25 patches; 4 blocks that halve reach 2 at .*: use keep >= 0\.08",
    ):
        reduced(subject, ToMe(0.04, schedule="constant"), noise(70))


def test_an_unknown_schedule_is_refused() -> None:
    """The error names the value and the choices."""
    schedule: str = "steep"
    with pytest.raises(EfficarchError, match="schedule is 'steep'; choose 'constant' or 'decr"):
        ToMe(0.5, schedule=schedule)


@pytest.mark.parametrize("family", FAMILIES)
def test_proportional_attention_counts_merged_tokens(family: str) -> None:
    """log(size) on a merged key weighs as much as attending to the duplicates behind it."""
    block = blocks_of(tiny(family).model)[1]
    one, two, three = torch.randn(3, 1, 1, 64)
    merged = torch.cat([one, two, three], dim=1)
    size = torch.tensor([1.0, 2.0, 3.0])

    biased = block.attend(merged, size.log()[None, None, None])
    plain = block.attend(torch.cat([one, two, two, three, three, three], dim=1))

    torch.testing.assert_close(biased, plain[:, [0, 1, 3]], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(block.attend(merged), biased, atol=1e-3)


def without_positions(subject: Subject) -> Subject:
    """Return a copy in which equal patches stay equal, wherever they lie."""
    blind = copied(subject)
    for name, parameter in blind.model.named_parameters():
        if "position_embedding" in name:
            parameter.data.zero_()
    return blind


@pytest.mark.parametrize("schedule", KINDS)
@pytest.mark.parametrize("keep", [0.25, 0.5])
def test_merging_equal_tokens_loses_nothing(
    encoder: Subject, keep: float, schedule: Literal["constant", "decreasing"]
) -> None:
    """Of a blank image seen without positions, ToMe gives the dense embedding."""
    blind = without_positions(encoder)
    px = encoder.model.config.image_size
    blank = torch.full((2, 3, px, px), 0.3)
    dense = blind.embed(blank)

    proportional = reduced(blind, ToMe(keep, schedule), blank)
    flat = reduced(blind, ToMe(keep, schedule, proportional=False), blank)

    torch.testing.assert_close(proportional, dense, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(flat, dense, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("schedule", KINDS)
@pytest.mark.parametrize("proportional", [True, False], ids=["proportional", "flat"])
def test_the_whole_encoder_follows_the_rule(
    encoder: Subject, schedule: Literal["constant", "decreasing"], proportional: bool
) -> None:
    """Attend, merge by this block's keys, feed forward, block by block, gives the same states."""
    pixels = noise(encoder.model.config.image_size)
    x = entering(encoder, 0, pixels)
    patches = x.shape[1] - 1
    merges = merge_schedule(patches - kept_patches(0.5, patches), patches, DEPTH, schedule)
    size = torch.ones_like(x[..., :1])

    for block, r in zip(blocks_of(encoder.model), merges, strict=True):
        keys = block.key(block.norm1(x)).unflatten(-1, (4, 16)).mean(2)
        bias = size.log().transpose(1, 2)[:, None] if proportional else None
        x, size = naive_merge(block.attend(x, bias), keys, size, r)
        x = block.feed_forward(x)

    with ToMe(0.5, schedule, proportional).attach(encoder.model):
        ours = leaving(encoder, DEPTH - 1, pixels)

    torch.testing.assert_close(ours, x, rtol=1e-4, atol=1e-4)
    assert torch.equal(size.sum(1), torch.full((3, 1), patches + 1.0))


def test_a_batch_starts_afresh() -> None:
    """Sizes of one forward pass do not reach the next one."""
    subject = tiny("dinov2")

    with ToMe(0.5).attach(subject.model):
        subject.embed(noise(seed=1))
        second = subject.embed(noise(seed=2))

    assert torch.equal(second, reduced(subject, ToMe(0.5), noise(seed=2)))


def test_one_context_serves_models_of_any_image_size() -> None:
    """The schedule follows the number of patches of each pass."""
    subject = tiny("dinov2")
    large = noise(84, batch=1)

    with ToMe(0.5).attach(subject.model):
        subject.embed(noise())
        tokens = leaving(subject, DEPTH - 1, large)

    assert tokens.shape[1] == 1 + 18
