"""Claims about what all merging rules share: schedules, sizes, proportional attention."""

import re
from itertools import pairwise
from typing import Literal

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from efficarch.errors import EfficarchError
from efficarch.models.base import Subject
from efficarch.models.vit import blocks_of
from efficarch.reducers.base import kept_patches
from efficarch.reducers.merging import SCHEDULES, Merger, Tokens, merge_schedule
from efficarch.reducers.pitome import PiToMe
from efficarch.reducers.reciprocal import Reciprocal
from efficarch.reducers.tome import ToMe
from tests.models.samples import DEPTH, FAMILIES, leaving, noise, tiny
from tests.reducers.samples import copied, prefix_of, reduced

MERGERS = [ToMe, PiToMe, Reciprocal]


@settings(max_examples=60, deadline=None)
@given(
    method=st.sampled_from(MERGERS),
    prefix=st.integers(0, 1),
    patches=st.integers(2, 40),
    data=st.data(),
)
def test_merging_conserves_mass(
    method: type[Merger], prefix: int, patches: int, data: st.DataObject
) -> None:
    """The sum of sizes and the size-weighted sum of tokens stay; no size falls below 1."""
    r = data.draw(st.integers(1, patches // 2))
    count = prefix + patches
    rng = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    x, keys = torch.randn(2, 2, count, 6, generator=rng)
    size = torch.randint(1, 5, (2, count, 1), generator=rng).float()
    tokens = Tokens(x, keys, 1, size, prefix, depth=data.draw(st.floats(0, 1)))

    merged, merged_size = method(0.5).merge(tokens, r)

    assert merged.shape == (2, count - r, 6)
    assert merged_size.min() >= 1
    assert torch.equal(merged_size.sum(1), size.sum(1))
    torch.testing.assert_close(
        (merged * merged_size).sum(1), (x * size).sum(1), rtol=1e-4, atol=1e-4
    )
    assert torch.equal(merged[:, :prefix], x[:, :prefix])


@pytest.mark.parametrize("method", MERGERS)
def test_length_of_the_keys_does_not_count(method: type[Merger]) -> None:
    """Similarity is a cosine: scaling a token's keys changes no merge."""
    x, keys = torch.randn(2, 2, 12, 4)
    size = torch.ones(2, 12, 1)
    scaled = keys * torch.rand(2, 12, 1).add(0.1)

    for ours, theirs in zip(
        method(0.5).merge(Tokens(x, keys, 1, size, 1, 0.5), 4),
        method(0.5).merge(Tokens(x, scaled, 1, size, 1, 0.5), 4),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


@settings(deadline=None)
@given(
    kind=st.sampled_from(SCHEDULES),
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


def test_a_parabolic_schedule_falls_slowly_at_first() -> None:
    """Of 192 merges in 12 blocks, block l takes a share of 1 - (l / 12) ** 2."""
    total = sum(1 - (block / 12) ** 2 for block in range(12))
    due = [192 * (1 - (block / 12) ** 2) / total for block in range(12)]

    merges = merge_schedule(192, 256, 12, "parabolic")

    assert all(abs(r - share) <= 1 for r, share in zip(merges, due, strict=True))


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
    kind=st.sampled_from(SCHEDULES),
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
    kind=st.sampled_from(SCHEDULES),
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


@pytest.mark.parametrize("method", MERGERS)
def test_an_infeasible_keep_is_refused_by_the_model(method: type[Merger]) -> None:
    """Four blocks cannot leave 1 of 25 patches; the error names patches, blocks and a keep."""
    subject = tiny("dinov2", 70)

    with pytest.raises(
        EfficarchError,
        match=r"keep leaves 1 of 25 patches; 4 blocks that halve reach 2 at .*: use keep >= 0\.08",
    ):
        reduced(subject, method(0.04, schedule="constant"), noise(70))


@pytest.mark.parametrize("method", MERGERS)
def test_an_unknown_schedule_is_refused(method: type[Merger]) -> None:
    """The error names the value and the choices."""
    schedule: str = "steep"
    with pytest.raises(EfficarchError, match="schedule is 'steep'; choose 'constant', 'para"):
        method(0.5, schedule=schedule)


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


@pytest.mark.parametrize("method", MERGERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("keep", [0.25, 0.5])
def test_merging_equal_tokens_loses_nothing(
    encoder: Subject,
    keep: float,
    schedule: Literal["constant", "parabolic", "decreasing"],
    method: type[Merger],
) -> None:
    """Of a blank image seen without positions, merging gives the dense embedding."""
    blind = without_positions(encoder)
    px = encoder.model.config.image_size
    blank = torch.full((2, 3, px, px), 0.3)
    dense = blind.embed(blank)

    proportional = reduced(blind, method(keep, schedule), blank)
    flat = reduced(blind, method(keep, schedule, proportional=False), blank)

    torch.testing.assert_close(proportional, dense, rtol=1e-4, atol=1e-4)
    # without CLS all tokens stay equal, so that it does not matter how much each of them counts
    assert torch.allclose(flat, dense, rtol=1e-3, atol=1e-3) == (prefix_of(encoder) == 0)


@pytest.mark.parametrize("method", MERGERS)
def test_a_batch_starts_afresh(method: type[Merger]) -> None:
    """Sizes of one forward pass do not reach the next one."""
    subject = tiny("dinov2")

    with method(0.5).attach(subject.model):
        subject.embed(noise(seed=1))
        second = subject.embed(noise(seed=2))

    assert torch.equal(second, reduced(subject, method(0.5), noise(seed=2)))


@pytest.mark.parametrize("method", MERGERS)
def test_one_context_serves_models_of_any_image_size(method: type[Merger]) -> None:
    """The schedule follows the number of patches of each pass."""
    subject = tiny("dinov2")
    large = noise(84, batch=1)

    with method(0.5).attach(subject.model):
        subject.embed(noise())
        tokens = leaving(subject, DEPTH - 1, large)

    assert tokens.shape[1] == 1 + 18
