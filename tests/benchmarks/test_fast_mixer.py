"""The mixer that training runs on: the outputs and gradients of transformers' own."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.byte_mamba.fast_mixer import fast_mixers
from benchmarks.byte_mamba.recipe import Recipe


def small_model() -> nn.Module:
    """Return a Mamba with two layers of 64 channels, in training mode, with every bias in use."""
    from transformers import MambaConfig, MambaForCausalLM

    recipe = Recipe(steps=1, seed=0, hidden_size=32, layers=2)
    model: nn.Module = MambaForCausalLM(MambaConfig(**recipe.config())).train()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("conv1d.bias", "mixer.D")):
                parameter.normal_()
    return model


def gradients(model: nn.Module, ids: Tensor) -> dict[str, Tensor]:
    """Return the logits and the gradient of every parameter, by name."""
    logits = model(input_ids=ids, use_cache=False).logits
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    found = torch.autograd.grad(loss, list(model.parameters()))
    names = [name for name, _ in model.named_parameters()]
    return {"logits": logits.detach(), **dict(zip(names, found, strict=True))}


@pytest.mark.parametrize("length", [2, 3, 32, 33, 71])
def test_gradients(length: int) -> None:
    """Every gradient is transformers' own to rounding, at lengths around the chunk of 32 steps."""
    model, ids = small_model(), torch.randint(0, 256, (3, length))
    wanted = gradients(model, ids)
    with fast_mixers(model):
        found = gradients(model, ids)

    for name, value in wanted.items():
        scale = float(value.abs().max())
        torch.testing.assert_close(
            found[name], value, atol=1e-5 * scale, rtol=0, msg=lambda text, name=name: name + text
        )


def test_long_steps_and_gates() -> None:
    """Decays that vanish and gates that saturate stay finite and right."""
    model, ids = small_model(), torch.randint(0, 256, (2, 40))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("dt_proj.bias"):
                parameter.fill_(20.0)
            if name.endswith("in_proj.weight"):
                parameter.mul_(100.0)
    wanted = model(input_ids=ids, use_cache=False).logits
    with fast_mixers(model):
        found = model(input_ids=ids, use_cache=False).logits

    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


def test_leaves_no_trace() -> None:
    """After the context, also after an error in it, the model runs its own forward again."""
    model, ids = small_model(), torch.randint(0, 256, (1, 20))
    before = model(input_ids=ids, use_cache=False).logits
    with pytest.raises(KeyError), fast_mixers(model):
        raise KeyError

    assert not [module for module in model.modules() if "forward" in vars(module)]
    assert torch.equal(model(input_ids=ids, use_cache=False).logits, before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_under_autocast(dtype: torch.dtype) -> None:
    """With matrix products in bfloat16 the gradients point where they should."""
    model, ids = small_model(), torch.randint(0, 256, (2, 64))
    with fast_mixers(model):
        wanted = gradients(model, ids)
        with torch.autocast("cpu", dtype, enabled=dtype is torch.bfloat16):
            found = gradients(model, ids)

    floor = 0.99 if dtype is torch.bfloat16 else 1 - 1e-6
    assert min(_cosine(found[name], value) for name, value in wanted.items()) > floor


def test_channels_must_fill_tiles() -> None:
    """Channels that are no multiple of sixteen are refused, not read out of bounds."""
    from transformers import MambaConfig, MambaForCausalLM

    recipe = Recipe(steps=1, seed=0, hidden_size=20, layers=1)
    model = MambaForCausalLM(MambaConfig(**recipe.config()))
    with fast_mixers(model), pytest.raises(RuntimeError, match="multiple of 16, not 40"):
        model(input_ids=torch.zeros(1, 4, dtype=torch.int64), use_cache=False)


def _cosine(left: Tensor, right: Tensor) -> float:
    return float(F.cosine_similarity(left.double().flatten(), right.double().flatten(), dim=0))
