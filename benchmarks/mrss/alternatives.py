"""Other ways to fewer state updates, on the same plans: what loses has to be seen losing."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from efficarch.scan import selective_scan
from efficarch.scan.base import ScanInputs, skip_and_gate, step_sizes
from efficarch.scan.in_model import mixers
from efficarch.scan.mrss import Plan, mrss_scan, planner
from efficarch.scan.mrss.runs import Runs

# B batch, D channels, N state size, L length, K committed tokens


def decimated(inputs: ScanInputs, plan: Plan) -> Tensor:
    """Drop the inputs of deferred tokens but keep their decay, and hold outputs, [B, D, L].

    DeciMamba's choice of tokens (arXiv 2406.14528) with the decay it loses put back.
    """
    delta = step_sizes(inputs)
    runs = Runs(plan)
    kept = ~plan.deferred[:, None]  # [B, 1, L]
    span = runs.sums(delta)  # [B, D, K]
    added = runs.sums(delta * inputs.u * kept)
    short = ScanInputs(
        u=torch.where(span > 0, added / span, 0.0),
        delta=span,
        A=inputs.A,
        B=runs.sums(inputs.grouped_B * kept[:, None]),
        C=runs.sums(inputs.grouped_C * kept[:, None]),
    )
    y = selective_scan(**vars(short))
    assert isinstance(y, Tensor)
    return skip_and_gate(inputs, y.gather(-1, runs.last_seen[:, None].expand(inputs.u.shape)))


def multirate(inputs: ScanInputs, saving: float) -> Tensor:
    """Run the half of the channels that forgets least at a fixed stride, the others fully.

    LongMamba's split into local and global channels (arXiv 2504.16053), made to save updates. Half
    the channels have to save twice the share.
    """
    forgets = (step_sizes(inputs).mean((0, 2)) * -inputs.A.mean(1)).argsort()  # [D]
    half = inputs.channels // 2
    out = torch.empty_like(inputs.u)
    for part, share in ((forgets[:half], 2 * saving), (forgets[half:], 0.0)):
        some = _channels(inputs, part)
        plan = planner("stride", share).plan(some)
        y = mrss_scan(some, plan, emission="hold+local")
        assert isinstance(y, Tensor)
        out[:, part] = y
    return out


def _channels(inputs: ScanInputs, part: Tensor) -> ScanInputs:
    wide = {name: getattr(inputs, name) for name in ("u", "delta", "z")}
    narrow = {name: getattr(inputs, name) for name in ("A", "D", "delta_bias")}
    chosen: dict[str, Any] = {
        **{name: None if x is None else x[:, part] for name, x in wide.items()},
        **{name: None if x is None else x[part] for name, x in narrow.items()},
    }
    return replace(inputs, **chosen)


@contextmanager
def shortened_blocks(model: nn.Module, saving: float) -> Iterator[None]:
    """Leave evenly spaced tokens out of every mixer, projections and convolution included.

    Left-out tokens get the output of the last one that was in. The only way here on which the
    projections shrink too.
    """
    with ExitStack() as undo:
        for mixer in mixers(model):
            mixer.forward = MethodType(_shortened(mixer.forward, saving), mixer)
            undo.callback(mixer.__delattr__, "forward")
        yield


def _shortened(forward: Callable[..., Tensor], saving: float) -> Callable[..., Tensor]:
    def run(_: nn.Module, hidden: Tensor, *args: Any, **options: Any) -> Tensor:  # [B, L, E]
        places = torch.arange(hidden.shape[1] + 1, dtype=torch.float64)
        out = (places * saving).floor().diff() > 0  # [L]
        out[[0, -1]] = False
        short = forward(hidden[:, ~out], *args, **options)
        return short[:, (~out).cumsum(0) - 1]

    return run
