"""Where paths lead."""

import os
from collections.abc import Iterable
from pathlib import Path


def real(path: str | Path) -> Path:
    """Return where a path leads; links that lead in a circle stay as they are.

    `Path.resolve` raises there in Python 3.11, which would cost the record of a process.
    """
    return Path(os.path.realpath(path))


def within(path: Path, folders: Iterable[Path]) -> bool:
    """Whether a path lies in one of some folders."""
    return any(path.is_relative_to(folder) for folder in folders)
