"""An inner suite for pytester: a tiny encoder, and a clock that counts work instead of time."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from transformers import Dinov2Config, Dinov2Model

from efficarch.models.base import Normalization, Subject, WeightsRequest
from efficarch.models.images import prepare
from efficarch.models.loading import load_random

NORMALIZATION = Normalization(56, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


class WorkClock:
    """One second per million multiply-adds of linear layers: equal work, equal time.

    So slow that every round is one pair: inner suites measure nothing that more would mend.
    """

    def time_ms(self, call: Callable[[], object]) -> float:
        """Run the call and return its work."""
        work = 1

        def count(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            nonlocal work
            if isinstance(module, nn.Linear):
                work += output.numel() * module.in_features

        handle = register_module_forward_hook(count)
        try:
            call()
        finally:
            handle.remove()
        return work / 1e3


def load(request: WeightsRequest) -> Subject:
    """Return a seeded DINOv2 of four blocks for images of 56 px, labelled as asked."""
    config = Dinov2Config(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=2, image_size=56, patch_size=14
    )
    model, source = load_random(Dinov2Model, config, request.seed)
    model.eval()

    return Subject(
        model=model,
        prepare=lambda images: prepare(images, NORMALIZATION),
        embed=lambda pixels: model(pixel_values=pixels).pooler_output,
        weights=request.weights,
        source=source,
    )


CONFTEST = """
import numpy as np
import pytest
from PIL import Image
from tests.inner import WorkClock


@pytest.fixture(scope="session")
def efficarch_clock():
    return WorkClock()


@pytest.fixture(scope="session")
def images():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (56, 56, 3), dtype="uint8")) for _ in range(4)]
"""

SUITE = """
import pytest
from efficarch.reducers import REDUCERS

CASES = [(REDUCERS["none"], None), (REDUCERS["random"], 0.5)]


@pytest.mark.parametrize("batch", [2], ids="b{}".format)
@pytest.mark.parametrize(("reducer", "keep"), CASES, ids=str)
@pytest.mark.parametrize("model", ["tiny"])
def test_tiny(bench, images, model, reducer, keep, batch):
    result = bench(model=model, reducer=reducer(keep), inputs=images, batch=batch)

    assert result.latency <= result.budget.latency
    assert result.cossim >= result.budget.cossim
"""

BUDGETS = """
[[limit]]
cells = "tiny/tiny/none/*"
latency_ratio = 1.02
cossim = 0.99999
reason = "the model against itself"

[[limit]]
cells = "tiny/tiny/random/*"
latency_ratio = 0.85
cossim = 0.5
reason = "half the patches from block 2 on"
"""
