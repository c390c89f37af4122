"""How the byte-level Mamba is trained: sizes, rates, and the loop."""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.byte_mamba.fast_mixer import fast_mixers

SHARDS = 2
"""Parts of a batch whose gradients are worked out side by side, and summed in this order."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the outcome, the text aside."""

    steps: int
    seed: int
    hidden_size: int = 192
    layers: int = 4
    length: int = 1024
    batch: int = 4
    rate: float = 4e-3
    last_rate: float = 4e-5
    warm_up: int = 50
    weight_decay: float = 0.1
    clip: float = 1.0

    def config(self) -> dict[str, Any]:
        """Return what `transformers.MambaConfig` takes."""
        return {
            "vocab_size": 256,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.layers,
            "state_size": 16,
            "tie_word_embeddings": True,
            "bos_token_id": None,
            "eos_token_id": None,
            "pad_token_id": None,
        }

    def rate_at(self, step: int) -> float:
        """Return the learning rate: a linear warm-up, then half a cosine."""
        if step < self.warm_up:
            return self.rate * (step + 1) / self.warm_up
        done = (step - self.warm_up) / max(self.steps - self.warm_up, 1)
        return self.last_rate + (self.rate - self.last_rate) * (1 + math.cos(math.pi * done)) / 2


def train(
    recipe: Recipe,
    text: Tensor,  # [bytes] int64
    *,
    threads: int,
    report: Callable[[int, float], None],
) -> nn.Module:
    """Return a trained `transformers.MambaForCausalLM`; ``report`` gets each step's bits per byte.

    The same recipe, text and machine give the same weights, whatever the number of threads.
    """
    from transformers import MambaConfig, MambaForCausalLM

    torch.manual_seed(recipe.seed)
    model: nn.Module = MambaForCausalLM(MambaConfig(**recipe.config())).train()
    optimizers = _optimizers(model, recipe)
    with _one_thread_each(), fast_mixers(model), ThreadPoolExecutor(threads) as pool:
        for step, windows in zip(range(recipe.steps), _windows(recipe, text), strict=False):
            shards = windows.chunk(SHARDS)
            loss = _accumulate(model, list(pool.map(lambda part: _gradients(model, part), shards)))
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = recipe.rate_at(step)
                optimizer.step()
            report(step, loss / math.log(2))
    return model.eval()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Keep each operation on the thread that calls it: the shards are what runs side by side."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _windows(recipe: Recipe, text: Tensor) -> Iterator[Tensor]:
    """Yield random windows of the text, [batch, length + 1]."""
    rng = torch.Generator().manual_seed(recipe.seed)
    while True:
        starts = torch.randint(len(text) - recipe.length, (recipe.batch, 1), generator=rng)
        yield text[starts + torch.arange(recipe.length + 1)]


def _gradients(model: nn.Module, windows: Tensor) -> tuple[float, tuple[Tensor, ...]]:
    """Return the mean loss in nats of some windows [count, length + 1], and its gradients."""
    # matrix products in bfloat16, the rest in float32: on a CPU with instructions for it, a third
    # less time for a step; on others slower, and as good
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=windows[:, :-1], use_cache=False).logits  # [count, length, 256]
    loss = F.cross_entropy(logits.float().flatten(0, 1), windows[:, 1:].flatten())
    return loss.item(), torch.autograd.grad(loss, list(model.parameters()))


def _accumulate(model: nn.Module, shards: list[tuple[float, tuple[Tensor, ...]]]) -> float:
    """Put the mean of the shards' gradients where optimizers look, and return the mean loss."""
    for parameter, *parts in zip(
        model.parameters(), *(gradients for _, gradients in shards), strict=True
    ):
        parameter.grad = torch.stack(parts).mean(0)
    return sum(loss for loss, _ in shards) / len(shards)


def _optimizers(model: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Return Muon for the large matrices inside the layers and AdamW for all else.

    Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) with updates scaled to the
    size of AdamW's (arXiv 2502.16982, section 2.2), so that both take one learning rate.
    """
    named = dict(model.named_parameters())
    matrices = [name for name in named if name.endswith(("in_proj.weight", "out_proj.weight"))]
    decayed = [name for name in named if name.endswith(("x_proj.weight", "dt_proj.weight"))]
    rest = [name for name in named if name not in {*matrices, *decayed}]
    muon = torch.optim.Muon(
        [named[name] for name in matrices],
        weight_decay=recipe.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    groups = [
        {"params": [named[name] for name in decayed], "weight_decay": recipe.weight_decay},
        {"params": [named[name] for name in rest], "weight_decay": 0.0},
    ]
    return [muon, torch.optim.AdamW(groups, betas=(0.9, 0.95))]
