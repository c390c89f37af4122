"""Tests for every backend of a table, on the device where it runs; none is left out in silence."""

from collections.abc import Iterable
from typing import Any

import pytest
from _pytest.mark.structures import MarkDecorator, ParameterSet

from efficarch.probe import cuda_available
from efficarch.scan import BACKENDS
from efficarch.scan.backends import Row


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
