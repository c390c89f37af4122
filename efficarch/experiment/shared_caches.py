"""Caches of downloaded models: both sides read the user's, and what one wrote there is said."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

VARIABLES = {"HF_HOME": "huggingface", "TORCH_HOME": "torch"}
"""Folders of downloaded models by the variable that names them, and where below the user's cache
they lie otherwise: too large for a side to have its own."""

PASSING = (".locks", "logs", "xet")
"""Folders in them that say nothing of a model."""

MOST = 100_000
"""How many files are looked at."""

Listing = frozenset[tuple[str, int, int]]


def shared_caches() -> dict[str, Path]:
    """Return where downloaded models lie, by the variable that says so."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return {name: Path(os.environ.get(name) or cache / f) for name, f in VARIABLES.items()}


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
