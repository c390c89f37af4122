"""The table of selective-scan backends; a new one is one module and one row here.

Modules that need a compiler, a GPU or a package of their own are imported when they first run:
importing this one loads neither and builds nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

import torch
from torch import Tensor

from efficarch.errors import EfficarchError, UnknownNameError
from efficarch.scan import chunked, naive
from efficarch.scan.base import ScanFunction, ScanInputs, ScanOutput

HALF = (torch.bfloat16, torch.float16)
FLOATS = (torch.float64, torch.float32, *HALF)

AUTO = {"cuda": ("mamba_ssm", "triton", "chunked"), "cpu": ("cpp", "chunked")}
"""What ``auto`` tries, by type of device, the fastest first."""


def _nothing_missing() -> None:
    return None


@dataclass(frozen=True)
class Backend:
    """One implementation: how it is called, what it takes, what it is and where it comes from.

    The defaults are those of a backend in pure PyTorch. ``missing`` says in one sentence why the
    backend cannot run on this machine and what to do, or nothing; it builds nothing.
    """

    name: str
    run: ScanFunction
    summary: str
    source: str
    devices: tuple[str, ...] = ("cpu", "cuda")
    dtypes: tuple[torch.dtype, ...] = FLOATS
    differentiable: bool = True
    missing: Callable[[], str | None] = _nothing_missing


def _late(module: str) -> ScanFunction:
    """Return the ``scan`` of a module that is imported when it first runs."""

    def run(inputs: ScanInputs, *, return_last_state: bool = False) -> ScanOutput:
        scan: ScanFunction = import_module(module).scan
        return scan(inputs, return_last_state=return_last_state)

    return run


def _late_missing(module: str) -> Callable[[], str | None]:
    """Return the ``missing`` of a module that is imported when it is first asked."""

    def missing() -> str | None:
        if find_spec(module) is None:
            return f"{module} does not exist yet"
        ask: Callable[[], str | None] = import_module(module).missing
        return ask()

    return missing


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
        run=_late("efficarch.scan.cpp"),
        summary="C++ kernel, vectorised and threaded, compiled on first use",
        source="arXiv 2312.00752, section 3.2; kernel our own",
        devices=("cpu",),
        dtypes=(torch.float32,),
        differentiable=False,
        missing=_late_missing("efficarch.scan.cpp"),
    ),
)

BACKENDS: Mapping[str, Backend] = {row.name: row for row in _ROWS}


def backend(name: str) -> Backend:
    """Return the row called ``name``.

    Raises:
        UnknownNameError: no backend has this name.
    """
    if name not in BACKENDS:
        raise UnknownNameError.of("backend", name, [*BACKENDS, "auto"])
    return BACKENDS[name]


def choose(name: str, inputs: ScanInputs) -> Backend:
    """Return the backend that runs ``inputs``: the one named, or for ``auto`` the first that can.

    A backend that is named is never replaced by another one.

    Raises:
        UnknownNameError: no backend has this name.
        EfficarchError: the backend named cannot take these inputs or cannot run here.
    """
    if name == "auto":
        rows = [BACKENDS[each] for each in AUTO.get(inputs.u.device.type, ()) if each in BACKENDS]
        able = (row for row in rows if refusal(row, inputs) is None and row.missing() is None)
        return next(able, BACKENDS["chunked"])
    row = backend(name)
    reason = refusal(row, inputs) or row.missing()
    if reason is not None:
        raise EfficarchError(f"backend {name!r} cannot run: {reason}")
    return row


def refusal(row: Backend, inputs: ScanInputs) -> str | None:
    """Say in one sentence why a backend cannot take these inputs, or nothing if it can."""
    u = inputs.u
    given = f"u has shape {tuple(u.shape)}, {u.dtype} on {u.device}"
    if u.device.type not in row.devices:
        return f"{given}, it runs on {' and '.join(row.devices)}; move the inputs or use 'auto'"
    if u.dtype not in row.dtypes:
        known = ", ".join(str(dtype) for dtype in row.dtypes)
        return f"{given}, it takes {known}; convert the inputs or use 'chunked'"
    if not row.differentiable and needs_gradients(inputs):
        return f"{given} and gradients are asked for, it has none; use 'chunked' or torch.no_grad()"
    return None


def needs_gradients(inputs: ScanInputs) -> bool:
    """Whether autograd would record the scan of these inputs."""
    tensors = (each for each in vars(inputs).values() if isinstance(each, Tensor))
    return torch.is_grad_enabled() and any(each.requires_grad for each in tensors)
