"""What a suite test asserts of slopes: the same judgement as the gate's."""

from dataclasses import replace

import pytest

from efficarch.bench import Result
from efficarch.errors import EfficarchError
from tests import samples
from tests.gate.test_slopes_and_savings import LIMITS, scaled


@pytest.mark.parametrize(
    ("exponent", "inside"), [(1.0, True), (1.2, False)], ids=["inside", "outside"]
)
def test_slopes_in_budget_is_the_judgement(exponent: float, inside: bool) -> None:
    """The assertion of a suite and the gate agree."""
    result = Result(scaled(exponent), LIMITS)

    assert (result.slopes in result.budget.slopes) is inside
    assert bool(result.slopes.breaches(result.budget.slopes)) is not inside


@pytest.mark.parametrize("name", ["slope", "reference_slope"])
def test_a_budget_without_a_range_is_an_error(name: str) -> None:
    """``in`` would otherwise hold whatever was measured."""
    result = Result(scaled(), replace(LIMITS, **{name: None}))

    with pytest.raises(EfficarchError, match=f"gives this cell no {name}; add one"):
        assert result.slopes in result.budget.slopes


def test_slopes_of_a_cell_without_a_sweep_are_an_error() -> None:
    """Nothing can be asserted on what was not measured."""
    with pytest.raises(EfficarchError, match="has no sweep over length; do not assert on slopes"):
        _ = Result(samples.measurement(), LIMITS).slopes
