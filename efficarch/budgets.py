"""``budgets.toml``: hand-written limits of cells, each with a reason.

    [[limit]]
    cells = "dinov2/dinov2-small/tome/*"        # a cell id; * is any text, ? one character
    latency_ratio = 0.75                        # to the reference, on any device
    latency_ms = { "NVIDIA H100 80GB HBM3" = 1.9 }  # absolute, on a named device
    cossim = 0.97                               # floor of the mean
    cossim_p5 = 0.95                            # floor of the 5th percentile; optional
    bits_lost = 0.005                           # most bits per byte a saving may cost; optional
    slope = [0.9, 1.1]                          # log-log slope over length; optional
    reference_slope = [1.85, 2.1]               # the same of the reference; optional
    weights = "random"                          # only in sessions on these weights; optional
    reason = "one sentence"

Limits apply in file order: where several match a cell, a later one overrides field by field. Every
cell needs a CosSim floor and at least one latency budget that applies on its device.
"""

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, nan
from pathlib import Path
from typing import Any

from efficarch.errors import BudgetError, brief, hint
from efficarch.files import read_text
from efficarch.patterns import matches
from efficarch.record import DEVICES, DTYPES, Cell, Limits, Weights

FIELDS = (
    "cells",
    "latency_ratio",
    "latency_ms",
    "cossim",
    "cossim_p5",
    "bits_lost",
    "slope",
    "reference_slope",
    "weights",
    "reason",
)
LIMITING = FIELDS[1:-2]
MERGED = ("cossim", "latency_ratio", "cossim_p5", "bits_lost", "slope", "reference_slope")
WEIGHTS = (Weights.PRETRAINED.value, Weights.RANDOM.value)


@dataclass(frozen=True)
class Limit:
    """One entry of the file."""

    cells: str
    reason: str
    latency_ratio: float | None = None
    latency_ms: tuple[tuple[str, float], ...] = ()
    cossim: float | None = None
    cossim_p5: float | None = None
    bits_lost: float | None = None
    slope: tuple[float, float] | None = None
    reference_slope: tuple[float, float] | None = None
    weights: str | None = None

    def matches(self, cell: Cell) -> bool:
        """Whether the entry's id or glob names the cell."""
        return matches(self.cells, cell.id)


def load_budgets(path: Path) -> list[Limit]:
    """Read a budgets file.

    Raises:
        BudgetError: the file is missing, is not TOML, or has an entry with a typo.
    """
    try:
        data = tomllib.loads(read_text(path))
    except OSError as error:
        raise BudgetError(
            f"{path}: {error.strerror or error}; every suites folder needs a budgets.toml"
        ) from error
    # TOMLDecodeError is a ValueError, as are another encoding and a number of 5,000 digits
    except (ValueError, RecursionError) as error:
        raise BudgetError(f"{path}: not valid TOML: {error}") from error
    for key in data:
        if key != "limit":
            raise BudgetError(f"{path}: unknown table {key!r}; write entries as [[limit]]")
    entries = data.get("limit", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BudgetError(f"{path}: write [[limit]] in double brackets")
    return [_limit(entry, f"{path}: limit {n}") for n, entry in enumerate(entries, start=1)]


def _limit(entry: dict[str, Any], where: str) -> Limit:
    for key in entry:
        if key not in FIELDS:
            raise BudgetError(f"{where}: unknown field {key!r}; {hint(key, FIELDS)}")
    for key in ("cells", "reason"):
        if not isinstance(entry.get(key), str) or not entry[key].strip():
            raise BudgetError(f"{where}: {key!r} must be a sentence or glob, not empty")
    where = f"{where} ({entry['cells']})"
    if not any(key in entry for key in LIMITING):
        raise BudgetError(f"{where}: limits nothing; give one of {', '.join(LIMITING)}")
    devices = entry.get("latency_ms", {})
    if not isinstance(devices, dict) or ("latency_ms" in entry and not devices):
        raise BudgetError(f'{where}: latency_ms must name its device: {{ "NVIDIA ..." = 1.9 }}')
    ratio = entry.get("latency_ratio")
    lost = entry.get("bits_lost")
    weights = entry.get("weights")
    if weights is not None and weights not in WEIGHTS:
        raise BudgetError(f"{where}: weights is {brief(weights)}; known: {', '.join(WEIGHTS)}")
    return Limit(
        cells=entry["cells"],
        reason=entry["reason"].strip(),
        latency_ratio=None if ratio is None else _positive(ratio, f"{where}: latency_ratio"),
        latency_ms=tuple(
            (name, _positive(value, f"{where}: latency_ms of {name!r}"))
            for name, value in devices.items()
        ),
        cossim=_floor(entry, "cossim", where),
        cossim_p5=_floor(entry, "cossim_p5", where),
        bits_lost=None if lost is None else _number(lost, f"{where}: bits_lost"),
        slope=_range(entry, "slope", where),
        reference_slope=_range(entry, "reference_slope", where),
        weights=weights,
    )


def _floor(entry: dict[str, Any], name: str, where: str) -> float | None:
    floor = entry.get(name)
    if floor is not None and not -1 <= _number(floor, f"{where}: {name}") <= 1:
        raise BudgetError(f"{where}: {name} is {brief(floor)}, outside [-1, 1]")
    return None if floor is None else float(floor)


def _range(entry: dict[str, Any], name: str, where: str) -> tuple[float, float] | None:
    if name not in entry:
        return None
    bounds = entry[name]
    if not isinstance(bounds, list) or len(bounds) != 2:
        raise BudgetError(f"{where}: {name} is {brief(bounds)}; write it as [lowest, highest]")
    low, high = (_number(bound, f"{where}: {name}") for bound in bounds)
    if low >= high:
        raise BudgetError(f"{where}: {name} is {brief(bounds)}; the first must be below the second")
    return low, high


def _number(value: Any, where: str) -> float:
    try:
        number = float(value) if type(value) in (int, float) else nan
    except OverflowError:
        number = inf
    if not isfinite(number):
        raise BudgetError(f"{where} is {brief(value)}, not a finite number")
    return number


def _positive(value: Any, where: str) -> float:
    number = _number(value, where)
    if number <= 0:
        raise BudgetError(f"{where} is {brief(value)}, not positive")
    return number


def limits_of(cell: Cell, limits: Sequence[Limit], *, device_name: str, weights: str) -> Limits:
    """Merge the entries that match a cell on a device, in a session on these weights.

    Raises:
        BudgetError: the cell has no CosSim floor or no latency budget.
    """
    merged: dict[str, Any] = dict.fromkeys(MERGED)
    latency_ms = None
    reasons = []
    for limit in limits:
        if not limit.matches(cell) or limit.weights not in (None, weights):
            continue
        stated = {name: getattr(limit, name) for name in MERGED}
        merged.update({name: value for name, value in stated.items() if value is not None})
        latency_ms = dict(limit.latency_ms).get(device_name, latency_ms)
        reasons.append(limit.reason)
    if merged["cossim"] is None:
        raise BudgetError(f"cell {cell.id!r} has no CosSim floor; add a [[limit]] for it")
    if merged["latency_ratio"] is None and latency_ms is None:
        raise BudgetError(
            f"cell {cell.id!r} has no latency budget on {device_name!r}; add a [[limit]] for it"
        )
    return Limits(**merged, latency_ms=latency_ms, reasons=tuple(reasons))


def unmatched(limits: Iterable[Limit], cells: Sequence[Cell]) -> list[Limit]:
    """Return the entries that name no collected cell on any device and dtype."""
    variants = [variant for cell in cells for variant in _variants(cell)]
    return [limit for limit in limits if not any(limit.matches(cell) for cell in variants)]


def _variants(cell: Cell) -> list[Cell]:
    """Return the cell as it is named on every device and dtype (the last two parts of its id)."""
    stem = cell.id.rsplit("/", 2)[0]
    return [
        replace(cell, id=f"{stem}/{dtype}/{device}", dtype=dtype, device=device)
        for dtype in DTYPES
        for device in DEVICES
    ]
