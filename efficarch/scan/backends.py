"""The table of selective-scan backends; a new one is one module and one row here.

What a row is, and how one is chosen, serves the table of SSD too (``efficarch/scan/ssd``).

Importing this module builds nothing and loads no package that a backend needs: those are imported
when it first runs or is asked whether it can.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Generic, Protocol, TypeAlias, TypeVar

import torch
from torch import Tensor

from efficarch.errors import EfficarchError, UnknownNameError
from efficarch.scan import chunked, external_mamba_ssm, naive, native_library, triton_scan
from efficarch.scan.base import FLOATS, HALF, ScanInputs, ScanOutput, needs_gradients

AUTO = {"cuda": ("mamba_ssm", "triton"), "cpu": ("cpp",)}
"""What ``auto`` tries, by type of device and in this order, before it takes ``chunked``."""


def _nothing_missing() -> None:
    return None


class Inputs(Protocol):
    """The checked arguments of a scan; the first tensor's dtype and device are the scan's."""

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that are there by their names."""
        ...


AnyInputs = TypeVar("AnyInputs", bound=Inputs)
AnyInputs_contra = TypeVar("AnyInputs_contra", bound=Inputs, contravariant=True)


class Run(Protocol[AnyInputs_contra]):
    """What a backend's module provides under the name ``scan``."""

    def __call__(self, inputs: AnyInputs_contra, *, return_last_state: bool = False) -> ScanOutput:
        """Run the scan of ``inputs``."""
        ...


@dataclass(frozen=True)
class Row(Generic[AnyInputs]):
    """One implementation: how it is called, what it takes, what it is and where it comes from.

    The defaults are those of a backend in pure PyTorch. ``missing`` says in one sentence why the
    backend cannot run on this machine and what to do, or nothing; it builds nothing. ``failure``
    gets it ready to run, which may build it, and says in the same way what went wrong.
    """

    name: str
    run: Run[AnyInputs]
    summary: str
    source: str
    devices: tuple[str, ...] = ("cpu", "cuda")
    dtypes: tuple[torch.dtype, ...] = FLOATS
    differentiable: bool = True
    missing: Callable[[], str | None] = _nothing_missing
    failure: Callable[[], str | None] = _nothing_missing


Backend: TypeAlias = Row[ScanInputs]
"""A backend of the selective scan."""


def _cpp(inputs: ScanInputs, *, return_last_state: bool = False) -> ScanOutput:
    from efficarch.scan import cpp  # knows the multi-resolution scan, which knows this table

    return cpp.scan(inputs, return_last_state=return_last_state)


def _cpp_failure() -> str | None:
    try:
        native_library.load()
    except EfficarchError as error:
        return str(error)
    return None


_ROWS = (
    Backend(
        name="naive",
        run=naive.scan,
        summary="one step at a time; the oracle",
        source="arXiv 2312.00752, section 3.2",
    ),
    Backend(
        name="chunked",
        run=chunked.scan,
        summary="pure PyTorch, blocks of chunks that step at once",
        source="arXiv 2312.00752, section 3.2; chunking our own",
    ),
    Backend(
        name="cpp",
        run=_cpp,
        summary="C++ kernel, vectorised and threaded, compiled on first use",
        source="arXiv 2312.00752, section 3.2; kernel our own",
        devices=("cpu",),
        differentiable=False,
        missing=native_library.missing,
        failure=_cpp_failure,
    ),
    Backend(
        name="triton",
        run=triton_scan.scan,
        summary="Triton kernels, chunks in parallel, then join; needs no compiler",
        source="arXiv 2312.00752, section 3.2; kernels our own",
        devices=("cpu", "cuda") if triton_scan.INTERPRETED else ("cuda",),
        dtypes=(torch.float32, *HALF),
        differentiable=False,
        missing=triton_scan.missing,
    ),
    Backend(
        name="mamba_ssm",
        run=external_mamba_ssm.scan,
        summary="the authors' CUDA kernel, from the package mamba-ssm",
        source="arXiv 2312.00752, section 3.3; the package",
        devices=("cuda",),
        dtypes=(torch.float32, *HALF),
        differentiable=False,
        missing=external_mamba_ssm.missing,
    ),
)

BACKENDS: Mapping[str, Backend] = {row.name: row for row in _ROWS}


def backend(name: str) -> Backend:
    """Return the row called ``name``.

    Raises:
        UnknownNameError: no backend has this name.
    """
    return named(name, BACKENDS)


def choose(name: str, inputs: ScanInputs) -> Backend:
    """Return the backend that runs ``inputs``; see ``pick``."""
    return pick(name, inputs, BACKENDS, AUTO)


def named(name: str, rows: Mapping[str, Row[AnyInputs]]) -> Row[AnyInputs]:
    """Return the row of a table called ``name``.

    Raises:
        UnknownNameError: the table has none.
    """
    if name not in rows:
        raise UnknownNameError.of("backend", name, [*rows, "auto"])
    return rows[name]


def pick(
    name: str,
    inputs: AnyInputs,
    rows: Mapping[str, Row[AnyInputs]],
    auto: Mapping[str, tuple[str, ...]],
) -> Row[AnyInputs]:
    """Return the row that runs ``inputs``: the one named, or for ``auto`` the first that can.

    A backend that is named is never replaced by another one. ``auto`` goes through the names of
    the device's type and then takes ``chunked``; what it tries is compiled here if need be. Where
    nothing but the machine stands in the way of a faster one, it says so in a warning, once.

    Raises:
        UnknownNameError: no backend has this name.
        EfficarchError: the backend named cannot take these inputs or cannot run here.
    """
    if name == "auto":
        device = _leading(inputs)[1].device.type
        return _first_able(inputs, [rows[each] for each in auto.get(device, ())]) or rows["chunked"]
    row = named(name, rows)
    reason = refusal(row, inputs) or row.missing()
    if reason is not None:
        raise EfficarchError(f"backend {name!r} cannot run: {reason}")
    return row


def _first_able(inputs: AnyInputs, rows: list[Row[AnyInputs]]) -> Row[AnyInputs] | None:
    problems = []
    for row in rows:
        if refusal(row, inputs) is None:
            problem = row.missing() or row.failure()
            if problem is None:
                return row
            problems.append(problem)
    # what the inputs rule out is no news: gradients, for instance, are for chunked to give
    if problems and len(problems) == len(rows):
        _say_once("; ".join(problems))
    return None


@cache
def _say_once(problems: str) -> None:
    warnings.warn(f"the scan runs on chunked, the slower one: {problems}", stacklevel=6)


def refusal(row: Row[AnyInputs], inputs: AnyInputs) -> str | None:
    """Say in one sentence why a backend cannot take these inputs, or nothing if it can."""
    name, x = _leading(inputs)
    given = f"{name} has shape {tuple(x.shape)}, {x.dtype} on {x.device}"
    if x.device.type not in row.devices:
        return f"{given}, it runs on {' and '.join(row.devices)}; move the inputs or use 'auto'"
    if x.dtype not in row.dtypes:
        known = ", ".join(str(dtype) for dtype in row.dtypes)
        return f"{given}, it takes {known}; convert the inputs or use 'chunked'"
    if not row.differentiable and needs_gradients(inputs.tensors()):
        return f"{given} and gradients are asked for, it has none; use 'chunked' or torch.no_grad()"
    return None


def _leading(inputs: Inputs) -> tuple[str, Tensor]:
    return next(iter(inputs.tensors().items()))
