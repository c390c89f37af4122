"""The forward of a transformers Mamba mixer with fast gradients on the CPU, for training only.

``transformers`` itself would train on a loop over time in Python. Convolution and scan, with their
gradients, are C++ here (``fast_mixer.cpp``, compiled on first use); the rest is plain PyTorch on
the mixer's own parameters. Every call runs on the thread that makes it, so several may train side
by side, each on its own sequences.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from efficarch.scan.in_model import mixers

# b batch, l length, d channels of the mixer, c channels of the model, r rank of the steps, n = 16

SOURCE = Path(__file__).with_suffix(".cpp")


@cache
def compiled() -> Any:
    """Compile the C++, or load it where that was done before.

    Raises:
        RuntimeError: the compiler's own message; it needs g++ 12 (or clang) and ninja.
    """
    from torch.utils.cpp_extension import load

    return load("efficarch_fast_mixer", [str(SOURCE)], extra_cflags=["-O3", "-march=native"])


@contextmanager
def fast_mixers(model: nn.Module) -> Iterator[None]:
    """Run every Mamba mixer of a model on this file's forward while the context lasts."""
    layers = mixers(model)
    for mixer in layers:
        mixer.forward = partial(_forward, mixer)
    try:
        yield
    finally:
        for mixer in layers:
            del mixer.forward


def _forward(mixer: Any, hidden: Tensor, **_unused: object) -> Tensor:
    """Return what a mixer without a cache returns, [b, l, c] -> [b, l, c]."""
    x_weight, z_weight = mixer.in_proj.weight.chunk(2)
    taps = mixer.conv1d.weight[:, 0].T  # [4, d]
    x = _convolution(F.linear(hidden, x_weight), taps, mixer.conv1d.bias)  # [b, l, d]
    low_rank, B, C = mixer.x_proj(x).split(
        [mixer.time_step_rank, mixer.ssm_state_size, mixer.ssm_state_size], dim=-1
    )  # [b, l, r], [b, l, n], [b, l, n]
    delta = F.softplus(mixer.dt_proj(low_rank).float())  # [b, l, d]
    A = -torch.exp(mixer.A_log)  # [d, n]
    out = _scan(x, delta, F.linear(hidden, z_weight), A, B, C, mixer.D)  # [b, l, d]
    projected: Tensor = mixer.out_proj(out)
    return projected


class _Scan(torch.autograd.Function):
    """x, delta, z [b, l, d], A [d, n], B, C [b, l, n], D [d] -> [b, l, d] after skip and gate."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        plain = [_plain(tensor) for tensor in inputs]
        out: Tensor
        out, *kept = compiled().scan(plain)
        ctx.save_for_backward(*kept, *plain)
        ctx.dtypes = [tensor.dtype for tensor in inputs]
        return out

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, ...]:
        y, kept, *inputs = ctx.saved_tensors
        grads = compiled().scan_backward(_plain(outputs[0]), y, kept, inputs)
        return tuple(grad.to(dtype) for grad, dtype in zip(grads, ctx.dtypes, strict=True))


class _Convolution(torch.autograd.Function):
    """x [b, l, d], weight [4, d], bias [d] -> silu of the causal convolution, [b, l, d]."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        x, weight, bias = (_plain(tensor) for tensor in inputs)
        out: Tensor
        out, total = compiled().convolution(x, weight, bias)
        ctx.save_for_backward(total, x, weight)
        ctx.dtype = inputs[0].dtype
        return out

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, ...]:
        dx, *grads = compiled().convolution_backward(_plain(outputs[0]), *ctx.saved_tensors)
        return dx.to(ctx.dtype), *grads


_scan: Callable[..., Tensor] = _Scan.apply
_convolution: Callable[..., Tensor] = _Convolution.apply


def _plain(tensor: Tensor) -> Tensor:
    return tensor.float().contiguous()
