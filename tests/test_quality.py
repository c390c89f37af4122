"""Claims about cosine similarity as the measure of quality."""

import pytest
import torch

from efficarch.quality import cosine_rows, summarise


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
