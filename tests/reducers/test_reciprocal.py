"""Claims about reciprocal merging: the pairs are those of a greedy matching."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from efficarch.errors import EfficarchError
from efficarch.reducers.merging import Tokens
from efficarch.reducers.reciprocal import Reciprocal, match, without
from tests.reducers.samples import Row, cosine, in_rows

Pair = tuple[int, int]

MANY = 40
"""More rounds than any case here needs: every token finds a partner."""


def greedy_pairs(keys: list[Row], r: int, prefix: int) -> list[Pair]:
    """Take the most similar pair of unmatched tokens r times: (earlier, later)."""
    free = set(range(prefix, len(keys)))
    pairs = []
    for _ in range(r):
        candidates = [(i, j) for i in free for j in free if i < j]
        best = max(candidates, key=lambda pair: cosine(keys[pair[0]], keys[pair[1]]))
        pairs.append(best)
        free -= set(best)
    return pairs


def chosen(keys: Tensor, r: int, prefix: int, rounds: int) -> list[list[Pair]]:
    """Return the pairs of each image, sorted."""
    go, into = match(keys, r, prefix, rounds)
    return [
        sorted(zip(i, j, strict=True))
        for i, j in zip(into[..., 0].tolist(), go[..., 0].tolist(), strict=True)
    ]


@settings(max_examples=60, deadline=None)
@given(patches=st.integers(2, 17), prefix=st.integers(0, 1), data=st.data())
def test_the_pairs_are_those_of_greedy_matching(
    patches: int, prefix: int, data: st.DataObject
) -> None:
    """With enough rounds the fast matching is the slow one, pair by pair."""
    r = data.draw(st.integers(1, patches // 2))
    rng = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    keys = torch.randn(3, prefix + patches, 5, generator=rng)

    assert chosen(keys, r, prefix, MANY) == [
        sorted(greedy_pairs(image, r, prefix)) for image in keys.tolist()
    ]


def test_one_round_takes_reciprocal_neighbours_first() -> None:
    """Of tokens on a circle, each other's nearest pair up; the rest pair in their order."""
    # 0 and 10 are nearest to each other; 25 is nearest to 10; 90 and 94 to each other; 60 to 90
    angles = torch.tensor([0.0, 25.0, 10.0, 90.0, 60.0, 94.0]).deg2rad()
    keys = torch.stack([angles.cos(), angles.sin()], dim=-1)[None]

    assert chosen(keys, 1, 0, 1) == [[(3, 5)]]
    assert chosen(keys, 2, 0, 1) == [[(0, 2), (3, 5)]]
    assert chosen(keys, 3, 0, 1) == [[(0, 2), (1, 4), (3, 5)]]


@settings(max_examples=60, deadline=None)
@given(patches=st.integers(2, 40), prefix=st.integers(0, 1), data=st.data())
def test_every_pair_is_of_two_patches_and_no_patch_is_in_two(
    patches: int, prefix: int, data: st.DataObject
) -> None:
    """That holds for any number of rounds, also where tokens are equal and all cosines tie."""
    r = data.draw(st.integers(1, patches // 2))
    keys = torch.randint(-1, 2, (2, prefix + patches, 2)).float()

    for pairs in chosen(keys, r, prefix, data.draw(st.integers(1, 4))):
        assert len(pairs) == r
        flat = [token for pair in pairs for token in pair]
        assert len(set(flat)) == 2 * r
        assert min(flat) >= prefix
        assert all(earlier < later for earlier, later in pairs)


def merge_greedily(
    tokens: list[Row], keys: list[Row], size: Row, r: int, prefix: int
) -> tuple[list[Row], Row]:
    """Merge one image in plain Python: the later of a pair into the earlier."""
    tokens, size = [list(token) for token in tokens], list(size)
    gone = set()
    for i, j in greedy_pairs(keys, r, prefix):
        total = size[i] + size[j]
        tokens[i] = [
            (size[i] * a + size[j] * b) / total for a, b in zip(tokens[i], tokens[j], strict=True)
        ]
        size[i] = total
        gone.add(j)
    left = [k for k in range(len(tokens)) if k not in gone]
    return [tokens[k] for k in left], [size[k] for k in left]


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("which", ["all", "mean"])
def test_merging_is_its_naive_twin(which: str, heads: int) -> None:
    """Tokens and sizes are those of a loop over pairs, for keys of all heads and for their mean."""
    x, keys = torch.randn(2, 12, 6), torch.randn(2, 12, 6)
    size = torch.randint(1, 5, (2, 12, 1)).float()
    method = Reciprocal(0.5, rounds=MANY, keys="all" if which == "all" else "mean")

    ours = method.merge(Tokens(x, keys, heads, size, 1, 0.0), 4)
    compared = keys if which == "all" else keys.unflatten(-1, (heads, -1)).mean(2)
    theirs = in_rows(lambda t, k, s: merge_greedily(t, k, s, 4, 1), x, compared, size)

    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)


def test_without_leaves_the_others_in_order() -> None:
    """Indices that are not named, ascending."""
    assert without(torch.tensor([[[3], [0]]]), 5)[..., 0].tolist() == [[1, 2, 4]]


def test_settings_that_cannot_be_are_refused() -> None:
    """The error names the value and what would do."""
    with pytest.raises(EfficarchError, match="rounds is 0; it must be at least 1"):
        Reciprocal(0.5, rounds=0)
    with pytest.raises(EfficarchError, match="keys is 'none'; choose 'all' or 'mean'"):
        Reciprocal(0.5, keys="none")  # type: ignore[arg-type]
