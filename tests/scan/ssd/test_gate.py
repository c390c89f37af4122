"""A wrong SSD backend is not timed: each mistake is seen, on every path to a timing."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from efficarch.errors import EfficarchError
from efficarch.models import MODELS
from efficarch.scan.base import ScanOutput
from efficarch.scan.ssd import SSD_BACKENDS, SsdBackend, SsdInputs, naive, parity
from efficarch.scan.ssd.base import per_channel, per_head, step_sizes
from tests.models.sequence_models import ROWS
from tests.scan import mutants
from tests.scan.on_backends import device_of, each
from tests.scan.test_parity_gate import bench

WRONG = "is wrong on cpu in torch.float32, so it is not timed: its "


def backend(run: Callable[..., ScanOutput]) -> SsdBackend:
    """Return a row of the table."""
    return SsdBackend("mutant", run, "a scan with a mistake", "this test")


def after(change: Callable[[SsdInputs], SsdInputs]) -> SsdBackend:
    """Return the oracle on changed inputs."""
    return backend(
        lambda inputs, return_last_state=False: naive.scan(
            change(inputs), return_last_state=return_last_state
        )
    )


def spoiling(output: Callable[[Tensor], Tensor], state: Callable[[Tensor], Tensor]) -> SsdBackend:
    """Return the oracle with its output or its last state changed."""

    def scan(inputs: SsdInputs, *, return_last_state: bool = False) -> ScanOutput:
        out, last = naive.scan(inputs, return_last_state=True)
        return (output(out), state(last)) if return_last_state else output(out)

    return backend(scan)


def widened(mutant: str) -> SsdBackend:
    """Return a wrong selective scan on the channels of each head."""

    def scan(inputs: SsdInputs, *, return_last_state: bool = False) -> ScanOutput:
        run: Any = mutants.MUTANTS[mutant].run
        return per_head(run(per_channel(inputs), return_last_state=return_last_state), inputs)

    return backend(scan)


def interleaved_groups(inputs: SsdInputs) -> SsdInputs:
    """Deal the heads out to the groups in turn instead of in runs."""
    order = torch.arange(inputs.heads).remainder(inputs.groups)
    return replace(inputs, B=inputs.B[:, :, order], C=inputs.C[:, :, order])


def unbiased(inputs: SsdInputs) -> SsdInputs:
    """Leave the bias out, and not the softplus."""
    return replace(inputs, dt_bias=None)


def clamped(inputs: SsdInputs) -> SsdInputs:
    """Limit the steps, as a layer may and a scan must not."""
    steps = step_sizes(inputs).clamp(max=0.5).to(inputs.dt)
    return replace(inputs, dt=steps, dt_bias=None, dt_softplus=False)


def same(x: Tensor) -> Tensor:
    """Change nothing."""
    return x


MUTANTS = {
    "decay too fast by 1 %": after(lambda inputs: replace(inputs, A=1.01 * inputs.A)),
    "zero-order hold for the input": widened("zero-order hold for the input"),
    "decay of base 2": widened("decay of base 2"),
    "output before the update": widened("output before the update"),
    "B and C exchanged": after(lambda inputs: replace(inputs, B=inputs.C, C=inputs.B)),
    "dt one step late": after(lambda inputs: replace(inputs, dt=inputs.dt.roll(1, 1))),
    "first group for all": after(
        lambda inputs: replace(inputs, B=inputs.B[:, :, :1], C=inputs.C[:, :, :1])
    ),
    "groups interleaved": after(interleaved_groups),
    "first head's decay for all": after(
        lambda inputs: replace(inputs, A=inputs.A[:1].expand(inputs.heads))
    ),
    "no bias": after(unbiased),
    "steps limited": after(clamped),
    "no skip": after(lambda inputs: replace(inputs, D=None)),
    "no gate": after(lambda inputs: replace(inputs, z=None)),
    "chunks that do not meet": spoiling(
        lambda x: torch.cat([x[:, :64], x[:, 64:] * 0.99], dim=1), same
    ),
    "last state transposed": spoiling(same, lambda x: x.mT),
    "last state of zeros": spoiling(same, torch.zeros_like),
    "NaN": spoiling(lambda x: x * torch.nan, same),
}


@pytest.mark.parametrize("mistake", MUTANTS)
def test_every_mistake_is_caught(mistake: str) -> None:
    """The few cases before a timing tell each of these scans from a right one."""
    with pytest.raises(EfficarchError, match=WRONG):
        parity.require(MUTANTS[mistake], "cpu", torch.float32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("mistake", MUTANTS)
def test_every_mistake_is_caught_in_half_precision(mistake: str, dtype: torch.dtype) -> None:
    """All the more of them."""
    with pytest.raises(EfficarchError, match=r"is wrong on cpu in torch\."):
        parity.require(MUTANTS[mistake], "cpu", dtype)


@each(SSD_BACKENDS.values())
def test_every_backend_may_be_timed(row: SsdBackend) -> None:
    """In every dtype that its row names."""
    for dtype in row.dtypes:
        parity.require(row, device_of(row), dtype)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a wrong scan into the table, in the place of every right one."""
    for name in SSD_BACKENDS:
        monkeypatch.setitem(SSD_BACKENDS, name, MUTANTS["decay too fast by 1 %"])
    for name, model in ROWS.items():
        monkeypatch.setitem(MODELS, name, model)


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("name", ["chunked", "auto"])
def test_sequence_times_no_wrong_backend(name: str) -> None:
    """A whole Mamba-2, at its prefill."""
    with pytest.raises(EfficarchError, match=WRONG):
        bench("tiny-mamba2").sequence(model="tiny-mamba2", backend=name, length=16, stage="prefill")


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("name", ["chunked", "auto"])
def test_layer_scaling_times_no_wrong_backend(name: str) -> None:
    """One layer of a Mamba-2 over lengths."""
    with pytest.raises(EfficarchError, match=WRONG):
        bench("tiny-mamba2").layer_scaling(
            model="tiny-mamba2", backend=name, lengths=(8, 16), reference_lengths=(8, 16)
        )
