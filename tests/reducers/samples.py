"""The methods under test, by name, and what they leave behind on a model."""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from _pytest.mark.structures import ParameterSet
from torch import Tensor, nn

from efficarch.models.base import Subject
from efficarch.reducers import ENCODERS as ENCODER_MODELS
from efficarch.reducers import REDUCERS
from efficarch.reducers.base import Reducer, parts
from efficarch.reducers.pruning import Pruner
from tests.models.samples import DEPTH, FAMILIES, WITH_CLS, embedder, entering

METHODS = (
    *(row.name for row in REDUCERS if row.models[0] in ENCODER_MODELS),
    "tome+exact-tail",
    "downsample+evit+exact-tail",
)
"""Of encoders; those of language models have their own claims."""
REDUCING = tuple(name for name in METHODS if name != "none")
WITH_KEEP = tuple(name for name in METHODS if REDUCERS[name].takes_keep)
ONLY_KEEP = tuple(name for name in METHODS if all(part.takes_keep for part in REDUCERS[name].parts))
INEXACT = tuple(name for name in REDUCING if name != "exact-tail")
PRUNING = tuple(row.name for row in REDUCERS if isinstance(row(0.5), Pruner))
AVERAGING = ("visionzip",)
"""Pruning that averages some of the patches it keeps."""

ENCODERS = tuple((family, px) for family in FAMILIES for px in (56, 70))
"""Both sizes of each family: 16 and 25 patches, so that counts are odd and even, CLS or not."""


def suits(name: str, family: str) -> bool:
    """Whether a method can work on a family: exact-tail needs a CLS token."""
    return family in WITH_CLS or "exact-tail" not in name


def tokens_of(family: str, px: int) -> int:
    """Return how many tokens an encoder has, CLS included."""
    return (px // 14) ** 2 + (family in WITH_CLS)


def encoders(families: tuple[str, ...] = FAMILIES) -> list[ParameterSet]:
    """Return the tiny encoders of some families, for the `encoder` fixture."""
    return [
        pytest.param((family, px), id=f"{family}-{tokens_of(family, px)}tokens")
        for family, px in ENCODERS
        if family in families
    ]


def cases(names: tuple[str, ...]) -> list[ParameterSet]:
    """Return every tiny encoder with every one of these methods that suits it."""
    return [
        pytest.param((family, px), name, id=f"{family}-{tokens_of(family, px)}tokens-{name}")
        for family, px in ENCODERS
        for name in names
        if suits(name, family)
    ]


def every(*names: str) -> pytest.MarkDecorator:
    """Run a test that takes ``encoder`` and ``name`` on every encoder with each of the methods."""
    return pytest.mark.parametrize(("encoder", "name"), cases(names), indirect=["encoder"])


def build(name: str, keep: float = 0.5) -> Reducer:
    """Build a method of the table, its stages moved down where four blocks lack them.

    Every part of a composition keeps ``keep`` of what reaches it, so the whole its power.
    """
    sharing = sum(part.takes_keep for part in REDUCERS[name].parts)
    whole = keep**sharing if 0 < keep <= 1 and sharing else keep
    first, *others = (_fitted(part) for part in parts(REDUCERS[name](whole)))
    for other in others:
        first = first | other
    return first


def _fitted(reducer: Reducer) -> Reducer:
    if isinstance(reducer, Pruner) and reducer.after[-1] > DEPTH - 2:
        return replace(reducer, after=tuple(range(len(reducer.after))))
    return reducer


def reduced(subject: Subject, reducer: Reducer, pixels: Tensor) -> Tensor:
    """Return the embeddings under a method."""
    with reducer.attach(subject.model):
        return subject.embed(pixels)


def family_of(subject: Subject) -> str:
    """Return the family a tiny encoder belongs to."""
    return {
        "CLIPVisionModelWithProjection": "clip",
        "Dinov2Model": "dinov2",
        "SiglipVisionModel": "siglip",
        "ViTModel": "vit",
    }[type(subject.model).__name__]


def prefix_of(subject: Subject) -> int:
    """Return how many tokens stand before the patches: 1 with CLS, else 0."""
    return int(family_of(subject) in WITH_CLS)


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
    """Return which tokens of block 2 are left by a method that prunes after block 1, [B, S + K].

    Every surviving token is found among the dense ones by its values.
    """
    dense = entering(subject, 2, pixels)
    with reducer.attach(subject.model):
        left = entering(subject, 2, pixels)
    distance, index = torch.cdist(left, dense, compute_mode="donot_use_mm_for_euclid_dist").min(-1)
    assert distance.max() < 1e-4
    return index


# each by both of its names in transformers 5.x
KEY, QUERY = ("k_proj", "attention.key"), ("q_proj", "attention.query")


def projections(subject: Subject, ending: tuple[str, ...], pixels: Tensor) -> Tensor:
    """Return what block 1 of the dense model projects, found by the name of its layer."""
    seen: list[Tensor] = []

    def look(_module: nn.Module, _args: object, out: Tensor) -> None:
        seen.append(out)

    layers = [module for name, module in subject.model.named_modules() if name.endswith(ending)]
    handle = layers[1].register_forward_hook(look)
    subject.embed(pixels)
    handle.remove()
    return seen[0]


Row = list[float]


def received(queries: list[Row], keys: list[Row], heads: int, prefix: int) -> Row:
    """Return the attention each patch of one image receives, a head and a query at a time.

    From CLS where there is a prefix, else from every token; averaged over them and the heads.
    """
    width = len(keys[0]) // heads
    asking = queries[:prefix] if prefix else queries
    total = [0.0] * len(keys)
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        for query in asking:
            logits = [
                sum(q * k for q, k in zip(query[part], key[part], strict=True)) / math.sqrt(width)
                for key in keys
            ]
            weights = [math.exp(logit - max(logits)) for logit in logits]
            for index, weight in enumerate(weights):
                total[index] += weight / sum(weights) / len(asking) / heads
    return total[prefix:]


def cosine(a: Row, b: Row) -> float:
    """Return the cosine of the angle between two vectors."""
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def in_rows(
    merge_one: Callable[[list[Row], list[Row], Row], tuple[list[Row], Row]],
    x: Tensor,
    keys: Tensor,
    size: Tensor,
) -> tuple[Tensor, Tensor]:
    """Merge a batch image by image with a rule on plain lists."""
    images = [
        merge_one(*image)
        for image in zip(x.tolist(), keys.tolist(), size[..., 0].tolist(), strict=True)
    ]
    tokens = torch.tensor([tokens for tokens, _sizes in images], dtype=x.dtype)
    return tokens, torch.tensor([sizes for _tokens, sizes in images], dtype=x.dtype)[..., None]
