"""The parity suite of SSD: every backend that runs here against the float64 oracle and peers."""

import inspect
from dataclasses import replace
from functools import cache
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.models.mamba2 import modeling_mamba2

from efficarch.scan import backend
from efficarch.scan.ssd import SSD_BACKENDS, SsdBackend, SsdInputs, naive
from efficarch.scan.ssd.base import per_channel, per_head
from efficarch.scan.ssd.parity import STANDARD, Case
from tests.scan.on_backends import assert_parity, device_of, each, label, parameter, with_state

# B batch, L length, H heads, P channels of a head, N state size

LENGTHS = (1, 7, 63, 64, 65, 128, 256, 372, 512, 1024, 1134)
SWITCHES = ("skip", "gate", "bias", "softplus")
OPTIONS = [
    dict(zip(SWITCHES, on, strict=True)) for on in product((True, False), repeat=len(SWITCHES))
]
CASES = [
    *(Case(length, groups) for length in LENGTHS for groups in (1, 2)),
    *(Case(100, groups=2, **options) for options in OPTIONS[1:]),
    *(Case(length, groups, strided=True) for length in (63, 372) for groups in (1, 2)),
    *(Case(100, heads=heads) for heads in (1, 3, 24)),
    *(Case(100, head_dim=width) for width in (1, 5, 64)),
    *(Case(100, state=state) for state in (1, 3, 16, 128)),
    *(Case(100, groups, heads=12) for groups in (3, 12)),
    *(Case(100, batch=batch) for batch in (1, 5)),
    Case(2048, state=16),
    Case(4096, groups=2),
]
OTHER_DTYPES = [
    parameter(row, dtype)
    for row in SSD_BACKENDS.values()
    for dtype in row.dtypes
    if dtype != torch.float32
]

# unwrapped: the code in torch, also where a package is there whose kernel would be called instead
TRANSFORMERS_SCAN = inspect.unwrap(modeling_mamba2.mamba2_chunk_scan)
TRANSFORMERS_STEP = inspect.unwrap(modeling_mamba2.mamba2_selective_state_update)

on_every_backend = each(row for row in SSD_BACKENDS.values() if torch.float32 in row.dtypes)
"""Those of half tensors alone are in ``test_other_dtypes``."""


@cache
def exact(case: Case) -> tuple[Tensor, Tensor]:
    """Return the oracle's output and last state, once for all backends."""
    return oracle(case.inputs())


def oracle(inputs: SsdInputs) -> tuple[Tensor, Tensor]:
    """Return the oracle's output and last state."""
    return with_state(naive.scan(inputs.double(), return_last_state=True))


@pytest.mark.parametrize("case", CASES, ids=label)
@on_every_backend
def test_every_backend_is_the_oracle(row: SsdBackend, case: Case) -> None:
    """float32 stays within 1e-4 at any length, group, size, option and layout."""
    assert_parity(row, case.inputs(), exact(case))


@pytest.mark.parametrize("length", [128, 372], ids="L={}".format)
@pytest.mark.parametrize(("row", "dtype"), OTHER_DTYPES)
def test_other_dtypes(row: SsdBackend, dtype: torch.dtype, length: int) -> None:
    """Halves are right up to the rounding of their products; float64 is a float64 scan."""
    inputs = Case(length, groups=2).inputs().to(dtype, device_of(row))

    assert STANDARD.difference(row, inputs) is None


@given(data=st.data())
@settings(max_examples=40, deadline=None, database=None)
@on_every_backend
def test_any_sizes(row: SsdBackend, data: st.DataObject) -> None:
    """No combination of sizes and options is special."""
    groups = data.draw(st.integers(1, 3), "groups")
    case = Case(
        length=data.draw(st.integers(1, 150), "length"),
        groups=groups,
        batch=data.draw(st.integers(1, 2), "batch"),
        heads=groups * data.draw(st.integers(1, 3), "heads of a group"),
        head_dim=data.draw(st.integers(1, 9), "channels of a head"),
        state=data.draw(st.integers(1, 20), "state"),
        strided=data.draw(st.booleans(), "strided"),
        seed=data.draw(st.integers(0, 2**16), "seed"),
        **data.draw(st.sampled_from(OPTIONS), "options"),
    )

    assert_parity(row, case.inputs(), oracle(case.inputs()))


@pytest.mark.parametrize("groups", [1, 2], ids="groups={}".format)
@pytest.mark.parametrize("length", [1, 63, 256, 372], ids="L={}".format)
@on_every_backend
def test_the_selective_scan_of_alike_channels(row: SsdBackend, length: int, groups: int) -> None:
    """The oracle of Mamba, given each head's channels on their own, is an independent peer."""
    inputs = Case(length, groups).inputs()
    widened = per_channel(inputs.double())

    expected = per_head(backend("naive").run(widened, return_last_state=True), inputs.double())

    assert_parity(row, inputs, with_state(expected))


@pytest.mark.parametrize("groups", [1, 2], ids="groups={}".format)
@pytest.mark.parametrize("length", [1, 63, 256, 372, 1134], ids="L={}".format)
@on_every_backend
def test_transformers(row: SsdBackend, length: int, groups: int) -> None:
    """The scan that a transformers Mamba-2 runs without kernels; it applies no gate."""
    inputs = Case(length, groups, gate=False).inputs()

    expected = TRANSFORMERS_SCAN(
        inputs.x,
        inputs.dt,
        inputs.A,
        inputs.B,
        inputs.C,
        chunk_size=64,
        D=inputs.D,
        dt_bias=inputs.dt_bias,
        dt_softplus=True,
        return_final_states=True,
    )

    assert_parity(row, inputs, expected)


@pytest.mark.parametrize("groups", [1, 2], ids="groups={}".format)
@on_every_backend
def test_steps_of_transformers(row: SsdBackend, groups: int) -> None:
    """Decoding one token at a time with transformers' own state update ends in the same state."""
    inputs = Case(70, groups).inputs()
    assert inputs.D is not None
    assert inputs.z is not None
    assert inputs.dt_bias is not None
    state = torch.zeros(2, 4, 4, 8)  # [B, H, P, N], updated in place
    outputs = [
        TRANSFORMERS_STEP(
            state,
            inputs.x[:, step],
            inputs.dt[:, step, :, None].expand(-1, -1, 4),
            inputs.A[:, None, None].expand(-1, 4, 8),
            inputs.B[:, step],
            inputs.C[:, step],
            inputs.D[:, None].expand(-1, 4),
            dt_bias=inputs.dt_bias[:, None].expand(-1, 4),
            dt_softplus=True,
            z=inputs.z[:, step],
        )
        for step in range(70)
    ]

    assert_parity(row, inputs, (torch.stack(outputs, 1), state))


@on_every_backend
def test_slices_are_read_as_what_they_show(row: SsdBackend) -> None:
    """What lies between the elements of a view in memory, here NaN, has no influence."""
    case = Case(63, groups=2)
    inputs = case.inputs()
    names = ("x", "dt", "B", "C", "z")
    wide = {name: torch.full((*getattr(inputs, name).shape, 2), torch.nan) for name in names}
    for name, tensor in wide.items():
        tensor[..., 0] = getattr(inputs, name)
    view = replace(inputs, **{name: tensor[..., 0] for name, tensor in wide.items()})
    assert not view.x.is_contiguous()

    assert_parity(row, view, exact(case))
