"""Reciprocal merging: in every block, pairs of tokens that are each other's nearest are averaged.

This project's own method, from two known parts. Token Merging (arXiv 2210.09461) compares every
second token with the others only, so half of all pairs can never merge, and several tokens may fall
into one. Agglomerative clustering on all pairs (for tokens: arXiv 2409.11923) has neither limit but
merges one pair after the other. Reciprocal nearest neighbours, the device of fast agglomerative
clustering (Murtagh, The Computer Journal 26(4), 1983), allow many of its steps at once:

If i and j are nearest to each other, no other pair that contains i or j is more similar, so the
greedy matching, which takes the most similar pair of unmatched tokens again and again, contains
them. Taking all such pairs, and then those among the tokens left over, gives the greedy matching
from the top; ``rounds`` limits how often, since later pairs are the less similar ones. The r most
similar pairs found are averaged, weighted by the patches behind each token. Similarity is the
cosine of the keys of all heads side by side.

Deviation from greedy matching: where ``rounds`` find fewer than r pairs, tokens left over are
paired in their order, which mostly makes neighbours of them; r is the same for a whole batch.

# B batch, N tokens (CLS first), P patches, R merged pairs, C channels
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from efficarch.errors import EfficarchError
from efficarch.reducers.base import take_rows
from efficarch.reducers.merging import Merger, Tokens


@dataclass(frozen=True)
class Reciprocal(Merger):
    """Merge the most similar pairs of reciprocal nearest neighbours step by step.

    Attributes:
        rounds: how often reciprocal neighbours are looked for among the tokens left over.
        keys: ``all`` heads side by side, or their ``mean`` as in Token Merging.
    """

    schedule: Literal["constant", "parabolic", "decreasing"] = "parabolic"
    rounds: int = 2
    keys: Literal["all", "mean"] = "all"

    choices: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "schedule": Merger.choices["schedule"],
        "rounds": (1, 2),
        "keys": ("all", "mean"),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rounds < 1:
            raise EfficarchError(f"rounds is {self.rounds}; it must be at least 1")
        if self.keys not in ("all", "mean"):
            raise EfficarchError(f"keys is {self.keys!r}; choose 'all' or 'mean'")

    def merge(self, tokens: Tokens, r: int) -> tuple[Tensor, Tensor]:
        """Average r tokens into one earlier token each; the order of the others stays."""
        keys = tokens.keys if self.keys == "all" else tokens.mean_keys()
        go, into = match(keys, r, tokens.prefix, self.rounds)
        weight, other = take_rows(tokens.size, go), take_rows(tokens.size, into)  # [B, R, 1]
        share = weight / (weight + other)
        mean = take_rows(tokens.states, into).lerp(take_rows(tokens.states, go), share)
        states = tokens.states.scatter(1, into.expand_as(mean), mean)
        size = tokens.size.scatter(1, into, weight + other)
        stay = without(go, states.shape[1])
        return take_rows(states, stay), take_rows(size, stay)


def match(
    keys: Tensor, r: int, prefix: int, rounds: int
) -> tuple[Tensor, Tensor]:  # [B, N, D] -> [B, R, 1], [B, R, 1]
    """Choose the r pairs: tokens that go, and the earlier tokens they go into; no token twice."""
    product = _products(keys)  # [B, N, N]
    # a row's cosines are its products over the others' lengths; its own length changes no rank
    length = product.diagonal(dim1=1, dim2=2).clone().clamp_(min=1e-12).sqrt_()  # [B, N]
    product.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
    batch, tokens = length.shape
    position = torch.arange(tokens, device=keys.device).expand(batch, -1)
    free = position >= prefix  # [B, N]
    into, score = position, torch.full_like(length, -torch.inf)  # [B, N]
    for _ in range(rounds):
        closed = torch.zeros_like(length).masked_fill_(~free, -torch.inf)
        best, nearest = torch.addcmul(closed[:, None], product, length.reciprocal()[:, None]).max(
            dim=-1
        )  # [B, N]
        mutual = free & (nearest.gather(1, nearest) == position) & (best > -torch.inf)
        leaves = mutual & (nearest < position)
        into = torch.where(leaves, nearest, into)
        score = torch.where(leaves, best / length, score)
        free = free & ~mutual
    leaves, before = _neighbours(free, position)
    # below any cosine, so that these come last, the first of them first
    late = -2.0 - position / tokens
    into, score = torch.where(leaves, before, into), torch.where(leaves, late, score)
    go = score.topk(r, dim=-1).indices[..., None]
    return go, take_rows(into[..., None], go)


def _products(keys: Tensor) -> Tensor:  # [B, N, D] -> [B, N, N]
    """Return the scalar products of all pairs, in float32."""
    wide = keys.float()
    return wide @ wide.transpose(1, 2)


def _neighbours(free: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:  # [B, N], [B, N]
    """Pair the free tokens in their order: which of them leave, and the free token before each."""
    leaves = free & (free.cumsum(dim=-1) % 2 == 0)
    last = torch.where(free, position, -1).cummax(dim=-1).values  # [B, N]
    return leaves, functional.pad(last[:, :-1], (1, 0)).clamp(min=0)


def without(go: Tensor, tokens: int) -> Tensor:  # [B, R, 1] -> [B, N - R, 1]
    """Return the indices of all other tokens, ascending."""
    gone = torch.zeros(len(go), tokens, 1, dtype=torch.int8, device=go.device)
    gone = gone.scatter_(1, go, 1)
    # zeros sort first, and a stable sort keeps them in their order
    return gone.argsort(dim=1, stable=True)[:, : tokens - go.shape[1]]
