"""FastV: drop visual tokens early in the language model (arXiv 2403.06764, section 4.1).

Before layer K, visual tokens are ranked by the attention the last token paid them in the layer
before, averaged over heads, and the rest is dropped once. The published code takes the map from
eager attention; here that one row is recomputed, so that SDPA can stay. As there, positions stay.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from efficarch.reducers.base import top_patches
from efficarch.reducers.in_llm import LanguagePruner, LayerInput


@dataclass(frozen=True)
class FastV(LanguagePruner):
    """Keep the visual tokens that the last token attends to in one early layer.

    Attributes:
        layer: the first layer, counted from 0, without the dropped tokens; K in the paper.
    """

    layer: int = 2

    choices: ClassVar[Mapping[str, tuple[Any, ...]]] = {"layer": (1, 2, 3, 4, 6)}

    def stages(self, depth: int) -> Mapping[int, float]:
        """Return the one stage."""
        return {self.layer: self.keep}

    def choose(self, former: LayerInput, latter: LayerInput, columns: Tensor, count: int) -> Tensor:
        """Return the tokens of highest attention in the layer before."""
        return top_patches(former.last_query().gather(1, columns), count)
