"""Claims about the rules that every plan keeps."""

import pytest
import torch

from efficarch.scan.mrss import MAX_RUN, Plan
from efficarch.scan.mrss.plan import check_saving


def deferred(pattern: str) -> torch.Tensor:
    """Return a plan's tokens [1, L] from a drawing: ``x`` is deferred."""
    return torch.tensor([[each == "x" for each in pattern]])


def test_a_share_of_the_updates_is_saved() -> None:
    """What is saved is the share of deferred tokens."""
    assert Plan(deferred(".x.xx...")).updates_saved == pytest.approx(3 / 8)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("x...", "defers the first or the last token"),
        ("...x", "defers the first or the last token"),
        (f".{MAX_RUN * 'x'}.", f"a run of {MAX_RUN + 1} tokens; commit at least every {MAX_RUN}th"),
    ],
)
def test_rules_are_kept(pattern: str, reason: str) -> None:
    """The first and the last token are committed, and no chain is too long."""
    with pytest.raises(ValueError, match=reason):
        Plan(deferred(pattern))


def test_other_things_are_no_plan() -> None:
    """Scores are not booleans."""
    with pytest.raises(ValueError, match=r"shape \(1, 5\) and dtype torch.float32, expected bool"):
        Plan(torch.zeros(1, 5))


@pytest.mark.parametrize("saving", [-0.1, 0.88, 1.0, 2.0, float("nan")])
def test_savings_that_no_plan_reaches(saving: float) -> None:
    """One sentence names the saving and the most that is possible."""
    with pytest.raises(ValueError, match=rf"saving is {saving}, expected .* from 0 to 0.875"):
        check_saving(saving)


def test_a_plan_of_another_shape() -> None:
    """A plan is for inputs of its shape."""
    with pytest.raises(
        ValueError, match=r"the plan has shape \(1, 4\), the inputs have .*\(2, 5\)"
    ):
        Plan(deferred("....")).check_matches(2, 5)
