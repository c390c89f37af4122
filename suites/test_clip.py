"""CLIP ViT-B/16 on the packaged photos: token reduction against the dense model."""

import pytest
from PIL.Image import Image

from efficarch.fixture import Bench
from efficarch.reducers import REDUCERS, Method

MODEL = "clip-vit-b16"
JOINED = REDUCERS["tome+exact-tail"]

THROUGHPUT = [
    (method, keep, 8)
    for method, keep in [
        *REDUCERS.cases(MODEL, keeps=[1.0, 0.7, 0.5]),
        *((JOINED, keep) for keep in (0.7, 0.5, 0.25)),
    ]
]
SINGLE_IMAGE = [
    (method, keep, 1) for method, keep in [*REDUCERS.cases(MODEL, keeps=[0.5]), (JOINED, 0.5)]
]


@pytest.mark.parametrize(("reducer", "keep", "batch"), THROUGHPUT + SINGLE_IMAGE, ids=str)
@pytest.mark.parametrize("model", [MODEL])
def test_image_encoder(
    bench: Bench, photos: list[Image], model: str, reducer: Method, keep: float | None, batch: int
) -> None:
    """The projected image embedding stays close to the dense one at the promised cost."""
    result = bench(model=model, reducer=reducer(keep), inputs=photos, batch=batch)

    assert result.latency <= result.budget.latency
    assert result.cossim >= result.budget.cossim
