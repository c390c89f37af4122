"""PiToMe: merge where tokens are redundant, protect those that stand alone.

Tran et al., NeurIPS 2024, arXiv 2405.16148, section 3. The energy of a token is its mean similarity
to all others, with what lies below a margin counted by a falling exponential; the 2 r tokens of
highest energy are split alternately, in the order of energy, into sets A and B; each of A is
averaged into its most similar one of B. The rest is protected, CLS always. Written from the
formulas.

Deviations: ``keep`` and a schedule name the tokens left, as for `ToMe`; the margin and the energy
take head-averaged keys in every model; merging stands between attention and MLP in CLIP too.

# B batch, N tokens (CLS first), P patches, R merged pairs, C channels, D channels per head
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from efficarch.reducers.base import cosines, take_rows
from efficarch.reducers.merging import Merger, Tokens, absorb


@dataclass(frozen=True)
class PiToMe(Merger):
    """Merge the tokens of highest energy step by step.

    Attributes:
        weighted: average by the patches behind each token; otherwise every token counts once.
    """

    weighted: bool = True

    choices: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        **Merger.choices,
        "weighted": (True, False),
    }

    def merge(self, tokens: Tokens, r: int) -> tuple[Tensor, Tensor]:
        """Average r tokens into r others; protected tokens come first, in their order."""
        margin = 0.9 * (1 - tokens.depth)
        stay, go, into, target = pair_up(tokens.mean_keys(), r, margin, tokens.prefix)
        states, size = tokens.states, tokens.size
        weight = size if self.weighted else torch.ones_like(size)
        merged, _ = absorb(
            take_rows(states, into),
            take_rows(weight, into),
            take_rows(states, go),
            take_rows(weight, go),
            target,
        )
        merged_size = take_rows(size, into).scatter_add(1, target, take_rows(size, go))
        left = torch.cat([take_rows(states, stay), merged], dim=1)
        return left, torch.cat([take_rows(size, stay), merged_size], dim=1)


def pair_up(
    keys: Tensor, r: int, margin: float, prefix: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # [B, N, D] -> [B, N - 2 R, 1] and three [B, R, 1]
    """Choose the merges: tokens that stay, that go, that take in, and where among these each goes.

    Ties of energy keep what ``torch.argsort`` (stable) puts first.
    """
    similarity = cosines(keys)  # [B, N, N]
    between = similarity[:, prefix:, prefix:]  # [B, P, P]
    order = energies(between, margin).argsort(dim=-1, descending=True, stable=True) + prefix
    go, into = order[:, : 2 * r : 2], order[:, 1 : 2 * r : 2]  # [B, R]
    protected = order[:, 2 * r :].sort(dim=-1).values
    cls = torch.arange(prefix, device=keys.device).expand(len(keys), -1)
    candidates = take_rows(similarity, go[..., None])  # [B, R, N]
    candidates = candidates.gather(2, into[:, None].expand(-1, r, -1))  # [B, R, R]
    target = candidates.argmax(dim=-1)
    stay = torch.cat([cls, protected], dim=1)
    return stay[..., None], go[..., None], into[..., None], target[..., None]


def energies(similarity: Tensor, margin: float) -> Tensor:  # [B, P, P] -> [B, P]
    """Return the mean of ELU(similarity - margin) over all patches.

    That a patch is compared with itself too adds the same to every energy.
    """
    return functional.elu(similarity - margin).mean(dim=-1)
