"""What a token-reduction method is, and the hook plumbing all of them share.

A method is a frozen dataclass whose fields are its hyper-parameters. ``with method.attach(model):``
reduces tokens inside the context and leaves no trace on the model after it.

# B batch, N tokens, S prefix tokens (CLS, or none), P patches (N - S), K kept patches, C channels
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from efficarch.errors import EfficarchError

Forward = Callable[..., Tensor]


SITES = ("input", "tower", "patches", "tail", "llm")
"""Where a method works, in the order a forward pass meets them: the pixels; inside a language
model's vision tower; the patches (inside an encoder, or between a tower and its language model);
the last block of an encoder; inside the language model."""


class Reducer(ABC):
    """A training-free token-reduction method."""

    site: ClassVar[str | None] = "patches"
    """One of ``SITES``; ``None`` for a method that reduces nothing."""

    choices: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    """Values of each hyper-parameter, ``keep`` aside, that a search over schedules may try."""

    @abstractmethod
    def attach(self, model: nn.Module) -> AbstractContextManager[None]:
        """Reduce tokens of ``model`` within the context.

        Raises:
            EfficarchError: the model or its depth does not suit the method.
        """

    def __or__(self, other: "Reducer") -> "Composite":
        return Composite((*parts(self), *parts(other)))


def parts(reducer: Reducer) -> tuple[Reducer, ...]:
    """Return the methods a reducer applies, in order."""
    return reducer.methods if isinstance(reducer, Composite) else (reducer,)


@dataclass(frozen=True)
class Composite(Reducer):
    """Several methods applied together, at one site each: ``tome | exact_tail``.

    Raises:
        EfficarchError: two methods work at one site, or not in the order of ``SITES``.
    """

    methods: tuple[Reducer, ...]
    site: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        placed = [(method, method.site) for method in self.methods if method.site is not None]
        for (former, before), (latter, after) in pairwise(placed):
            if SITES.index(before) >= SITES.index(after):
                raise EfficarchError(
                    f"{type(former).__name__} ({before}) cannot be followed by "
                    f"{type(latter).__name__} ({after}); join methods of different sites, in the "
                    f"order {', '.join(SITES)}"
                )

    @contextmanager
    def attach(self, model: nn.Module) -> Iterator[None]:
        """Attach every method, the first one first."""
        with ExitStack() as stack:
            for method in self.methods:
                stack.enter_context(method.attach(model))
            yield


@dataclass(frozen=True)
class Dense(Reducer):
    """No reduction: the control every ratio is taken against."""

    site: ClassVar[str | None] = None

    @contextmanager
    def attach(self, model: nn.Module) -> Iterator[None]:
        """Leave the model as it is."""
        yield


def check_keep(keep: float) -> None:
    """Refuse a keep ratio outside (0, 1].

    Raises:
        EfficarchError: names the value.
    """
    if not 0 < keep <= 1:
        raise EfficarchError(f"keep is {keep}; it must lie in (0, 1], for instance 0.5")


def kept_patches(keep: float, patches: int) -> int:
    """Return how many of the patches stay: keep * patches, rounded up, at least one."""
    # 0.7 * 10 is 7.000000000000001 in floating point and must stay 7
    return max(1, ceil(keep * patches - 1e-9))


def top_patches(score: Tensor, count: int) -> Tensor:  # [B, P] -> [B, K]
    """Return the indices of the highest scores, in ascending order of index."""
    return score.topk(count, dim=-1).indices.sort(dim=-1).values


def cosines(rows: Tensor) -> Tensor:  # [B, N, C] -> [B, N, N]
    """Return the cosine similarity of every pair of rows, in float32."""
    unit = functional.normalize(rows.float(), dim=-1)
    similarity: Tensor = unit @ unit.transpose(1, 2)
    return similarity


def take_rows(x: Tensor, index: Tensor) -> Tensor:  # [B, P, C], [B, K, 1] -> [B, K, C]
    """Pick rows by index, as ``take_along_dim`` would.

    On the CPU, whole rows of a flat table are copied several times faster than gathered elements.
    """
    batch, rows, channels = x.shape
    first = torch.arange(0, batch * rows, rows, device=x.device)[:, None, None]
    picked = x.reshape(batch * rows, channels).index_select(0, (index + first).flatten())
    return picked.view(batch, -1, channels)


def head_mean(projected: Tensor, heads: int) -> Tensor:  # [B, N, C] -> [B, N, C / heads]
    """Return keys, queries or values averaged over the heads."""
    split: Tensor = projected.unflatten(-1, (heads, -1))
    return split.mean(dim=2)


@contextmanager
def replaced_forward(module: nn.Module, forward: Forward) -> Iterator[None]:
    """Give one module instance another ``forward`` within the context."""
    previous = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if previous is None:
            del module.forward
        else:
            module.forward = previous
