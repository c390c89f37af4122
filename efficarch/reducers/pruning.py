"""Pruning: what all rules share that keep some patches and drop the rest.

A rule says only which patches stay (`Pruner.reduce`); where, how often and how it is hooked stands
here. In an encoder patches are dropped inside: after the blocks named in ``after``. In a
vision-language model they are dropped once, between the vision tower and the language model.

# B batch, S prefix tokens (CLS, or none), P patches, K kept patches, C channels, H heads
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from efficarch.errors import EfficarchError
from efficarch.models.vision_language import is_vision_language
from efficarch.models.vit import Block, blocks_of, patch_convolution
from efficarch.reducers.base import Reducer, check_keep, kept_patches, replaced_forward, take_rows
from efficarch.reducers.visual_tokens import MergedTokens, pruned_visual_tokens

STAGES = ((0,), (1,), (2,), (3,), (5,), (1, 4), (0, 3, 6), (1, 4, 7), (3, 6, 9))
"""Blocks after which a search over schedules may prune: early, late, once or in stages."""


@dataclass(frozen=True)
class Patches:
    """What a rule may look at: patches in raster order unless some were dropped before.

    ``queries`` and ``keys`` are those of the block, all heads side by side, and hold the prefix
    tokens too.
    """

    states: Tensor  # [B, P, C]
    queries: Tensor  # [B, S + P, C]
    keys: Tensor  # [B, S + P, C]
    heads: int
    prefix: int
    grid: tuple[int, int] | None = None
    """Rows and columns of the whole image's patches, for a rule that wants them."""
    taken: list[Tensor] = field(default_factory=list, repr=False)
    """What `take` was asked for so far."""

    @property
    def patch_keys(self) -> Tensor:  # [B, P, C]
        """Keys of the patches alone."""
        return self.keys[:, self.prefix :]

    @property
    def patch_queries(self) -> Tensor:  # [B, P, C]
        """Queries of the patches alone."""
        return self.queries[:, self.prefix :]

    def attention(self) -> Tensor:  # [B, P]
        """Return the attention every patch receives, averaged over heads, in float32.

        From CLS where the model has one (one row of the map); else averaged over all patches.
        """
        asking = self.queries[:, : self.prefix] if self.prefix else self.queries
        query, key = self._split(asking), self._split(self.keys)
        weights = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(dim=-1)
        received: Tensor = weights.mean(dim=(1, 2))  # [B, S + P]
        return received[:, self.prefix :]

    def _split(self, x: Tensor) -> Tensor:  # [B, N, C] -> [B, H, N, C / H]
        split: Tensor = x.float().unflatten(-1, (self.heads, -1))
        return split.transpose(1, 2)

    def take(self, index: Tensor) -> Tensor:  # [B, K] -> [B, K, C]
        """Return the states of some patches, and note that these are the ones that stay."""
        self.taken.append(index)
        return take_rows(self.states, index[..., None])

    def kept(self, count: int) -> Tensor:  # [B, count]
        """Return which patches a rule took, ascending.

        Raises:
            EfficarchError: these are not ``count`` patches of each image.
        """
        index = torch.cat(self.taken, dim=1).sort(dim=1).values if self.taken else torch.empty(0, 0)
        if index.shape[1] != count:
            raise EfficarchError(
                f"the rule kept {count} patches but took {index.shape[1]}; a rule must take every "
                "patch that stays, and no other, through Patches.take"
            )
        return index


@dataclass(frozen=True)
class Pruner(Reducer):
    """Keep some patches, once or in stages.

    Attributes:
        keep: fraction of the patches left at the end, in (0, 1].
        after: the blocks, counted from 0, whose queries and keys decide and after which patches are
            dropped; with several, each stage keeps the same fraction of the one before. Without
            meaning in a vision-language model.
    """

    keep: float
    after: tuple[int, ...] = (1,)

    before_mlp: ClassVar[bool] = False
    """Whether patches are dropped between attention and MLP of the block instead of after it."""

    wants_grid: ClassVar[bool] = False
    """Whether the rule has to know the image's rows and columns of patches."""

    def __post_init__(self) -> None:
        check_keep(self.keep)
        if not self.after or any(a >= b for a, b in pairwise(self.after)):
            raise EfficarchError(
                f"after is {self.after}; name at least one block, in ascending order, such as (1,)"
            )

    @abstractmethod
    def reduce(self, patches: Patches, count: int) -> Tensor:  # -> [B, count, C]
        """Return the states that stay: ``count`` for each image, in the order of the image.

        A rule gets them through `Patches.take`, and may change them afterwards.
        """

    @contextmanager
    def attach(self, model: nn.Module) -> Iterator[None]:
        """Drop patches within the context; nothing is hooked at keep 1."""
        if self.keep == 1:
            yield
            return
        if is_vision_language(model):
            with pruned_visual_tokens(model, self._choose):
                yield
            return
        blocks = blocks_of(model)
        check_stages(self.after, len(blocks))
        seen = _Seen()
        with ExitStack() as stack:
            if self.wants_grid:
                handle = patch_convolution(model).register_forward_hook(seen.record_grid)
                stack.callback(handle.remove)
            for stage, index in enumerate(self.after):
                stack.enter_context(self._attach_stage(blocks[index], stage, seen))
            yield

    def _choose(self, tokens: MergedTokens) -> tuple[Tensor, Tensor]:
        patches = Patches(
            states=tokens.states,
            queries=tokens.queries,
            keys=tokens.keys,
            heads=tokens.heads,
            prefix=0,
            grid=tokens.grid,
        )
        count = kept_patches(self.keep, tokens.states.shape[1])
        left = self.reduce(patches, count)
        return patches.kept(count), left

    @contextmanager
    def _attach_stage(self, block: Block, stage: int, seen: "_Seen") -> Iterator[None]:
        def start(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            seen.clear()
            if stage == 0:
                seen.patches = args[0].shape[1] - block.prefix

        def drop(x: Tensor) -> Tensor:
            patches = Patches(
                states=x[:, block.prefix :],
                queries=seen.projected["query"],
                keys=seen.projected["key"],
                heads=block.heads,
                prefix=block.prefix,
                grid=seen.grid,
            )
            fraction = self.keep ** ((stage + 1) / len(self.after))
            left = self.reduce(patches, kept_patches(fraction, seen.patches))
            return torch.cat([x[:, : block.prefix], left], dim=1)

        with ExitStack() as stack:
            stack.callback(block.module.register_forward_pre_hook(start).remove)
            stack.callback(block.query.register_forward_hook(seen.recorder("query")).remove)
            stack.callback(block.key.register_forward_hook(seen.recorder("key")).remove)
            stack.enter_context(_dropping(block, drop, before_mlp=self.before_mlp))
            yield


@dataclass
class _Seen:
    """What one forward pass has shown so far."""

    patches: int = 0
    grid: tuple[int, int] | None = None
    projected: dict[str, Tensor] = field(default_factory=dict)

    def clear(self) -> None:
        # a pass that raised between the projections and the drop leaves them behind
        self.projected.clear()

    def record_grid(self, _module: nn.Module, _args: object, cut: Tensor) -> None:
        self.grid = (cut.shape[-2], cut.shape[-1])  # of [B, C, rows, columns]

    def recorder(self, name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def record(_module: nn.Module, _args: object, projected: Tensor) -> None:
            self.projected[name] = projected

        return record


def _dropping(
    block: Block, drop: Callable[[Tensor], Tensor], *, before_mlp: bool
) -> AbstractContextManager[None]:
    def between(x: Tensor, attention_mask: Tensor | None = None, **_ignored: object) -> Tensor:
        return block.feed_forward(drop(block.attend(x, attention_mask)))

    def after(_module: nn.Module, _args: object, x: Tensor) -> Tensor:
        return drop(x)

    return replaced_forward(block.module, between) if before_mlp else _hooked(block.module, after)


@contextmanager
def _hooked(
    module: nn.Module, hook: Callable[[nn.Module, object, Tensor], Tensor]
) -> Iterator[None]:
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def check_stages(after: tuple[int, ...], depth: int) -> None:
    """Refuse a stage without a later block that would be spared any work.

    Raises:
        EfficarchError: names the stage, the model's depth, the range and stages that would do.
    """
    last = depth - 2
    if last < 0:
        raise EfficarchError(
            f"the model has {depth} block and none after it to spare; prune one of 2 blocks or more"
        )
    for index in after:
        if not 0 <= index <= last:
            fitting = tuple(sorted({min(max(stage, 0), last) for stage in after}))
            raise EfficarchError(
                f"after is {index}; with {depth} blocks it must lie in 0 to {last}: "
                f"use after={fitting}"
            )
