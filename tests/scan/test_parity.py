"""The parity suite: every backend that runs here against the float64 oracle, case by case.

The grid is that of mamba-ssm's own test of its kernel (``tests/ops/test_selective_scan.py``), with
its tolerances for half dtypes and tighter ones for wide dtypes (`parity.TOLERANCES`). Backends that
need CUDA are in it too, and skip where there is none.
"""

from dataclasses import replace
from functools import cache
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from efficarch.scan import BACKENDS, Backend, ScanInputs, naive
from efficarch.scan.parity import Case
from tests.scan.on_backends import (
    assert_parity,
    label,
    on_every_backend,
    parameter,
    with_state,
)

LENGTHS = (128, 256, 512, 1024, 2048, 4096)
"""Those of mamba-ssm's test."""

ODD_LENGTHS = (1, 7, 63, 372, 1134)

SWITCHES = ("skip", "gate", "bias", "softplus")
OPTIONS = [
    dict(zip(SWITCHES, on, strict=True)) for on in product((True, False), repeat=len(SWITCHES))
]
BARE = OPTIONS[-1]

GRID = [
    *(Case(length, groups) for length in LENGTHS for groups in (1, 2)),
    *(Case(length, groups, **BARE) for length in LENGTHS for groups in (1, 2)),
    *(Case(128, groups, **options) for groups in (1, 2) for options in OPTIONS[1:-1]),
]
BEYOND = [
    *(Case(length, groups) for length in ODD_LENGTHS for groups in (1, 2)),
    *(Case(length, **BARE) for length in ODD_LENGTHS),
    *(Case(length, groups, strided=True) for length in (63, 372) for groups in (1, 2)),
    *(Case(63, channels=channels) for channels in (1, 8, 17, 64, 100)),
    *(Case(63, state=state) for state in (1, 3, 16, 33, 64)),
    *(Case(63, groups, channels=24, state=16) for groups in (3, 12, 24)),
    *(Case(63, batch=batch) for batch in (1, 5)),
]
OTHER_DTYPES = [
    parameter(row, dtype)
    for row in BACKENDS.values()
    for dtype in row.dtypes
    if dtype != torch.float32
]


@cache
def exact(case: Case) -> tuple[Tensor, Tensor]:
    """Return the oracle's output and last state, once for all backends."""
    return oracle(case.inputs())


def oracle(inputs: ScanInputs) -> tuple[Tensor, Tensor]:
    """Return the oracle's output and last state."""
    return with_state(naive.scan(inputs.double(), return_last_state=True))


@pytest.mark.parametrize("case", GRID, ids=label)
@on_every_backend
def test_the_grid_of_mamba_ssm(row: Backend, case: Case) -> None:
    """float32 stays within 1e-4 of the oracle at its lengths, groups and options."""
    assert_parity(row, case.inputs(), exact(case))


@pytest.mark.parametrize("case", BEYOND, ids=label)
@on_every_backend
def test_beyond_the_grid(row: Backend, case: Case) -> None:
    """Odd lengths, transposed memory, and sizes that fill no block of a kernel."""
    assert_parity(row, case.inputs(), exact(case))


@pytest.mark.parametrize("groups", [1, 2], ids="groups={}".format)
@pytest.mark.parametrize("length", [128, 372, 1024], ids="L={}".format)
@pytest.mark.parametrize(("row", "dtype"), OTHER_DTYPES)
def test_other_dtypes(row: Backend, dtype: torch.dtype, length: int, groups: int) -> None:
    """Halves meet mamba-ssm's tolerances on the rounded inputs; float64 is a float64 scan."""
    inputs = Case(length, groups).inputs().to(dtype)
    assert_parity(row, inputs, oracle(inputs))


def sliced(x: Tensor) -> Tensor:
    """Return ``x`` as the inner part of a wider and longer tensor."""
    wide = torch.full((*x.shape[:-2], x.shape[-2] + 2, x.shape[-1] + 3), torch.nan)
    wide[..., 1:-1, 2:-1] = x
    return wide[..., 1:-1, 2:-1]


def spread(x: Tensor) -> Tensor:
    """Return ``x`` as every second step of a longer tensor."""
    longer = torch.full((*x.shape[:-1], 2 * x.shape[-1]), torch.nan)
    longer[..., ::2] = x
    return longer[..., ::2]


def batch_last(x: Tensor) -> Tensor:
    """Return ``x`` with the batch innermost in memory."""
    return x.movedim(0, -1).contiguous().movedim(-1, 0)


LAYOUTS = {
    "sliced": sliced,
    "spread": spread,
    "batch-last": batch_last,
    "transposed": lambda x: x.transpose(1, -1).contiguous().transpose(1, -1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@on_every_backend
def test_views_are_read_as_what_they_show(row: Backend, layout: str) -> None:
    """What lies between the elements of a view in memory, here NaN, has no influence."""
    case = Case(63, groups=2)
    inputs = case.inputs()
    per_step = {name: LAYOUTS[layout](getattr(inputs, name)) for name in ("u", "delta", "z")}
    projected = {name: LAYOUTS[layout](getattr(inputs, name)) for name in ("B", "C")}
    vectors = {
        name: getattr(inputs, name).repeat_interleave(2, dim=0)[::2]
        for name in ("A", "D", "delta_bias")
    }
    view = replace(inputs, **per_step, **projected, **vectors)
    assert not any(x.is_contiguous() for x in (view.u, view.delta, view.B, view.A))

    assert_parity(row, view, exact(case))


@on_every_backend
def test_one_row_for_all_channels_and_steps(row: Backend) -> None:
    """Expanded tensors, whose strides are zero, are read like copies."""
    inputs = Case(63).inputs()
    expanded = replace(
        inputs,
        A=inputs.A[:1].expand(4, -1),
        B=inputs.B[..., :1].expand(-1, -1, -1, 63),
        delta=inputs.delta[:, :1].expand(-1, 4, -1),
    )

    assert_parity(row, expanded, oracle(expanded))


@given(data=st.data())
@settings(max_examples=40, deadline=None, database=None)
@on_every_backend
def test_any_sizes(row: Backend, data: st.DataObject) -> None:
    """No combination of sizes and options is special."""
    groups = data.draw(st.integers(1, 4), "groups")
    case = Case(
        length=data.draw(st.integers(1, 150), "length"),
        groups=groups,
        batch=data.draw(st.integers(1, 3), "batch"),
        channels=groups * data.draw(st.integers(1, 12), "channels of a group"),
        state=data.draw(st.integers(1, 20), "state"),
        strided=data.draw(st.booleans(), "strided"),
        seed=data.draw(st.integers(0, 2**16), "seed"),
        **data.draw(st.sampled_from(OPTIONS), "options"),
    )

    assert_parity(row, case.inputs(), oracle(case.inputs()))
