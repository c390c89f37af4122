"""From JSON values to records, strictly: a value of another kind is refused with its place."""

import json
import math
import re
import types
import typing
from calendar import monthrange
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar

from efficarch.errors import RunFileError

T = TypeVar("T")

_HOUR, _MINUTE = r"([01]\d|2[0-3])", r"[0-5]\d"
_MOMENT = re.compile(
    r"(?P<year>[12]\d{3})-(?P<month>0[1-9]|1[0-2])-(?P<day>0[1-9]|[12]\d|3[01])"
    rf"[T ]{_HOUR}:{_MINUTE}(:{_MINUTE}(\.\d+)?)?(Z|[+-]{_HOUR}:?{_MINUTE})?",
    re.ASCII,
)
"""Not read by the standard library's module of dates, which also reads clocks."""


def mapping(value: Any, where: str) -> dict[str, Any]:
    """Return a value that must be an object; else a `RunFileError` says what is there."""
    if not isinstance(value, dict):
        raise RunFileError(f"{where} is {shown(value)}, not an object")
    return value


def sequence(value: Any, where: str) -> list[Any]:
    """Return a value that must be a list; else a `RunFileError` says what is there."""
    if not isinstance(value, list):
        raise RunFileError(f"{where} is {shown(value)}, not a list")
    return value


def decode(kind: Any, value: Any, where: str) -> Any:
    """Build ``kind`` (a record, enum, tuple, optional or scalar) from a JSON value.

    Raises:
        RunFileError: it is of another kind, lacks a field or has one too many, or holds a number
            that is not finite or, where things are counted, below zero.
    """
    if is_dataclass(kind):
        return _record(typing.cast(type, kind), mapping(value, where), where)
    origin = typing.get_origin(kind)
    if origin is tuple:
        item_kind = typing.get_args(kind)[0]
        items = sequence(value, where)
        return tuple(decode(item_kind, item, f"{where}[{i}]") for i, item in enumerate(items))
    if origin is types.UnionType:
        inner = next(part for part in typing.get_args(kind) if part is not types.NoneType)
        return None if value is None else decode(inner, value, where)
    if isinstance(kind, type) and issubclass(kind, Enum):
        known = [member.value for member in kind]
        if value not in known:
            raise RunFileError(f"{where} is {shown(value)}; known: {', '.join(known)}")
        return kind(value)
    return _scalar(kind, value, where)


def _record(kind: type[T], value: dict[str, Any], where: str) -> T:
    kinds = _kinds(typing.cast(type, kind))
    unknown = sorted(set(value) - set(kinds))
    if unknown:
        raise RunFileError(f"{where}: unknown field {unknown[0]!r}")
    for name in kinds:
        if name not in value:
            raise RunFileError(f"{where}: {name} is missing")
    return kind(
        **{name: decode(each, value[name], f"{where}.{name}") for name, each in kinds.items()}
    )


@cache
def _kinds(record: type) -> dict[str, Any]:
    """Return what each field of a record is; resolving annotations takes longer than reading."""
    hints = typing.get_type_hints(record)
    return {field.name: hints[field.name] for field in fields(record)}


def _scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise RunFileError(f"{where} is {number}, not a finite number")
        return number
    if type(value) is not kind:
        raise RunFileError(f"{where} is {shown(value)}, not of type {kind.__name__}")
    if kind is int and not 0 <= value < 2**63:
        raise RunFileError(f"{where} is {shown(value)}, not a count")
    return value


def moment(value: Any, where: str) -> str:
    """Return a date and time as ISO 8601 writes them; anything else is a `RunFileError`."""
    text: str = decode(str, value, where)
    found = _MOMENT.fullmatch(text)
    if found is not None:
        year, month, day = (int(found[name]) for name in ("year", "month", "day"))
        if day <= monthrange(year, month)[1]:
            return text
    raise RunFileError(f"{where} is {shown(text)}, no date and time of ISO 8601")


def shown(value: Any) -> str:
    """Return a JSON value as it may stand in a sentence: shortened."""
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
