"""ViT-B/16 on the photos: token reduction against the dense model."""

import pytest
from PIL.Image import Image

from efficarch.fixture import Bench
from efficarch.reducers import Method

from .encoder_cases import short_cases

MODEL = "vit-b16"


@pytest.mark.parametrize(("reducer", "keep", "batch"), short_cases(MODEL), ids=str)
@pytest.mark.parametrize("model", [MODEL])
def test_image_encoder(
    bench: Bench, photos: list[Image], model: str, reducer: Method, keep: float | None, batch: int
) -> None:
    """The CLS embedding stays close to the dense one at the promised cost."""
    result = bench(model=model, reducer=reducer(keep), inputs=photos, batch=batch)

    assert result.latency <= result.budget.latency
    assert result.cossim >= result.budget.cossim
