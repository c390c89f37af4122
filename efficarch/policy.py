"""The gate's policy: ``[tool.efficarch.gate]`` in the ``pyproject.toml`` of the gated repository.

    [tool.efficarch.gate]
    floor = 0.03               # smallest slowdown that fails a cell
    null = 0.01                # slowdown up to which a cell counts as unchanged
    family_error = 0.01        # chance that any unchanged cell fails
    miss_error = 0.05          # chance that a cell slower by the floor passes
    cells = ["dinov2/*/batch=1/*"]  # ids or globs of the cells to judge where no -k is given
    pairs = [5, 10, 16]        # pairs of processes at which cells are judged
    cossim_tolerance = 0.001   # largest drop of mean CosSim that is not worse
    memory_tolerance = 0.0     # largest growth of peak memory that is not more
    metric = "auto"            # latency, ratio, or auto: ratio on the CPU where sides took no turns
    install = ["-c constraints.txt .[models]"]  # arguments of pip install, where sides need others
    may_differ = ["torch"]     # what the two sides may differ in, by its name in the fingerprint

    [[tool.efficarch.gate.cell]]
    cells = "ssd/*"            # a cell id or a glob of ids
    floor = 0.05               # what differs: floor, cossim_tolerance, memory_tolerance
    reason = "one sentence"

Every setting has the default shown, except that every cell is judged, nothing may differ and no
environment is built. A later entry for a cell overrides an earlier one, field by field.
"""

import shlex
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from efficarch.errors import PolicyError, brief, hint
from efficarch.files import read_text
from efficarch.foreign import FINGERPRINT
from efficarch.patterns import matches
from efficarch.record import Machine

MOST_PAIRS = 1_000
"""Of processes; the gate's exact test of more takes minutes a cell, and measuring them weeks."""

METRICS = ("auto", "latency", "ratio")
DIFFERABLE = tuple(
    dict.fromkeys((*(f.name for f in fields(Machine) if f.name != "device"), *FINGERPRINT))
)
"""What a fingerprint may hold, of our own files and of others', except what a cell is named by."""


@dataclass(frozen=True)
class CellPolicy:
    """What a single cell is held to, as shares of the base's figure (CosSim: as a difference)."""

    floor: float
    cossim_tolerance: float
    memory_tolerance: float


@dataclass(frozen=True)
class Override:
    """An entry for some cells; ``None`` leaves a setting as it is."""

    cells: str
    reason: str
    floor: float | None = None
    cossim_tolerance: float | None = None
    memory_tolerance: float | None = None


@dataclass(frozen=True)
class Policy:
    """The whole policy; shares, not per cent."""

    floor: float = 0.03
    null: float = 0.01
    family_error: float = 0.01
    miss_error: float = 0.05
    pairs: tuple[int, ...] = (5, 10, 16)
    cells: tuple[str, ...] = ()
    """Ids or globs of the cells to judge; none for all."""
    cossim_tolerance: float = 0.001
    memory_tolerance: float = 0.0
    metric: str = "auto"
    may_differ: tuple[str, ...] = ()
    install: tuple[str, ...] = ()
    """Arguments of ``pip install``, a string per call, for an environment of each side where their
    dependency files differ."""
    overrides: tuple[Override, ...] = ()

    def of(self, cell_id: str) -> CellPolicy:
        """Return what a cell is held to."""
        held = CellPolicy(self.floor, self.cossim_tolerance, self.memory_tolerance)
        names = [field.name for field in fields(CellPolicy)]
        for entry in self.overrides:
            if matches(entry.cells, cell_id):
                given = {name: getattr(entry, name) for name in names}
                held = replace(held, **{k: v for k, v in given.items() if v is not None})
        return held

    def unmatched(self, ids: Iterable[str]) -> list[str]:
        """Return the patterns, of ``cells`` and of the overrides, that name none of some cells."""
        known = tuple(ids)
        patterns = dict.fromkeys((*self.cells, *(entry.cells for entry in self.overrides)))
        return [each for each in patterns if not any(matches(each, one) for one in known)]


def load_named_policy(path: Path) -> Policy:
    """Read the policy of a file that was asked for by name: it is there, and it has one.

    Raises:
        PolicyError: it is not, or as for `load_policy`.
    """
    if not path.exists():
        raise PolicyError(f"{path}: no such file; name a TOML file with [tool.efficarch.gate]")
    if not _gate_table(path):
        raise PolicyError(
            f"{path} has no [tool.efficarch.gate]; write its settings below that line"
        )
    return load_policy(path)


def load_policy(path: Path) -> Policy:
    """Read the policy of a ``pyproject.toml``; the defaults where it has none or does not exist.

    Raises:
        PolicyError: the file is not TOML, or the table has a typo or a value that cannot be.
    """
    where = f"{path}: [tool.efficarch.gate]"
    table = _gate_table(path)
    names = [field.name for field in fields(Policy) if field.name != "overrides"]
    _known(table, [*names, "cell"], where)
    entries = table.get("cell", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise PolicyError(f"{where}: write entries for cells as [[tool.efficarch.gate.cell]]")
    policy = Policy(
        **{name: _value(name, table[name], where) for name in names if name in table},
        overrides=tuple(_override(entry, where) for entry in entries),
    )
    _check_order(policy, where)
    return policy


def _gate_table(path: Path) -> dict[str, Any]:
    """Return the table of the gate; an empty one where the file has none or does not exist."""
    try:
        table: Any = tomllib.loads(read_text(path))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise PolicyError(f"{path}: {error.strerror or error}; name a TOML file") from error
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"{path}: not valid TOML: {error}") from error
    name = ""
    for key in ("tool", "efficarch", "gate"):
        name, table = f"{name}.{key}".lstrip("."), table.get(key, {})
        if not isinstance(table, dict):
            raise PolicyError(f"{path}: {name} is {brief(table)}, not a table; write [{name}]")
    found: dict[str, Any] = table
    return found


def _override(entry: dict[str, Any], where: str) -> Override:
    _known(entry, [field.name for field in fields(Override)], f"{where}: cell")
    for name in ("cells", "reason"):
        if not isinstance(entry.get(name), str) or not entry[name].strip():
            raise PolicyError(f"{where}: cell: {name!r} must be a glob or sentence, not empty")
    where = f"{where}: cell {entry['cells']!r}"
    numbers = {k: _value(k, v, where) for k, v in entry.items() if k not in ("cells", "reason")}
    if not numbers:
        raise PolicyError(f"{where}: changes nothing; give floor, cossim_tolerance or similar")
    return Override(entry["cells"], entry["reason"].strip(), **numbers)


def _known(table: dict[str, Any], names: list[str], where: str) -> None:
    for key in table:
        if key not in names:
            raise PolicyError(f"{where}: unknown setting {key!r}; {hint(key, names)}")


def _value(name: str, value: Any, where: str) -> Any:
    if name == "pairs":
        return _pairs(value, where)
    if name in ("cells", "install"):
        if not isinstance(value, list) or not all(isinstance(i, str) and i.strip() for i in value):
            what = "cell ids or globs" if name == "cells" else "arguments of pip install"
            raise PolicyError(f"{where}: {name} is {brief(value)}; give a list of {what}")
        if name == "install":
            _check_arguments(value, where)
        return tuple(value)
    if name == "metric":
        if value not in METRICS:
            raise PolicyError(f"{where}: metric is {brief(value)}; known: {', '.join(METRICS)}")
        return value
    if name == "may_differ":
        if not isinstance(value, list) or not all(item in DIFFERABLE for item in value):
            known = ", ".join(DIFFERABLE)
            raise PolicyError(f"{where}: may_differ is {brief(value)}; give a list of: {known}")
        return tuple(value)
    if type(value) not in (int, float) or not 0 <= value < 1:
        raise PolicyError(f"{where}: {name} is {brief(value)}; give a share from 0 to less than 1")
    if name in ("family_error", "miss_error", "floor") and value == 0:
        raise PolicyError(f"{where}: {name} is 0, which no number of pairs can show")
    return float(value)


def _check_arguments(calls: Iterable[str], where: str) -> None:
    for call in calls:
        try:
            shlex.split(call)
        except ValueError as error:
            raise PolicyError(f"{where}: install has {brief(call)}: {error}") from error
        if "\0" in call:
            raise PolicyError(f"{where}: install has {brief(call)}, with a NUL in it")


def _pairs(value: Any, where: str) -> tuple[int, ...]:
    numbers = value if isinstance(value, list) and value else []
    if not numbers or not all(type(n) is int and n >= 1 for n in numbers) or numbers[-1] % 2:
        raise PolicyError(
            f"{where}: pairs is {brief(value)}; give positive numbers, the last one even, so that "
            "both orders occur as often"
        )
    if sorted(set(numbers)) != numbers:
        raise PolicyError(f"{where}: pairs is {brief(value)}; every number must be above the last")
    if numbers[-1] > MOST_PAIRS:
        raise PolicyError(f"{where}: pairs is {brief(value)}; give at most {MOST_PAIRS:,}")
    return tuple(numbers)


def _check_order(policy: Policy, where: str) -> None:
    lowest = min([policy.floor, *(e.floor for e in policy.overrides if e.floor is not None)])
    if policy.null >= lowest:
        raise PolicyError(
            f"{where}: null is {policy.null} and a floor is {lowest}; null must be below"
        )
