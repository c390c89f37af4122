"""Caches of downloaded models: both sides read the user's, and what one wrote there is said."""

import os
import site
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from efficarch.files import from_home

VARIABLES = {"HF_HOME": "huggingface", "TORCH_HOME": "torch"}
"""Folders of downloaded models by the variable that names them, and where below the user's cache
they lie otherwise: too large for a side to have its own."""

NAMED = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE", "HF_DATASETS_CACHE")
"""Variables by which some have a part of them elsewhere."""

PASSING = (".locks", "logs", "xet")
"""Folders in them that say nothing of a model."""

MOST = 100_000
"""How many files are looked at."""

Listing = frozenset[tuple[str, int, int]]


def shared_caches() -> dict[str, Path]:
    """Return where downloaded models lie, by the variable that says so.

    A user without a home has none but those that variables name.
    """
    home = user_home()
    usual = os.environ.get("XDG_CACHE_HOME") or (home and home / ".cache")
    found = {
        name: os.environ.get(name) or (usual and Path(usual) / f) for name, f in VARIABLES.items()
    }
    found |= {name: os.environ.get(name) for name in NAMED}
    return {name: Path(path) for name, path in found.items() if path}


def user_home() -> Path | None:
    """Return the user's home; ``None`` for one whom the system does not know, as in containers."""
    home = from_home("~")
    return home if home.is_absolute() else None


def user_base() -> dict[str, str]:
    """Return where a user's own packages lie, by the variable that says so."""
    given = os.environ.get("PYTHONUSERBASE")
    base = given or (site.getuserbase() if user_home() else None)
    return {"PYTHONUSERBASE": base} if base else {}


@dataclass(frozen=True)
class Caches:
    """What the shared caches held at some time."""

    listings: tuple[tuple[Path, Listing], ...]

    @classmethod
    def now(cls) -> "Caches":
        """Look at all of them."""
        return cls(tuple((path, _listing(path)) for path in shared_caches().values()))

    def notices(self) -> list[str]:
        """Say which have changed since: one side may have read what the other wrote."""
        return [
            f"the model cache {path} changed while the gate ran; what one side wrote there the "
            "other may have read, so run again"
            for path, before in self.listings
            if _listing(path) != before
        ]


def _listing(folder: Path) -> Listing:
    found = set()
    for name in _files(folder):
        try:
            facts = Path(name).stat()
        except OSError:
            continue
        found.add((name, facts.st_size, facts.st_mtime_ns))
        if len(found) >= MOST:
            break
    return frozenset(found)


def _files(folder: Path) -> Iterator[str]:
    for root, folders, names in os.walk(folder):
        folders[:] = [each for each in folders if each not in PASSING]
        yield from (f"{root}/{name}" for name in sorted(names))
