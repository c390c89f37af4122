"""What the two models of a sequence contest do: a prefill, a decode step, one layer; and its cost.

# L length, C channels
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from efficarch.contests.base import Arm
from efficarch.scan.flops import attention_flops, scan_flops, ssd_flops
from efficarch.scan.layer_scans import Run, backend_scans


@dataclass(frozen=True)
class Side:
    """A causal language model, and what its scans run on; ``None`` is its own code."""

    model: nn.Module
    scan: Run | None = None

    def context(self) -> AbstractContextManager[None]:
        """Put the scans in place."""
        return backend_scans(self.model, self.scan)

    def prefill(self, ids: Tensor) -> Arm:
        """Return the call that takes [1, L] to the logits of the last token and to its cache."""
        model: Any = self.model
        return Arm(lambda: model(input_ids=ids, use_cache=True, logits_to_keep=1), self.context)

    def after(self, ids: Tensor) -> "Context":
        """Return what a prefill of [1, L] leaves to the next token."""
        model: Any = self.model
        with self.context():
            out = model.base_model(input_ids=ids, use_cache=True)
        return Context(out[self._cache_name])

    def step(self, token: Tensor, context: "Context") -> Arm:
        """Return the call that takes one more token [1, 1], always after the same context."""
        model: Any = self.model
        named = {self._cache_name: context.cache}
        return Arm(
            lambda: model(input_ids=token, use_cache=True, logits_to_keep=1, **named),
            context.kept,
        )

    def states(self, ids: Tensor) -> Tensor:
        """Return the final hidden state at each position of [1, L], as [L, C]."""
        model: Any = self.model
        with self.context():
            states: Tensor = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        return states[0]

    def next_state(self, token: Tensor, context: "Context") -> Tensor:
        """Return the final hidden state [1, C] of one more token [1, 1] after a context."""
        model: Any = self.model
        named = {self._cache_name: context.cache}
        with context.kept():
            out = model.base_model(input_ids=token, use_cache=True, **named)
        states: Tensor = out.last_hidden_state
        return states[0]

    @property
    def is_mamba(self) -> bool:
        """Whether the model keeps states and no keys and values."""
        return "cache_params" in inspect.signature(type(self.model).forward).parameters

    @property
    def _cache_name(self) -> str:
        return "cache_params" if self.is_mamba else "past_key_values"


class Context:
    """The cache after some tokens: states of fixed size, or keys and values of each token."""

    def __init__(self, cache: Any) -> None:
        self.cache = cache
        # states are overwritten in place by a step, keys and values are replaced by longer ones
        self._states = [
            (state, state.clone())
            for layer in cache.layers
            for name in ("conv_states", "recurrent_states")
            for state in getattr(layer, name, {}).values()
        ]
        self._grown = [
            (layer, layer.keys, layer.values) for layer in cache.layers if hasattr(layer, "keys")
        ]

    @property
    def held_bytes(self) -> int:
        """How much memory the cache holds."""
        states = [state for state, _saved in self._states]
        grown = [each for _layer, *pair in self._grown for each in pair]
        return sum(each.numel() * each.element_size() for each in (*states, *grown))

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Undo on leaving what steps did to the cache, outside their timing."""
        try:
            yield
        finally:
            for state, saved in self._states:
                state.copy_(saved)
            for layer, keys, values in self._grown:
                layer.keys, layer.values = keys, values


def layer_call(side: Side, states: Tensor) -> Callable[[], Tensor]:
    """Return the call of a model's first layer on hidden states [1, L, C], without a cache."""
    backbone: Any = side.model.base_model
    layer: Any = backbone.layers[0]
    alone = Side(layer, side.scan)
    positions = torch.arange(states.shape[1], device=states.device)[None]  # [1, L]
    named = {} if side.is_mamba else {"position_embeddings": backbone.rotary_emb(states, positions)}

    def call() -> Tensor:
        with alone.context():
            output: Tensor = layer(states, **named)
        return output

    return call


def flops_of(model: nn.Module, *, tokens: int, context: int) -> int:
    """Return the FLOPs from ``tokens`` tokens after ``context`` others to the last one's logits.

    By formula, since torch's counter sees no scan and holds every score of an attention at once:
    products with weights, causal attention and scans; no norms and activations.
    """
    causal_lm: Any = model
    layers = sum(_block_flops(each, tokens, context) for each in causal_lm.base_model.layers)
    return layers + 2 * int(causal_lm.get_output_embeddings().weight.numel())


def layer_flops(model: nn.Module, *, tokens: int) -> int:
    """Return the FLOPs of the first layer alone; see `flops_of`."""
    causal_lm: Any = model
    return _block_flops(causal_lm.base_model.layers[0], tokens, 0)


def _block_flops(block: nn.Module, tokens: int, context: int) -> int:
    weights = sum(
        int(module.weight.numel())
        for module in block.modules()
        if isinstance(module, (nn.Linear, nn.Conv1d))
    )
    mixing = sum(_mixing_flops(module, tokens, context) for module in block.modules())
    return 2 * tokens * weights + mixing


def _mixing_flops(module: nn.Module, tokens: int, context: int) -> int:
    """Return what one layer does across tokens; 0 for a module that does nothing of the kind."""
    each: Any = module
    kind = type(module).__name__
    if kind == "MambaMixer":
        channels, state = each.intermediate_size, each.ssm_state_size
        return scan_flops(batch=1, channels=channels, state=state, length=tokens)
    if kind == "Mamba2Mixer":
        heads, width, state = each.num_heads, each.head_dim, each.ssm_state_size
        return ssd_flops(batch=1, heads=heads, head_dim=width, state=state, length=tokens)
    if kind == "LlamaAttention":
        heads, width = each.config.num_attention_heads, each.head_dim
        among = attention_flops(batch=1, heads=heads, head_dim=width, length=tokens)
        return among + 4 * tokens * context * int(heads * width)
    return 0
