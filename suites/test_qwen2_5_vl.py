"""Qwen2.5-VL, whole model, on packaged photos: token reduction against the dense model.

The reduced model has random weights and stands for latency, memory and FLOPs alone. The released 3B
model is measured on CUDA only: on a CPU, one of its prompts takes minutes.
"""

import pytest
from PIL.Image import Image

from efficarch.contests.language import Stage
from efficarch.fixture import Bench
from efficarch.reducers import REDUCERS, Method

PX = {"qwen2.5-vl-reduced": 224, "qwen2.5-vl-3b": 896}
PROMPTS = (
    "Describe the image.",
    "What is in the foreground, and what behind it?",
    "Which colours are in it?",
    "Read the text, if there is any.",
)
METHODS = (
    "none",
    "random",
    "divprune",
    "tower-block",
    "llm-random",
    "fastv",
    "pyramid-drop",
)
JOINED = "tower-block+random+fastv"

MODELS = [
    pytest.param("qwen2.5-vl-reduced", id="qwen2.5-vl-reduced"),
    pytest.param("qwen2.5-vl-3b", id="qwen2.5-vl-3b", marks=pytest.mark.cuda),
]
CASES = [
    (REDUCERS[name], 0.5 if REDUCERS[name].takes_keep else None) for name in (*METHODS, JOINED)
]


@pytest.mark.parametrize("stage", ["prefill", "decode"])
@pytest.mark.parametrize(("reducer", "keep"), CASES, ids=str)
@pytest.mark.parametrize("model", MODELS)
def test_vision_language_model(
    bench: Bench,
    photos: list[Image],
    model: str,
    reducer: Method,
    keep: float | None,
    stage: Stage,
) -> None:
    """The final hidden state stays close to the dense one at the promised cost."""
    # evenly over what there is; the last packaged photo is of text
    last = len(PROMPTS) - 1
    chosen = [photos[index * (len(photos) - 1) // last] for index in range(len(PROMPTS))]
    inputs = list(zip(chosen, PROMPTS, strict=True))
    result = bench.generate(
        model=model, reducer=reducer(keep), inputs=inputs, px=PX[model], stage=stage
    )

    assert result.latency <= result.budget.latency
    assert result.cossim >= result.budget.cossim
