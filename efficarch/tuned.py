"""Tuned configurations: schedules that `efficarch tune` found, as a TOML file that suites read.

Each entry names a model, a method, the latency ratio it was tuned for, the keep ratio and the
hyper-parameters of the method's first part::

    [[tuned]]
    model = "dinov2-small"
    method = "tome+exact-tail"
    latency_ratio = 0.57
    keep = 0.31
    options = { schedule = "constant" }
"""

import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from efficarch.errors import EfficarchError, brief
from efficarch.files import read_text

MOST_RATIO = 10.0
"""Of the dense model's latency; nobody tunes a method to be slower still."""

FIELDS = {"model": str, "method": str, "latency_ratio": float, "keep": float, "options": dict}


@dataclass(frozen=True)
class Tuned:
    """A method with the schedule that meets a latency on one model."""

    model: str
    method: str
    latency_ratio: float
    keep: float
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """How cells call it: the method at its latency ratio."""
        return f"{self.method}@{self.latency_ratio:g}"


def load_tuned(path: Path) -> list[Tuned]:
    """Read the entries of a file.

    Raises:
        EfficarchError: the file is missing or no TOML, an entry has an unknown, missing or
            ill-typed field, or two entries have one name.
    """
    try:
        data = tomllib.loads(read_text(path))
    except OSError as error:
        raise EfficarchError(
            f"{path}: {error.strerror or error}; write it with efficarch tune"
        ) from error
    except (ValueError, RecursionError) as error:
        raise EfficarchError(
            f"{path}: {error}; mend it or write it anew with efficarch tune"
        ) from error
    items = data.get("tuned", [])
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise EfficarchError(f"{path}: write entries as [[tuned]]")
    entries = [_entry(path, item) for item in items]
    names = [(entry.model, entry.name) for entry in entries]
    for model, name in names:
        if names.count((model, name)) > 1:
            raise EfficarchError(f"{path}: {name} on {model} is there twice; remove one")
    return entries


def _entry(path: Path, item: dict[str, Any]) -> Tuned:
    for name in (*item, *FIELDS):
        if name not in FIELDS or type(item.get(name)) is not FIELDS[name]:
            raise EfficarchError(
                f"{path}: {name} is {brief(item.get(name))}; an entry has exactly "
                f"{', '.join(f'{key} ({kind.__name__})' for key, kind in FIELDS.items())}"
            )
    for name, most in (("keep", 1.0), ("latency_ratio", MOST_RATIO)):
        if not 0 < item[name] <= most:  # NaN is not either
            raise EfficarchError(
                f"{path}: {name} is {item[name]}; give more than 0, at most {most}"
            )
    options = {key: _value(value) for key, value in item["options"].items()}
    return Tuned(**{**item, "options": options})


def _value(value: Any) -> Any:
    # TOML knows lists only, hyper-parameters are hashable
    return tuple(value) if isinstance(value, list) else value


def tuned_text(entries: Sequence[Tuned]) -> str:
    """Return entries as TOML."""
    return "\n".join(_entry_text(entry) for entry in entries)


def _entry_text(entry: Tuned) -> str:
    # JSON's numbers, strings, booleans and lists are TOML's
    options = ", ".join(f"{key} = {json.dumps(value)}" for key, value in entry.options.items())
    lines = [
        "[[tuned]]",
        f'model = "{entry.model}"',
        f'method = "{entry.method}"',
        f"latency_ratio = {float(entry.latency_ratio)!r}",
        f"keep = {float(entry.keep)!r}",
        f"options = {{ {options} }}" if options else "options = {}",
    ]
    return "\n".join(lines) + "\n"
