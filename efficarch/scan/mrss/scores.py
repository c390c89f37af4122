"""What a planner ranks tokens by: the smaller the score, the less deferring the token loses.

A score is [B, L]. It reads at most ``SAMPLED`` channels, evenly spaced, so that planning is cheap
beside a scan of thousands of channels; the oracle alone reads everything.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from efficarch.errors import UnknownNameError
from efficarch.scan import chunked
from efficarch.scan.base import ScanInputs

# B batch, D channels, N state size, L length, G groups of channels that share B and C

SAMPLED = 64
"""Most channels that a score reads."""


@dataclass(frozen=True)
class Score:
    """A rule that says what deferring each token costs, and where it comes from.

    ``causal`` scores look at a token and the one before it, never further.
    """

    name: str
    of: Callable[[ScanInputs], Tensor]  # -> [B, L]
    summary: str
    source: str
    causal: bool


def j_score(inputs: ScanInputs) -> Tensor:  # [B, L]
    """Return ``2 gamma + delta ** 2``: how much C turned and how much the state decayed."""
    few = _sampled(inputs)
    forgotten = -torch.expm1(few.A.mean() * few.delta.mean(1))  # [B, L]
    C = inputs.grouped_C  # [B, G, N, L]
    turned = 1 - F.cosine_similarity(C, _before(C), dim=2).mean(1)  # [B, L]
    return 2 * turned + forgotten**2


def input_change(inputs: ScanInputs) -> Tensor:  # [B, L]
    """Return ``|delta u| |B[t+1] - B[t]|``: what an input loses by taking the next token's B."""
    B = inputs.grouped_B  # [B, G, N, L]
    change = (_after(B) - B).square().sum((1, 2)).sqrt()  # [B, L]
    few = _sampled(inputs)
    return (few.delta * few.u).square().sum(1).sqrt() * change


def step_size(inputs: ScanInputs) -> Tensor:  # [B, L]
    """Return the mean step over channels: small steps write little and forget little."""
    return _sampled(inputs).delta.mean(1)


def gated_step(inputs: ScanInputs) -> Tensor:  # [B, L]
    """Return the mean of ``delta |silu(z)|``: small steps, and large ones that the gate hides."""
    few = _sampled(inputs)
    if inputs.z is None:
        return few.delta.mean(1)
    gate = F.silu(inputs.z[:, :: few.every].to(few.delta.dtype))  # [B, S, L]
    return (few.delta * gate.abs()).mean(1)


def output_change(inputs: ScanInputs) -> Tensor:  # [B, L]
    """Return ``|y[t] - y[t-1]| ** 2`` of the exact SSM term: the oracle, as dear as the scan."""
    y = chunked.scan(replace(inputs, D=None, z=None))  # [B, D, L]
    assert isinstance(y, Tensor)
    return (y - _before(y)).square().sum(1)


_ROWS = (
    Score("j-score", j_score, "2 gamma + delta^2: C turned, state decayed", "our own", True),
    Score(
        "input-change",
        input_change,
        "|delta u| |B[t+1] - B[t]|: the next token's B",
        "our own",
        False,
    ),
    Score(
        "step-size",
        step_size,
        "mean step over channels",
        "arXiv 2406.14528, section 4.1; here nothing is dropped",
        True,
    ),
    Score("gated-step", gated_step, "mean of delta |silu(z)| over channels", "our own", True),
    Score(
        "oracle", output_change, "change of the exact output; as dear as the scan", "our own", True
    ),
)

SCORES: Mapping[str, Score] = {row.name: row for row in _ROWS}


def score(name: str) -> Score:
    """Return the score called ``name``.

    Raises:
        UnknownNameError: no score has this name.
    """
    if name not in SCORES:
        raise UnknownNameError.of("score", name, list(SCORES))
    return SCORES[name]


@dataclass(frozen=True)
class _Channels:
    """The channels that a score reads: their step sizes, inputs and rates."""

    delta: Tensor  # [B, S, L]
    u: Tensor  # [B, S, L]
    A: Tensor  # [S, N]
    every: int


def _sampled(inputs: ScanInputs) -> _Channels:
    every = -(-inputs.channels // SAMPLED)
    delta = inputs.delta[:, ::every].to(inputs.working_dtype)
    if inputs.delta_bias is not None:
        delta = delta + inputs.delta_bias[::every, None].to(delta.dtype)
    if inputs.delta_softplus:
        delta = F.softplus(delta)
    return _Channels(
        delta, inputs.u[:, ::every].to(delta.dtype), inputs.A[::every].to(delta.dtype), every
    )


def _before(x: Tensor) -> Tensor:
    """Return at each step the step before it, at the first the first itself."""
    return torch.cat((x[..., :1], x[..., :-1]), dim=-1)


def _after(x: Tensor) -> Tensor:
    """Return at each step the next one, at the last the last itself."""
    return torch.cat((x[..., 1:], x[..., -1:]), dim=-1)
