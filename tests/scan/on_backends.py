"""Tests for every backend of a table, on the device where it runs; none is left out in silence."""

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from _pytest.mark.structures import MarkDecorator, ParameterSet
from torch import Tensor

from efficarch.probe import cuda_available
from efficarch.scan import BACKENDS, parity
from efficarch.scan.backends import Row
from efficarch.scan.base import ScanOutput


def device_of(row: Row[Any]) -> str:
    """Return the device to test a backend on: the CPU wherever it can."""
    return "cpu" if "cpu" in row.devices else "cuda"


def parameter(row: Row[Any], *values: object) -> ParameterSet:
    """Return a row as a test's first parameter; it skips, with the reason, where it cannot run."""
    needs_cuda = device_of(row) == "cuda"
    marks = [pytest.mark.cuda] if needs_cuda else []
    reason = None if needs_cuda and not cuda_available() else row.missing()
    if reason is not None:
        marks.append(pytest.mark.skip(reason=f"{row.name}: {reason}"))
    named = [row.name, *(str(value).removeprefix("torch.") for value in values)]
    return pytest.param(row, *values, marks=marks, id="-".join(named))


def each(rows: Iterable[Row[Any]]) -> MarkDecorator:
    """Run a test on every row, as ``row``."""
    return pytest.mark.parametrize("row", [parameter(row) for row in rows])


on_every_backend = each(BACKENDS.values())


def label(case: Any) -> str:
    """Return what a case differs in from the drawing of its length with everything on."""
    usual = vars(type(case)(case.length))
    other = (f"{name}={value}" for name, value in vars(case).items() if value != usual[name])
    return "-".join((f"L={case.length}", *other))


def with_state(output: ScanOutput) -> tuple[Tensor, Tensor]:
    """Return the two tensors of a scan that was asked for its last state."""
    assert isinstance(output, tuple)
    return output


def assert_parity(row: Row[Any], inputs: Any, expected: tuple[Tensor, Tensor]) -> None:
    """Compare output and last state with the oracle's, within the tolerances of their dtypes."""
    narrow = next(iter(inputs.tensors().values())).dtype

    found = row.run(inputs.to(narrow, device_of(row)), return_last_state=True)

    dtypes = (narrow, inputs.working_dtype)
    for got, oracle, dtype in zip(found, expected, dtypes, strict=True):
        rtol, atol = parity.TOLERANCES[dtype]
        assert got.dtype == dtype
        torch.testing.assert_close(got.double().cpu(), oracle.double(), rtol=rtol, atol=atol)
