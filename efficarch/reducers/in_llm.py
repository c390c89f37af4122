"""Pruning inside a language model: what all rules share that drop visual tokens between layers.

A rule says before which layers tokens are dropped (`LanguagePruner.stages`) and which stay
(`LanguagePruner.choose`). Only a prompt is pruned; decode steps find shorter caches in the later
layers. Text tokens always stay, and every token keeps its position.

# B prompts, N tokens entering a layer, P visual tokens among them, K kept ones, C channels,
# H heads, D channels per head
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from efficarch.errors import EfficarchError
from efficarch.models.vision_language import VisionLanguage, check_attention, parts_of, rotated
from efficarch.reducers.base import Reducer, check_keep, kept_patches, take_rows
from efficarch.reducers.visual_prompt import Hooked, VisualPrompt, visual_prompt

Rotary = tuple[Tensor, Tensor]
"""Cosines and sines of the tokens' positions, [B, N, D] each."""


@dataclass(frozen=True)
class LayerInput:
    """What a layer gets: the layer, its tokens and their rotary embedding."""

    layer: nn.Module
    states: Tensor  # [B, N, C]
    rotary: Rotary

    def last_query(self) -> Tensor:  # [B, N]
        """Return the attention the last token pays in this layer, averaged over heads.

        One row of the map, recomputed from the layer's own projections, so that any attention
        implementation can do the rest.
        """
        attention: Any = self.layer.get_submodule("self_attn")
        normed = self.layer.get_submodule("input_layernorm")(self.states)
        cos, sin = (part[:, :, None] for part in self.rotary)  # [B, N, 1, D]
        width = (-1, attention.head_dim)
        query = attention.q_proj(normed[:, -1:]).unflatten(-1, width)  # [B, 1, H, D]
        key = attention.k_proj(normed).unflatten(-1, width)  # [B, N, H / G, D]
        query, key = rotated(query, cos[:, -1:], sin[:, -1:]), rotated(key, cos, sin)
        # G query heads ask one key head
        grouped = query.squeeze(1).unflatten(1, (key.shape[2], -1))  # [B, H / G, G, D]
        logits = grouped @ key.permute(0, 2, 3, 1) * attention.scaling  # [B, H / G, G, N]
        row: Tensor = logits.softmax(dim=-1).mean(dim=(1, 2))
        return row


@dataclass(frozen=True)
class LanguagePruner(Reducer):
    """Keep some visual tokens from some layer on.

    Attributes:
        keep: fraction of the visual tokens that reach the last layer, in (0, 1].
    """

    keep: float

    site: ClassVar[str | None] = "llm"

    def __post_init__(self) -> None:
        check_keep(self.keep)

    @abstractmethod
    def stages(self, depth: int) -> Mapping[int, float]:
        """Return the layers before which tokens are dropped and the fraction left from there on."""

    @abstractmethod
    def choose(
        self, former: LayerInput, latter: LayerInput, columns: Tensor, count: int
    ) -> Tensor:  # [B, P] -> [B, count]
        """Return which of the visual tokens in ``columns`` stay, ascending.

        ``former`` is the layer before the drop, ``latter`` the one after it.
        """

    @contextmanager
    def attach(self, model: nn.Module) -> Iterator[None]:
        """Drop visual tokens within the context; nothing is hooked at keep 1.

        Raises:
            EfficarchError: the model has no visual tokens, too few layers, or an attention that
                cannot follow.
        """
        if self.keep == 1:
            yield
            return
        parts = parts_of(model)
        stages = self._checked_stages(parts)
        with visual_prompt(model) as prompt, ExitStack() as stack:
            passing = _Pass(self, stages, prompt)
            for index, layer in enumerate(parts.layers):
                if index >= min(stages) - 1:
                    hook = passing.before(index)
                    stack.callback(layer.register_forward_pre_hook(hook, with_kwargs=True).remove)
            yield

    def _checked_stages(self, parts: VisionLanguage) -> Mapping[int, float]:
        name, text = type(self).__name__, parts.config.text_config
        check_attention(text, name)
        if text.sliding_window is not None:
            raise EfficarchError(
                f"{name} needs attention over the whole prompt, and this model slides a window of "
                f"{text.sliding_window}; drop tokens after the merger instead"
            )
        stages, depth = self.stages(len(parts.layers)), len(parts.layers)
        for layer in stages:
            if not 1 <= layer <= depth - 1:
                raise EfficarchError(
                    f"{name} drops tokens before layer {layer}; with {depth} layers it must lie in "
                    f"1 to {depth - 1}"
                )
        return stages


class _Pass:
    """One forward pass through the layers."""

    def __init__(
        self, rule: LanguagePruner, stages: Mapping[int, float], prompt: VisualPrompt
    ) -> None:
        self._rule = rule
        self._stages = stages
        self._prompt = prompt
        self._entered = 0
        self._rotary: Rotary | None = None
        self._former: LayerInput | None = None

    def before(self, index: int) -> Any:
        """Return the pre-hook of a layer."""

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hooked:
            states, rest = args[0], args[1:]
            if index == min(self._stages) - 1:
                self._rotary = None
            if self._prompt.columns is not None:
                states, rotary = self._reduced(
                    index, LayerInput(module, states, self._turn(kwargs))
                )
                kwargs = {**kwargs, "position_embeddings": rotary}
            return (states, *rest), {**kwargs, "attention_mask": _mask(index, states, kwargs)}

        return hook

    def _turn(self, kwargs: dict[str, Any]) -> Rotary:
        # the model hands every layer the rotary embedding of all tokens that entered the first
        full: Rotary = kwargs["position_embeddings"]
        return full if self._rotary is None else self._rotary

    def _reduced(self, index: int, latter: LayerInput) -> tuple[Tensor, Rotary]:
        if index == min(self._stages) - 1:
            self._entered = self._prompt.seen()[0].shape[1]
        former, self._former = self._former, None
        states, rotary = latter.states, latter.rotary
        if index in self._stages and former is not None:
            count = kept_patches(self._stages[index], self._entered)
            kept = self._rule.choose(former, latter, self._prompt.seen()[0], count)
            rows = self._prompt.select(kept)[..., None]  # [B, N', 1]
            states = take_rows(states, rows)
            rotary = take_rows(rotary[0], rows), take_rows(rotary[1], rows)
            self._rotary = rotary
        if index + 1 in self._stages:
            self._former = LayerInput(latter.layer, states, rotary)
        return states, rotary


def _mask(index: int, states: Tensor, kwargs: dict[str, Any]) -> Tensor | None:
    """Return the mask of a layer whose cache may hold fewer tokens than the first one's.

    Nothing is padded, so each query sees all that came before: the lower right corner.
    """
    mask: Tensor | None = kwargs.get("attention_mask")
    if mask is None:
        return None
    cache, queries = kwargs.get("past_key_values"), states.shape[1]
    held = 0 if cache is None else cache.get_seq_length(index)
    return mask[..., -queries:, -(held + queries) :]
