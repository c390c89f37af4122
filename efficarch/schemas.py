"""Run files of older schemas, brought up to the newest: what each version knew (see `record`).

A file of schema N that holds what came later was edited: dropped in silence, a figure that a limit
is set on would never be judged.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from efficarch.errors import RunFileError
from efficarch.record import SCHEMA, Quality

READABLE = (1, 2, 3, 4, SCHEMA)

_MEASUREMENT: dict[int, dict[str, Any]] = {
    2: {"cossim_items": [], "quality": asdict(Quality()), "pairs_per_round": 1},
    3: {"backend": None, "scaling": None, "saving": None},
    4: {"conditions": None, "turn": None},
}
"""By schema, the fields that came with it, and what they are in older files."""
_LIMITS: dict[int, dict[str, Any]] = {
    3: {"cossim_p5": None, "bits_lost": None, "slope": None, "reference_slope": None}
}
_MACHINE: dict[int, dict[str, Any]] = {4: {"persistence": None, "mig": None}}

_RENAMED_IN_5 = {"reference_ms": "timed_reference_ms", "ratio": "timed_ratio"}


def newest_measurement(stored: dict[str, Any], schema: int, where: str) -> dict[str, Any]:
    """Return a stored measurement with the fields of the newest schema.

    Raises:
        RunFileError: it holds what its schema did not know.
    """
    found = _filled(stored, _MEASUREMENT, schema, where)
    if schema >= 5:
        return found
    _refuse_later(stored, _RENAMED_IN_5.values(), schema, where)
    for name in _RENAMED_IN_5:
        if name not in stored:
            raise RunFileError(f"{where}: {name} is missing")
        if stored[name] is None:
            raise RunFileError(
                f"{where}: {name} is null; schema {schema} timed every reference, the schema "
                "number was edited"
            )
    return {_RENAMED_IN_5.get(name, name): value for name, value in found.items()}


def newest_limits(stored: dict[str, Any], schema: int, where: str) -> dict[str, Any]:
    """Return stored limits likewise."""
    return _filled(stored, _LIMITS, schema, where)


def newest_machine(stored: dict[str, Any], schema: int, where: str) -> dict[str, Any]:
    """Return a stored fingerprint likewise."""
    return _filled(stored, _MACHINE, schema, where)


def _filled(
    stored: dict[str, Any], since: Mapping[int, dict[str, Any]], schema: int, where: str
) -> dict[str, Any]:
    later = {
        name: value
        for version, names in since.items()
        if version > schema
        for name, value in names.items()
    }
    _refuse_later(stored, later, schema, where)
    return {**stored, **later}


def _refuse_later(stored: dict[str, Any], later: Any, schema: int, where: str) -> None:
    for name in later:
        if name in stored:
            raise RunFileError(
                f"{where}: schema {schema} has no {name!r}; the schema number was edited"
            )
