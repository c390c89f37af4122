"""Machines, cells and edits of run files that the tests of the store share."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

from tests import samples

CELL = samples.cell().id
EXTRA = ("benchmarks", 0, "extra_info", "efficarch")
MEASUREMENT = (*EXTRA, "measurement")
LINE = ("efficarch", "cells", 0)

GPU = samples.GPU

Edit = Callable[[dict[str, Any]], None]
"""Spoils the JSON value of a run file in place."""


def put(*keys: str | int, value: object) -> Edit:
    """Return an edit that stores a value under a path of keys."""

    def edit(data: Any) -> None:
        for key in keys[:-1]:
            data = data[key]
        data[keys[-1]] = value

    return edit


def drop(*keys: str | int) -> Edit:
    """Return an edit that removes what is under a path of keys."""

    def edit(data: Any) -> None:
        for key in keys[:-1]:
            data = data[key]
        del data[keys[-1]]

    return edit


def repeat(*keys: str | int) -> Edit:
    """Return an edit that lists the first item under a path of keys twice."""

    def edit(data: Any) -> None:
        for key in keys:
            data = data[key]
        data.append(deepcopy(data[0]))

    return edit


def written(path: Path, data: object) -> Path:
    """Write a JSON value and return where."""
    path.write_text(json.dumps(data), encoding="utf-8")
    return path
