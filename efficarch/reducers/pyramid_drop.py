"""PyramidDrop: drop visual tokens in stages along the language model (arXiv 2410.17247, section 3).

The layers form four equal groups; between two groups the visual tokens are ranked by the attention
that the last token would pay them in the first layer of the next group, from that layer's own
projections, and every time the same fraction stays. The paper's 0.5 per stage is ``keep`` 0.125.

Deviation: tokens keep the positions of the full prompt, where the published code renumbers them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from efficarch.reducers.base import top_patches
from efficarch.reducers.in_llm import LanguagePruner, LayerInput

GROUPS = 4


@dataclass(frozen=True)
class PyramidDrop(LanguagePruner):
    """Keep fewer visual tokens in each quarter of the layers."""

    def stages(self, depth: int) -> Mapping[int, float]:
        """Return one stage between every two groups."""
        drops = range(1, GROUPS)
        return {depth * drop // GROUPS: self.keep ** (drop / (GROUPS - 1)) for drop in drops}

    def choose(self, former: LayerInput, latter: LayerInput, columns: Tensor, count: int) -> Tensor:
        """Return the tokens of highest attention in the layer to come."""
        return top_patches(latter.last_query().gather(1, columns), count)
