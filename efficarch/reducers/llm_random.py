"""Random pruning inside the language model: the control that FastV and PyramidDrop have to beat.

Strong in practice: arXiv 2512.07580 finds that deep in the language model a random choice of visual
tokens does as well as a ranked one.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from efficarch.reducers.in_llm import LanguagePruner, LayerInput
from efficarch.reducers.random import random_subset


@dataclass(frozen=True)
class LanguageRandom(LanguagePruner):
    """Keep a seeded random subset of the visual tokens from one layer on.

    Attributes:
        layer: the first layer, counted from 0, without the dropped tokens.
        seed: of the subset.
    """

    layer: int = 2
    seed: int = 0

    def stages(self, depth: int) -> Mapping[int, float]:
        """Return the one stage."""
        return {self.layer: self.keep}

    def choose(self, former: LayerInput, latter: LayerInput, columns: Tensor, count: int) -> Tensor:
        """Return the tokens of the subset."""
        subset = random_subset(columns.shape[1], count, self.seed, columns.device)
        return subset.expand(len(columns), -1)
