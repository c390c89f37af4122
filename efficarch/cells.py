"""From a parametrized suite test to its cell: the id every report and budget uses."""

from collections.abc import Mapping
from typing import Any

from efficarch.errors import EfficarchError
from efficarch.parameter_names import name_of, unnamed
from efficarch.record import Cell

METHOD_NAMES = ("reducer", "backend", "planner")


def build_cell(suite: str, params: Mapping[str, Any], *, dtype: str, device: str) -> Cell:
    """Name the cell of a test by its parameters.

    The id reads ``suite/model/method/keep=…/length=…/batch=…/dtype/device``; a part whose parameter
    the test lacks is left out, any other parameter follows as ``name=value``.

    Raises:
        EfficarchError: a keep ratio outside (0, 1], a batch or length that is no whole number, or a
            value whose text may differ between processes.
    """
    counts = ("keep", "length", "batch")
    methods = [name for name in METHOD_NAMES if name in params]
    method = _named(suite, methods[0], params) if methods else "none"
    model = _named(suite, "model", params) if "model" in params else suite
    keep, length, batch = (params.get(name) for name in ("keep", "length", "batch"))
    _check(suite, keep=keep, length=length, batch=batch)
    if len(methods) > 1:
        raise EfficarchError(f"{suite}: a test has one of {' and '.join(methods)}, not both")
    parts = [suite, model if "model" in params else "", method]
    parts += [f"{name}={params[name]}" for name in counts if params.get(name) is not None]
    others = sorted(set(params) - {"model", *METHOD_NAMES, *counts})
    parts += [f"{name}={_named(suite, name, params)}" for name in others]
    return Cell(
        id="/".join(part for part in (*parts, dtype, device) if part),
        suite=suite,
        model=model,
        method=method,
        keep=None if keep is None else float(keep),
        length=length,
        batch=1 if batch is None else batch,
        dtype=dtype,
        device=device,
    )


def _named(suite: str, parameter: str, params: Mapping[str, Any]) -> str:
    name = name_of(params[parameter])
    if name is None:
        raise EfficarchError(f"{suite}: {unnamed(parameter, params[parameter])}")
    return name


def _check(suite: str, *, keep: Any, length: Any, batch: Any) -> None:
    if keep is not None and not (isinstance(keep, float) and 0 < keep <= 1):
        raise EfficarchError(
            f"{suite}: keep is {keep!r}; it must be a float in (0, 1], for instance 0.5"
        )
    for name, value in (("length", length), ("batch", batch)):
        if value is not None and not (type(value) is int and value >= 1):
            raise EfficarchError(f"{suite}: {name} is {value!r}; it must be a whole number >= 1")
