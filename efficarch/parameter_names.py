"""What a parameter's value is called in a cell's id, in every process alike.

A baseline, a budget and the other side of a gate find a cell by its id alone. So a value gives its
name, or its text where that follows from the value and nothing else. The text of a function holds
where it lies in memory, that of a set its items in an order of this process: those have no name.
"""

import re
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from numbers import Number
from types import NoneType
from typing import Any

_PLAIN = (str, bytes, Number, NoneType, range, type)
"""What prints as what it is, subclasses included."""

_OF_TORCH = ("torch.dtype", "torch.device")

_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+")
"""An address in memory as Python writes it."""


def name_of(value: Any) -> str | None:
    """Return what a value is called; ``None`` where its text may differ between processes."""
    name = _own_name(value)
    if name is None:
        name = str(value) if _is_plain(value) else _built(value)
    return None if name is None or _ADDRESS.search(name) else name


def unnamed(parameter: str, value: Any) -> str:
    """Say that a value is called nothing, and what to do about it."""
    kind = type(value).__name__
    article = "an" if kind[0] in "aeiouAEIOU" else "a"
    lack = "whose text holds an address" if isinstance(value, str) else "without a name of its own"
    return f"parameter {parameter!r} is {article} {kind} {lack}; give it one: ids=[...]"


def is_text_of(name: str, value: Any) -> bool:
    """Whether an id is no more than the text of a value, and may differ as that does."""
    # who wrote a class of his own wrote its text; that of what Python brings names every item
    bare = is_dataclass(value) or type(value).__module__ == "builtins"
    return _ADDRESS.search(name) is not None or (bare and name in (str(value), repr(value)))


def _own_name(value: Any) -> str | None:
    """Return the attribute ``name``, which enums, reducers, backends and paths have."""
    name = getattr(value, "name", None)
    if isinstance(name, str):
        return name
    # a combination of flags may have none
    return str(value.value) if isinstance(value, Enum) else None


def _is_plain(value: Any) -> bool:
    kind = type(value)
    return isinstance(value, _PLAIN) or f"{kind.__module__}.{kind.__name__}" in _OF_TORCH


def _built(value: Any) -> str | None:
    """Put the text of a container together as Python does, from what its items are called."""
    kind = type(value)
    if is_dataclass(value):
        members = [(each.name, getattr(value, each.name)) for each in fields(value) if each.repr]
        return _joined(f"{kind.__qualname__}(%s)", [(f"{n}=", each) for n, each in members])
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        members = list(zip(value._fields, value, strict=True))
        return _joined(f"{kind.__name__}(%s)", [(f"{n}=", each) for n, each in members])
    if kind is dict:
        keys = [_item(key) for key in value]
        links = [None if key is None else f"{key}: " for key in keys]
        return _joined("{%s}", list(zip(links, value.values(), strict=True)))
    if kind is tuple:
        return _joined("(%s,)" if len(value) == 1 else "(%s)", [("", each) for each in value])
    return _joined("[%s]", [("", each) for each in value]) if kind is list else None


def _joined(frame: str, members: Sequence[tuple[str | None, Any]]) -> str | None:
    """Join items behind what links each to its container; ``None`` if one is called nothing."""
    parts = []
    for link, value in members:
        item = _item(value)
        if link is None or item is None:
            return None
        parts.append(link + item)
    return frame % ", ".join(parts)


def _item(value: Any) -> str | None:
    """Return what an item of a container is called there: with its quotes, unless it has a name."""
    name = _own_name(value)
    if name is not None:
        return name
    return repr(value) if _is_plain(value) else _built(value)
