"""Claims about cosine similarity as the measure of quality, and about its companions."""

import math
from itertools import combinations

import pytest
import torch
from torch import Tensor

from efficarch.quality import (
    accuracy_kept,
    agreement,
    centred,
    class_logits,
    cosine_rows,
    divergence_nats,
    retrieval,
    summarise,
    unrelated,
    worst_divergence_nats,
)


@pytest.mark.parametrize(
    ("factor", "similarity"), [(1.0, 1.0), (3.0, 1.0), (-1.0, -1.0)], ids="times{:g}".format
)
def test_direction_alone_counts(factor: float, similarity: float) -> None:
    """Identical and scaled rows have similarity 1, opposite ones -1."""
    reference = torch.randn(5, 8)

    rows = cosine_rows(factor * reference, reference)

    torch.testing.assert_close(rows, torch.full((5,), similarity, dtype=torch.float64))


def test_a_right_angle_is_zero() -> None:
    """Rows that share no direction have similarity 0."""
    assert cosine_rows(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])).item() == 0


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), float("-inf")])
def test_a_broken_row_is_as_bad_as_can_be(broken: float) -> None:
    """One value that is not finite gives its row -1 and leaves the others alone."""
    reference = torch.randn(3, 8)
    subject = reference.clone()
    subject[1, 4] = broken

    assert cosine_rows(subject, reference).tolist() == pytest.approx([1, -1, 1])


def test_a_broken_reference_passes_no_floor_either() -> None:
    """NaN on both sides is no agreement."""
    rows = torch.full((1, 4), float("nan"))

    assert cosine_rows(rows, rows).tolist() == [-1]


def test_it_is_worked_in_float64() -> None:
    """Half-precision rows lose nothing further: a deviation of 1e-3 is seen."""
    reference = torch.tensor([[1.0, 0.0]], dtype=torch.bfloat16)
    subject = torch.tensor([[1.0, 0.03125]], dtype=torch.bfloat16)

    assert cosine_rows(subject, reference).item() == pytest.approx((1 + 2**-10) ** -0.5, abs=1e-12)


def test_similarity_stays_in_its_range() -> None:
    """Rounding carries no row beyond 1."""
    rows = torch.randn(1000, 3)

    assert cosine_rows(rows, rows).max() <= 1


def test_the_summary_of_known_values() -> None:
    """Mean, 5th percentile and minimum of 0, 0.01 ... 1, in any order."""
    values = torch.linspace(0, 1, 101, dtype=torch.float64)[torch.randperm(101)]

    summary = summarise(values)

    assert summary.mean == pytest.approx(0.5)
    assert summary.p5 == pytest.approx(0.05)
    assert summary.minimum == 0
    assert summary.items == 101


def cosine(a: Tensor, b: Tensor) -> float:
    """Return the cosine of two vectors, one product at a time."""
    dot = sum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))
    norms = [math.sqrt(sum(x * x for x in row.tolist())) for row in (a, b)]
    return dot / (norms[0] * norms[1])


def naive_centred(subject: Tensor, reference: Tensor) -> float:
    """Take the mean off by hand and average the cosines."""
    mean = sum(reference, torch.zeros(reference.shape[1])) / len(reference)
    rows = zip(subject, reference, strict=True)
    return sum(cosine(s - mean, r - mean) for s, r in rows) / len(reference)


def naive_unrelated(reference: Tensor) -> float:
    """Average over every pair."""
    pairs = [cosine(reference[i], reference[j]) for i, j in combinations(range(len(reference)), 2)]
    return sum(pairs) / len(pairs)


def naive_retrieval(subject: Tensor, reference: Tensor) -> float:
    """Look through the gallery for each query."""
    hits = 0
    for i, query in enumerate(subject):
        others = [cosine(query, row) for j, row in enumerate(reference) if j != i]
        hits += cosine(query, reference[i]) > max(others) + 1e-6
    return hits / len(reference)


def naive_logits(images: Tensor, texts: Tensor, scale: float) -> list[list[float]]:
    """Scale every cosine."""
    return [[scale * cosine(image, text) for text in texts] for image in images]


def softmax(logits: list[float]) -> list[float]:
    """Return probabilities."""
    powers = [math.exp(value) for value in logits]
    return [power / sum(powers) for power in powers]


def naive_divergence(subject: list[list[float]], reference: list[list[float]]) -> float:
    """Sum p log(p / q) image by image."""
    total = 0.0
    for s, r in zip(subject, reference, strict=True):
        total += sum(p * math.log(p / q) for p, q in zip(softmax(r), softmax(s), strict=True))
    return total / len(reference)


@pytest.fixture
def reference() -> Tensor:
    """Return embeddings that share a direction, as CLIP's do."""
    return torch.randn(7, 16) + 2


@pytest.fixture
def subject(reference: Tensor) -> Tensor:
    """Return embeddings so far off that some find another image first."""
    return reference + 4 * torch.randn(7, 16)


def test_centred_matches_its_twin(subject: Tensor, reference: Tensor) -> None:
    """The common direction is gone, and with it most of the similarity."""
    value = centred(subject, reference)

    assert value == pytest.approx(naive_centred(subject, reference), abs=1e-5)
    assert value < cosine_rows(subject, reference).mean() - 0.05


def test_centred_of_the_reference_itself_is_1(reference: Tensor) -> None:
    """Nothing lost is 1 around the mean too."""
    assert centred(reference, reference) == pytest.approx(1)


def test_a_method_that_returns_the_mean_is_worth_nothing_centred(reference: Tensor) -> None:
    """One answer for every image is close in direction and says nothing of the image."""
    mean = reference.double().mean(dim=0).expand(7, -1)

    assert cosine_rows(mean, reference).mean() > 0.8
    assert centred(mean, reference) == pytest.approx(0, abs=1e-6)


def test_unrelated_matches_its_twin(reference: Tensor) -> None:
    """The closed form is the mean over all pairs."""
    assert unrelated(reference) == pytest.approx(naive_unrelated(reference), abs=1e-5)


def test_retrieval_matches_its_twin(subject: Tensor, reference: Tensor) -> None:
    """The share of hits is that of a search through the gallery, neither all nor none."""
    value = retrieval(subject, reference)

    assert value == pytest.approx(naive_retrieval(subject, reference))
    assert 0 < value < 1
    assert retrieval(reference, reference) == 1


def test_retrieval_searches_the_dense_gallery() -> None:
    """A query is a reduced embedding: exchanged roles would give another answer here."""
    gallery = torch.eye(3)
    queries = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 0, 1]])

    assert retrieval(queries, gallery) == pytest.approx(2 / 3)
    assert retrieval(gallery, queries) == pytest.approx(1 / 3)


@pytest.mark.parametrize("scale", [1.0, 3.0], ids="times{:g}".format)
def test_a_tie_is_a_miss(scale: float) -> None:
    """Two copies of one image cannot be told apart, whatever rounding says; the third can."""
    gallery = torch.randn(3, 64)
    gallery[1] = scale * gallery[0]

    assert retrieval(gallery, gallery) == pytest.approx(1 / 3)


def test_logits_match_their_twin(subject: Tensor) -> None:
    """Scaled cosines, whatever the length of either side."""
    texts = 5 * torch.randn(4, 16)

    expected = torch.tensor(naive_logits(subject, texts, 10.0)).double()

    torch.testing.assert_close(class_logits(subject, texts, 10.0), expected, rtol=0, atol=1e-4)


def test_agreement_is_the_share_of_equal_top_1() -> None:
    """Two of three images keep their class; how sure the model is does not matter."""
    dense = torch.tensor([[3.0, 1, 0], [0, 2, 1], [0, 0, 1]])
    reduced = torch.tensor([[9.0, 8, 0], [2, 1, 0], [0, 0, 7]])

    assert agreement(reduced, dense) == pytest.approx(2 / 3)


def test_divergence_matches_its_twin(subject: Tensor, reference: Tensor) -> None:
    """KL(dense || reduced), in nats and in this direction."""
    texts = torch.randn(4, 16)
    reduced, dense = (class_logits(side, texts, 10.0) for side in (subject, reference))

    value = divergence_nats(reduced, dense, worst=99)

    assert value == pytest.approx(naive_divergence(reduced.tolist(), dense.tolist()))
    assert value != pytest.approx(naive_divergence(dense.tolist(), reduced.tolist()), rel=1e-2)
    assert divergence_nats(dense, dense, worst=99) == 0


def test_no_divergence_exceeds_the_worst() -> None:
    """Two predictions as far apart as a head can put them stay within the bound, and near it."""
    texts = torch.tensor([[1.0, 0], [-1, 0]])
    one, other = (class_logits(texts[i : i + 1], texts, 20.0) for i in (0, 1))
    worst = worst_divergence_nats(20.0, 2)

    assert 0.9 * worst < divergence_nats(one, other, worst=worst) <= worst


def test_accuracy_kept_is_relative_to_the_dense_model() -> None:
    """Of three images the dense model gets right, the reduced one keeps one and wins another."""
    labels = torch.tensor([0, 1, 0, 1])
    dense = torch.tensor([[1.0, 0], [0, 1], [1, 0], [1, 0]])
    reduced = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])

    assert accuracy_kept(reduced, dense, labels) == pytest.approx(2 / 3)
    assert accuracy_kept(dense, dense, labels) == 1


def test_nothing_right_is_nothing_to_keep() -> None:
    """A dense model without a hit has no accuracy to compare with."""
    logits = torch.tensor([[1.0, 0]])

    assert accuracy_kept(logits, logits, torch.tensor([1])) is None


BROKEN = [float("nan"), float("inf"), float("-inf")]


@pytest.mark.parametrize("value", BROKEN)
def test_one_broken_row_costs_its_share(value: float, reference: Tensor) -> None:
    """A reduced embedding with one value that is not finite is the worst there is."""
    texts = torch.randn(4, 16)
    broken = reference.clone()
    broken[2, 5] = value
    reduced, dense = (class_logits(side, texts, 10.0) for side in (broken, reference))
    labels = dense.argmax(dim=-1)

    assert centred(broken, reference) == pytest.approx((6 - 1) / 7)
    assert retrieval(broken, reference) == pytest.approx(6 / 7)
    assert agreement(reduced, dense) == pytest.approx(6 / 7)
    assert divergence_nats(reduced, dense, worst=21) == pytest.approx(3)
    assert accuracy_kept(reduced, dense, labels) == pytest.approx(6 / 7)


@pytest.mark.parametrize("value", BROKEN)
def test_a_broken_reference_looks_good_nowhere(value: float, reference: Tensor) -> None:
    """Where the dense side itself is broken, no figure is better than with a sound one."""
    texts = torch.randn(4, 16)
    broken = reference.clone()
    broken[2, 5] = value
    reduced, dense = (class_logits(side, texts, 10.0) for side in (reference, broken))
    labels = reduced.argmax(dim=-1)
    kept = accuracy_kept(reduced, dense, labels)

    assert centred(reference, broken) == -1
    assert unrelated(broken) == 1
    assert retrieval(reference, broken) == 0
    assert agreement(reduced, dense) <= 6 / 7 + 1e-12
    assert divergence_nats(reduced, dense, worst=21) == pytest.approx(3)
    assert kept is not None
    assert kept <= 1


def test_all_broken_is_worst_everywhere(reference: Tensor) -> None:
    """A method that returns NaN only has no figure that could be taken for a good one."""
    texts = torch.randn(4, 16)
    broken = torch.full_like(reference, float("nan"))
    reduced, dense = (class_logits(side, texts, 10.0) for side in (broken, reference))

    assert (centred(broken, reference), retrieval(broken, reference)) == (-1, 0)
    assert (agreement(reduced, dense), divergence_nats(reduced, dense, worst=21)) == (0, 21)
    assert accuracy_kept(reduced, dense, dense.argmax(dim=-1)) == 0
