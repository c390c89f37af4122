"""Tests for every backend of a table, on the device where it runs; none is left out in silence."""

from collections.abc import Iterable

import pytest
from _pytest.mark.structures import MarkDecorator, ParameterSet

from efficarch.scan import BACKENDS, Backend


def device_of(row: Backend) -> str:
    """Return the device to test a backend on: the CPU wherever it can."""
    return "cpu" if "cpu" in row.devices else "cuda"


def parameter(row: Backend, *values: object) -> ParameterSet:
    """Return a row as a test's first parameter; it skips, with the reason, where it cannot run."""
    marks: tuple[MarkDecorator, ...] = ()
    if device_of(row) == "cuda":
        marks = (pytest.mark.cuda,)
    elif (reason := row.missing()) is not None:
        marks = (pytest.mark.skip(reason=f"{row.name}: {reason}"),)
    named = [row.name, *(str(value).removeprefix("torch.") for value in values)]
    return pytest.param(row, *values, marks=marks, id="-".join(named))


def each(rows: Iterable[Backend]) -> MarkDecorator:
    """Run a test on every row, as ``row``."""
    return pytest.mark.parametrize("row", [parameter(row) for row in rows])


on_every_backend = each(BACKENDS.values())
