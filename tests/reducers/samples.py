"""The methods under test, by name, and what they leave behind on a model."""

from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn

from efficarch.models.base import Subject
from efficarch.reducers import ENCODERS, REDUCERS
from efficarch.reducers.base import Reducer
from tests.models.samples import embedder, entering

METHODS = (*(row.name for row in REDUCERS if row.models[0] in ENCODERS), "tome+exact-tail")
"""Of encoders; those of language models have their own claims."""
REDUCING = tuple(name for name in METHODS if name != "none")
WITH_KEEP = tuple(name for name in METHODS if REDUCERS[name].takes_keep)
ONLY_KEEP = tuple(name for name in METHODS if all(part.takes_keep for part in REDUCERS[name].parts))
PRUNING = ("random", "norm")


def build(name: str, keep: float = 0.5) -> Reducer:
    """Build a method of the table; ``keep`` where it takes one."""
    return REDUCERS[name](keep)


def reduced(subject: Subject, reducer: Reducer, pixels: Tensor) -> Tensor:
    """Return the embeddings under a method."""
    with reducer.attach(subject.model):
        return subject.embed(pixels)


def family_of(subject: Subject) -> str:
    """Return the family a tiny encoder belongs to."""
    return "clip" if "CLIP" in type(subject.model).__name__ else "dinov2"


def copied(subject: Subject, dtype: torch.dtype = torch.float32) -> Subject:
    """Return a copy of the encoder that a test may change."""
    model = deepcopy(subject.model).to(dtype)
    return replace(subject, model=model, embed=embedder(family_of(subject), model))


def traces(model: nn.Module) -> dict[str, dict[str, object]]:
    """Return every attribute of every module by identity; dictionaries, hooks among them, by item.

    Two equal answers mean that nothing was added, taken away or exchanged in between.
    """
    return {
        name: {
            key: {k: id(v) for k, v in value.items()} if isinstance(value, dict) else id(value)
            for key, value in vars(module).items()
        }
        for name, module in model.named_modules()
    }


def kept_indices(subject: Subject, reducer: Reducer, pixels: Tensor) -> Tensor:
    """Return which tokens of block 2 are left by a method that prunes after block 1, [B, 1 + K].

    Every surviving token is found among the dense ones by its values.
    """
    dense = entering(subject, 2, pixels)
    with reducer.attach(subject.model):
        left = entering(subject, 2, pixels)
    distance, index = torch.cdist(left, dense, compute_mode="donot_use_mm_for_euclid_dist").min(-1)
    assert distance.max() < 1e-4
    return index
