"""What a checkout says of packages to install; where two differ, they need other environments."""

import json
import tomllib
from pathlib import Path

from efficarch.experiment.project import settings_text

FILES = ("constraints.txt", "requirements.txt", "setup.cfg", "setup.py")

TABLES = ("build-system", "dependency-groups", "project")
"""Those of ``pyproject.toml``; the others configure tools."""

TELLING = (
    "name",
    "dependencies",
    "dynamic",
    "entry-points",
    "optional-dependencies",
    "requires-python",
    "scripts",
)
"""What of ``project`` decides what is installed."""


def differing(base: Path, head: Path) -> list[str]:
    """Return which files that say what has to be installed differ between two projects."""
    theirs, ours = dependencies(base), dependencies(head)
    return sorted(name for name in theirs if theirs[name] != ours[name])


def dependencies(folder: Path) -> dict[str, str | None]:
    """Return what each file says of packages to install; ``None`` for a file that is not there."""
    found = {name: settings_text(folder / name) for name in FILES}
    project = settings_text(folder / "pyproject.toml")
    if project is not None:
        try:
            data = tomllib.loads(project)
        except (ValueError, RecursionError):
            data = {"project": project}  # for pip to refuse
        tables = {name: data[name] for name in TABLES if name in data}
        if isinstance(tables.get("project"), dict):
            # a new version or description needs no other packages
            tables["project"] = {k: v for k, v in tables["project"].items() if k in TELLING}
        project = json.dumps(tables, sort_keys=True, default=str)
    return {**found, "pyproject.toml": project}
