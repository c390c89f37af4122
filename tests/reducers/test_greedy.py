"""Claims about the rules that choose one patch at a time, against brute force."""

from collections.abc import Callable
from itertools import combinations

import pytest
import torch
from torch import Tensor

from efficarch.errors import EfficarchError
from efficarch.reducers.base import cosines
from efficarch.reducers.divprune import most_diverse
from efficarch.reducers.greedy import choose
from efficarch.reducers.mmr import MMR, from_0_to_1, most_relevant
from efficarch.reducers.pruning import Pruner
from efficarch.reducers.scope import SCOPE, best_covering
from tests.models.samples import noise, tiny
from tests.reducers.samples import Row, cosine, kept_indices

Matrix = list[Row]
Score = Callable[[Matrix, Row, list[int], int], float]

SIZES = [(1, 1), (4, 1), (5, 2), (9, 4), (12, 12), (16, 8), (25, 13)]


def farthest(similarity: Matrix, _importance: Row, chosen: list[int], patch: int) -> float:
    """Return the distance to the nearest chosen patch, or to the nearest of all at first."""
    others = chosen or [other for other in range(len(similarity)) if other != patch]
    return min((1 - similarity[patch][other] for other in others), default=0.0)


def relevance(similarity: Matrix, importance: Row, chosen: list[int], patch: int) -> float:
    """Return 0.3 * importance - 0.7 * similarity to the most similar chosen patch."""
    if not chosen:
        return 0.3 * importance[patch]
    return 0.3 * importance[patch] - 0.7 * max(similarity[patch][other] for other in chosen)


def coverage(similarity: Matrix, chosen: list[int]) -> float:
    """Return how well a set covers all patches."""
    return sum(max([0.0, *(row[other] for other in chosen)]) for row in similarity)


def covering(similarity: Matrix, importance: Row, chosen: list[int], patch: int) -> float:
    """Return saliency ** 1.5 times what a patch adds to the coverage."""
    gained = coverage(similarity, [*chosen, patch]) - coverage(similarity, chosen)
    return float(importance[patch] ** 1.5) * gained


def greedily(similarity: Matrix, importance: Row, count: int, score: Score) -> list[int]:
    """Choose one patch after the other, each time looking at all sets anew."""
    chosen: list[int] = []
    for _step in range(count):
        free = [patch for patch in range(len(similarity)) if patch not in chosen]
        chosen.append(max(free, key=lambda patch: score(similarity, importance, chosen, patch)))
    return sorted(chosen)


@pytest.mark.parametrize(
    ("rule", "score"),
    [
        (lambda s, _a, count: most_diverse(s, count), farthest),
        (lambda s, a, count: most_relevant(s, a, count, 0.3), relevance),
        (lambda s, a, count: best_covering(s, a**1.5, count), covering),
    ],
    ids=["divprune", "mmr", "scope"],
)
@pytest.mark.parametrize(("patches", "count"), SIZES)
def test_the_rule_is_brute_force(
    patches: int, count: int, rule: Callable[[Tensor, Tensor, int], Tensor], score: Score
) -> None:
    """The batch chooses what a plain loop over all candidates does, image by image."""
    rng = torch.Generator().manual_seed(patches)
    states = torch.randn(4, patches, 6, generator=rng, dtype=torch.float64)
    importance = torch.rand(4, patches, generator=rng)
    similarity = cosines(states)

    found = rule(similarity, importance, count).tolist()

    assert found == [
        greedily(*image, count, score)
        for image in zip(similarity.tolist(), importance.tolist(), strict=True)
    ]


def test_similarities_are_cosines() -> None:
    """Of every pair of patches of an image, in float32."""
    states = torch.randn(2, 5, 3).bfloat16()

    expected = [[[cosine(a, b) for b in image] for a in image] for image in states.tolist()]

    assert cosines(states).dtype == torch.float32
    torch.testing.assert_close(cosines(states), torch.tensor(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_scope_without_saliency_covers_nearly_best(seed: int) -> None:
    """Greedy coverage reaches at least 1 - 1/e of the best set's, found by trying all of them."""
    states = torch.randn(1, 9, 4, generator=torch.Generator().manual_seed(seed))
    similarity = cosines(states)
    matrix = similarity[0].tolist()

    found = best_covering(similarity, torch.ones(1, 9), 3)[0].tolist()

    best = max(coverage(matrix, list(chosen)) for chosen in combinations(range(9), 3))
    assert coverage(matrix, found) >= (1 - 1 / 2.718281828) * best


def test_scope_covers_no_patch_by_less_than_nothing() -> None:
    """A patch opposite to all chosen ones is uncovered, not worse: patch 2 adds more than 1."""
    similarity = torch.tensor(
        [
            [1.0, -0.9, 0.5, 0.1],
            [-0.9, 1.0, -0.9, -0.9],
            [0.5, -0.9, 1.0, 0.8],
            [0.1, -0.9, 0.8, 1.0],
        ]
    )

    chosen = best_covering(similarity[None], torch.tensor([[9.0, 1.0, 1.0, 0.5]]), 2)

    assert chosen.tolist() == [[0, 2]]


def test_equal_patches_are_chosen_once_each() -> None:
    """Even where every gain is the same, no patch is taken twice."""
    equal = torch.ones(2, 6, 6)

    for chosen in (
        most_diverse(equal, 4),
        most_relevant(equal, torch.zeros(2, 6), 4, 0.5),
        best_covering(equal, torch.zeros(2, 6), 4),
        choose(equal, torch.tensor([5, 0]), 4, torch.neg),
    ):
        assert (chosen.diff(dim=1) > 0).all()
        assert chosen.shape == (2, 4)


def test_mmr_at_its_ends() -> None:
    """With balance 1 attention alone decides; with 0 only the first patch is by attention."""
    similarity, importance = cosines(torch.randn(3, 8, 4)), torch.rand(3, 8)

    attended = importance.topk(3).indices.sort(dim=-1).values
    assert torch.equal(most_relevant(similarity, importance, 3, 1.0), attended)

    unlike = most_relevant(similarity, importance, 3, 0.0)
    assert torch.equal(unlike, choose(similarity, importance.argmax(-1), 3, torch.neg))


def test_importance_is_stretched_by_image() -> None:
    """From 0 to 1 within each image; equal scores are 0, not NaN."""
    score = torch.tensor([[1.0, 3.0, 2.0], [5.0, 5.0, 5.0]])

    assert from_0_to_1(score).tolist() == [[0, 1, 0.5], [0, 0, 0]]


@pytest.mark.parametrize(
    ("one", "other"),
    [(MMR(0.5, balance=0.1), MMR(0.5, balance=0.5)), (SCOPE(0.5, alpha=0.0), SCOPE(0.5))],
    ids=["balance", "alpha"],
)
def test_the_settings_differ(one: Pruner, other: Pruner) -> None:
    """On noise another setting keeps other patches."""
    kept = [kept_indices(tiny("dinov2"), method, noise()).tolist() for method in (one, other)]

    assert kept[0] != kept[1]


@pytest.mark.parametrize("balance", [-0.1, 1.1, float("nan")])
def test_an_impossible_balance_is_refused(balance: float) -> None:
    """The error names the value and the range."""
    with pytest.raises(EfficarchError, match=rf"balance is {balance}; it must lie in \[0, 1\]"):
        MMR(0.5, balance=balance)


@pytest.mark.parametrize("alpha", [-1.0, float("nan")])
def test_an_impossible_alpha_is_refused(alpha: float) -> None:
    """The error names the value and the range."""
    with pytest.raises(EfficarchError, match=f"alpha is {alpha}; it must be at least 0"):
        SCOPE(0.5, alpha=alpha)
