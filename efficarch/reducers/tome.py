"""Token merging (ToMe, Bolya et al., ICLR 2023, arXiv 2210.09461, sections 3 and 3.1).

In every block, between attention and MLP, the tokens are split alternately into sets A and B; each
token of A proposes its most similar token of B, by the cosine of head-averaged keys; the r
strongest proposals are carried out by size-weighted averaging. Attention is proportional: log(size)
is added to the logits of merged keys. CLS, where there is one,
stands in A and never proposes. Written from the
formulas.

Deviation: ``keep`` names the patches left at the end instead of r per block, so that the same word
means the same for every method; `merge_schedule` turns it into the r of each block.

# B batch, N tokens (CLS first), A and M the sizes of set A and set B, R merged pairs, C channels
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import ceil
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from efficarch.errors import EfficarchError
from efficarch.models.vit import Block, blocks_of
from efficarch.reducers.base import Reducer, check_keep, kept_patches, replaced_forward, take_rows


@dataclass(frozen=True)
class ToMe(Reducer):
    """Merge the most similar tokens step by step.

    Attributes:
        keep: fraction of the patches left after the last block, in (0, 1].
        schedule: ``constant`` merges the same number in every block, ``decreasing`` falls linearly
            to zero at the last block (the paper's faster variant).
        proportional: add log(size) to the attention logits of merged tokens.
    """

    keep: float
    schedule: Literal["constant", "decreasing"] = "decreasing"
    proportional: bool = True

    def __post_init__(self) -> None:
        check_keep(self.keep)
        if self.schedule not in ("constant", "decreasing"):
            raise EfficarchError(
                f"schedule is {self.schedule!r}; choose 'constant' or 'decreasing'"
            )

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

    method: ToMe
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
            x, self.state.size = merge(
                x, self._metric(self.state.keys), self.state.size, r, prefix=self.block.prefix
            )
        self.state.keys = None
        return self.block.feed_forward(x)

    def _metric(self, keys: Tensor) -> Tensor:  # [B, N, C] -> [B, N, C / heads]
        split: Tensor = keys.unflatten(-1, (self.block.heads, -1))
        return split.mean(dim=2)


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
    weights = [1.0 if kind == "constant" else float(depth - index) for index in range(depth)]
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


def merge(
    x: Tensor, metric: Tensor, size: Tensor | None, r: int, *, prefix: int = 1
) -> tuple[Tensor, Tensor]:  # [B, N, C], [B, N, D], [B, N, 1] -> [B, N - r, C], [B, N - r, 1]
    """Carry out the r strongest proposals of set A to set B by size-weighted averaging.

    Tokens before the patches (``prefix``, at most 1) stay first; the unmerged rest of A follows in
    its order, then B. Returns the tokens and their sizes. Ties keep what ``torch.argsort`` (stable)
    puts first.
    """
    if size is None:
        size = torch.ones_like(x[..., :1])
    stay, go, target = match(metric, r, prefix)
    set_a, set_b = x[:, ::2], x[:, 1::2]  # [B, A, C], [B, M, C]
    size_a, size_b = size[:, ::2], size[:, 1::2]
    weight = take_rows(size_a, go)  # [B, R, 1]
    arriving = take_rows(set_a, go) * weight  # [B, R, C]
    merged_size = size_b.scatter_add(1, target, weight)
    summed = (set_b * size_b).scatter_add(1, target.expand_as(arriving), arriving)
    kept = take_rows(set_a, stay)  # [B, A - R, C]
    kept_size = take_rows(size_a, stay)
    tokens = torch.cat([kept, summed / merged_size], dim=1)
    return tokens, torch.cat([kept_size, merged_size], dim=1)


def match(metric: Tensor, r: int, prefix: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Choose the r merges: indices [B, *, 1] of A that stay, of A that go, and of B they go to."""
    unit = functional.normalize(metric.float(), dim=-1)
    similarity = unit[:, ::2] @ unit[:, 1::2].transpose(1, 2)  # [B, A, M]
    best, partner = similarity.max(dim=-1)  # [B, A]
    best[:, :prefix] = -torch.inf  # CLS never proposes
    order = best.argsort(dim=-1, descending=True, stable=True)  # [B, A]
    go = order[:, :r, None]
    stay = order[:, r:].sort(dim=-1).values[..., None]
    return stay, go, take_rows(partner[..., None], go)
