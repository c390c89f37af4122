"""Token merging (ToMe, Bolya et al., ICLR 2023, arXiv 2210.09461, sections 3 and 3.1).

The tokens are split alternately into sets A and B; each token of A proposes its most similar token
of B, by the cosine of head-averaged keys; the r strongest proposals are carried out by
size-weighted averaging. CLS, where there is one, stands in A and never proposes. Written from the
formulas.

Deviation: ``keep`` names the patches left at the end instead of r per block, so that the same word
means the same for every method; `merge_schedule` turns it into the r of each block.

# B batch, N tokens (CLS first), A and M the sizes of set A and set B, R merged pairs, C channels
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from efficarch.reducers.base import take_rows
from efficarch.reducers.merging import Merger, Tokens, absorb


@dataclass(frozen=True)
class ToMe(Merger):
    """Merge the most similar tokens of two alternating halves step by step."""

    def merge(self, tokens: Tokens, r: int) -> tuple[Tensor, Tensor]:
        """Carry out the r strongest proposals of set A to set B by size-weighted averaging.

        CLS stays first; the unmerged rest of A follows in its order, then B. Ties keep what
        ``torch.argsort`` (stable) puts first.
        """
        stay, go, target = match(tokens.mean_keys(), r, tokens.prefix)
        set_a, set_b = tokens.states[:, ::2], tokens.states[:, 1::2]  # [B, A, C], [B, M, C]
        size_a, size_b = tokens.size[:, ::2], tokens.size[:, 1::2]
        merged, merged_size = absorb(
            set_b, size_b, take_rows(set_a, go), take_rows(size_a, go), target
        )
        states = torch.cat([take_rows(set_a, stay), merged], dim=1)
        return states, torch.cat([take_rows(size_a, stay), merged_size], dim=1)


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
