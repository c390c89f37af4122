"""Claims about the table of models."""

import pytest

from efficarch.errors import UnknownNameError
from efficarch.models import MODELS, model_row
from efficarch.reducers import EVERY_MODEL


def test_an_unknown_model_gets_a_hint() -> None:
    """A typing mistake names the model that was meant."""
    with pytest.raises(
        UnknownNameError, match="unknown model 'dinov2-smal'; did you mean 'dinov2-small'"
    ):
        model_row("dinov2-smal")


@pytest.mark.parametrize("name", MODELS)
def test_every_row_is_found_by_its_name(name: str) -> None:
    """The key of a row is its name, and reducers know it unless it reads token ids alone."""
    assert model_row(name).name == name
    assert (name in EVERY_MODEL) != name.startswith("mamba")
