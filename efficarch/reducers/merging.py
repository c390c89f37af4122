"""Merging: what all rules share that average similar tokens instead of dropping some.

A rule says which tokens of a block are averaged (`Merger.merge`); how many in each block, what is
carried from block to block and how it is hooked stands here. Tokens merge in every block, between
attention and MLP (Token Merging, arXiv 2210.09461, section 3). Attention is proportional: log(size)
is added to the logits of merged keys.

# B batch, N tokens (CLS first, where there is one), R arrivals, M receivers, C channels, H heads
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from efficarch.errors import EfficarchError
from efficarch.models.vit import Block, blocks_of
from efficarch.reducers.base import Reducer, check_keep, head_mean, kept_patches, replaced_forward

SCHEDULES = ("constant", "parabolic", "decreasing")


@dataclass(frozen=True)
class Tokens:
    """What a rule may look at in one block."""

    states: Tensor  # [B, N, C]
    keys: Tensor  # [B, N, C], all heads side by side
    heads: int
    size: Tensor  # [B, N, 1], patches behind each token
    prefix: int
    depth: float
    """How far up the model: 0 in the first block, 1 - 1 / blocks in the last."""

    def mean_keys(self) -> Tensor:  # [B, N, C / H]
        """Return the keys averaged over heads."""
        return head_mean(self.keys, self.heads)


@dataclass(frozen=True)
class Merger(Reducer):
    """Merge tokens step by step.

    Attributes:
        keep: fraction of the patches left after the last block, in (0, 1].
        schedule: ``constant`` merges the same number in every block, ``decreasing`` falls linearly
            to zero at the last block (the faster variant of Token Merging), ``parabolic`` falls
            slowly at first: the share of block l of L is 1 - (l / L)^2.
        proportional: add log(size) to the attention logits of merged tokens.
    """

    keep: float
    schedule: Literal["constant", "parabolic", "decreasing"] = "decreasing"
    proportional: bool = True

    choices: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "schedule": SCHEDULES,
        "proportional": (True, False),
    }

    def __post_init__(self) -> None:
        check_keep(self.keep)
        if self.schedule not in SCHEDULES:
            raise EfficarchError(
                f"schedule is {self.schedule!r}; choose 'constant', 'parabolic' or 'decreasing'"
            )

    @abstractmethod
    def merge(self, tokens: Tokens, r: int) -> tuple[Tensor, Tensor]:
        """Return the states [B, N - r, C] and sizes [B, N - r, 1] after r merges, CLS first.

        r is at least 1 and at most half of the patches, rounded down.
        """

    @contextmanager
    def attach(self, model: nn.Module) -> Iterator[None]:
        """Merge in every block within the context; nothing is hooked at keep 1."""
        if self.keep == 1:
            yield
            return
        blocks = blocks_of(model)
        state = _State()
        with ExitStack() as stack:
            for index, block in enumerate(blocks):
                hook = _Inject(state, first=index == 0, proportional=self.proportional)
                stack.callback(
                    block.module.register_forward_pre_hook(hook, with_kwargs=True).remove
                )
                stack.callback(block.key.register_forward_hook(state.record_keys).remove)
                forward = _MergingForward(self, block, index, len(blocks), state)
                stack.enter_context(replaced_forward(block.module, forward))
            yield


@dataclass
class _State:
    """What one forward pass carries from block to block."""

    size: Tensor | None = None
    """Patches behind each token, [B, N, 1]; ``None`` until something merged."""
    keys: Tensor | None = None
    merges: list[int] = field(default_factory=list)

    def record_keys(self, _module: nn.Module, _args: object, keys: Tensor) -> None:
        self.keys = keys


@dataclass(frozen=True)
class _Inject:
    """Before each block: start afresh at the first, pass the size bias on to the others."""

    state: _State
    first: bool
    proportional: bool

    def __call__(
        self, _module: nn.Module, args: tuple[Tensor, ...], _kwargs: dict[str, object]
    ) -> tuple[tuple[Tensor, ...], dict[str, Tensor | None]]:
        if self.first:
            self.state.size = None
        size = self.state.size
        if size is None or not self.proportional:
            return args[:1], {"attention_mask": None}
        bias = size.log().to(args[0].dtype).transpose(1, 2)[:, None]  # [B, 1, 1, N]
        return args[:1], {"attention_mask": bias}


@dataclass(frozen=True)
class _MergingForward:
    """A block's forward with a merge between attention and MLP."""

    method: Merger
    block: Block
    index: int
    depth: int
    state: _State

    def __call__(self, x: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        if self.index == 0:
            patches = x.shape[1] - self.block.prefix
            total = patches - kept_patches(self.method.keep, patches)
            self.state.merges = merge_schedule(total, patches, self.depth, self.method.schedule)
        x = self.block.attend(x, attention_mask)
        r = self.state.merges[self.index]
        if r and self.state.keys is not None:
            size = torch.ones_like(x[..., :1]) if self.state.size is None else self.state.size
            tokens = Tokens(
                states=x,
                keys=self.state.keys,
                heads=self.block.heads,
                size=size,
                prefix=self.block.prefix,
                depth=self.index / self.depth,
            )
            x, self.state.size = self.method.merge(tokens, r)
        self.state.keys = None
        return self.block.feed_forward(x)


def merge_schedule(total: int, patches: int, depth: int, kind: str) -> list[int]:
    """Return how many tokens each block merges, summing to ``total`` exactly.

    A block can merge at most half of its patches (rounded down). Where the later blocks could not
    finish by halving, earlier ones take more than the schedule's share.

    Raises:
        EfficarchError: even halving in every block leaves more; names the smallest keep possible.
    """
    kept = patches - total
    if patches > kept * 2**depth:
        fewest = ceil(patches / 2**depth)
        raise EfficarchError(
            f"keep leaves {kept} of {patches} patches; {depth} blocks that halve reach {fewest} "
            f"at the fewest: use keep >= {ceil(1000 * fewest / patches) / 1000}"
        )
    power = {"constant": inf, "parabolic": 2.0, "decreasing": 1.0}[kind]
    weights = [1.0 - (index / depth) ** power for index in range(depth)]
    merges: list[int] = []
    left, wanted = patches, 0.0
    for index, weight in enumerate(weights):
        wanted += total * weight / sum(weights)
        # what the blocks after this one can still halve down to the number kept
        reachable = kept * 2 ** (depth - index - 1)
        share = max(round(wanted) - sum(merges), left - reachable, 0)
        merges.append(min(share, left // 2))
        left -= merges[-1]
    return merges


def absorb(
    receivers: Tensor, weights: Tensor, arrivals: Tensor, arriving: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:  # [B, M, C], [B, M, 1], [B, R, C], [B, R, 1], [B, R, 1]
    """Average arrivals into the receivers that ``target`` names.

    Returns the weighted means [B, M, C] and their summed weights [B, M, 1].
    """
    total = weights.scatter_add(1, target, arriving)
    weighted = arrivals * arriving  # [B, R, C]
    summed = (receivers * weights).scatter_add(1, target.expand_as(weighted), weighted)
    return summed / total, total
