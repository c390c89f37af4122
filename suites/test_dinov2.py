"""DINOv2-small on the packaged photos: token reduction against the dense model."""

import pytest
from PIL.Image import Image

from efficarch.fixture import Bench
from efficarch.reducers import REDUCERS, Method

MODEL = "dinov2-small"
CASES = REDUCERS.cases(MODEL, keeps=[1.0, 0.7, 0.5, 0.25], joined=["tome+exact-tail"])


@pytest.mark.parametrize("batch", [1, 8], ids="b{}".format)
@pytest.mark.parametrize(("reducer", "keep"), CASES, ids=str)
@pytest.mark.parametrize("model", [MODEL])
def test_image_encoder(
    bench: Bench, photos: list[Image], model: str, reducer: Method, keep: float | None, batch: int
) -> None:
    """The CLS embedding stays close to the dense one at the promised cost."""
    result = bench(model=model, reducer=reducer(keep), inputs=photos, batch=batch)

    assert result.latency <= result.budget.latency
    assert result.cossim >= result.budget.cossim
