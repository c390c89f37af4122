"""What patterns of paths name below a folder, found by walks of it that come to an end.

Python's own ``glob`` goes through a tree once for each way to read ``**/**``, and through every
path that links back into it make. The patterns may be those of a commit under judgement.
"""

import os
import re
from collections.abc import Callable, Iterator
from fnmatch import translate
from pathlib import Path

from efficarch.errors import EfficarchError

MOST = 300_000
"""How many entries of folders are looked at for all patterns together, and files for names."""

WILD = re.compile(r"[*?\[]")
"""What makes a part of a path a pattern."""


class TreeMatch:
    """Looks below one folder, and not at more than ``MOST`` things there."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._looked = 0
        self._identities: dict[str, tuple[int, int]] = {}

    def look(self) -> None:
        """Count one thing that is looked at.

        Raises:
            EfficarchError: it is one too many.
        """
        self._looked += 1
        if self._looked > MOST:
            raise EfficarchError(
                f"pytest's settings (testpaths, python_files) have more than {MOST:,} files and "
                f"folders in {self._folder} looked at; name the folder of the benchmarks with "
                "--suites"
            )

    def named(self, pattern: str) -> list[str]:
        """Return what a relative pattern names, in the order and by the rules of ``glob``.

        ``**`` is any number of folders, and no wildcard names what begins with a dot. A link to a
        folder that it lies in is not followed by ``**``.

        Raises:
            EfficarchError: too much would have to be looked at.
        """
        end = "/" if pattern.endswith("/") else ""
        parts = [part for part in pattern.split("/") if part not in ("", ".")]
        found: set[str] = set()
        states, seen = [("", 0)], set()
        while states:
            state = states.pop()
            if state in seen:
                continue
            seen.add(state)
            self.look()
            path, place = state
            if place < len(parts):
                last = place == len(parts) - 1 and not end
                states += self._next(path, parts[place], place, last=last)
            elif not path:
                # the folder itself is no match of "**"
                found |= set() if pattern.startswith("**") else {"."}
            elif not end or os.path.isdir(self._full(path)):  # noqa: PTH112
                found.add(path + end)
        return sorted(found)

    def _next(self, path: str, part: str, place: int, *, last: bool) -> Iterator[tuple[str, int]]:
        """Return what one part of a pattern leads to, with the place of the part that follows."""
        if part == "**":
            yield path, place + 1
            for name, is_folder in self._entries(path):
                if name.startswith("."):
                    continue
                below = _joined(path, name)
                if is_folder and not self._leads_up(path, below):
                    yield below, place
                elif last:
                    yield below, place + 1
        elif WILD.search(part):
            fits: Callable[[str], object] = re.compile(translate(part)).match
            for name, is_folder in self._entries(path):
                if (is_folder or last) and fits(name) and (name[0] != "." or part[0] == "."):
                    yield _joined(path, name), place + 1
        elif os.path.lexists(self._full(_joined(path, part))):
            yield _joined(path, part), place + 1

    def _entries(self, path: str) -> Iterator[tuple[str, bool]]:
        """Return the names in a folder, and whether each is one too; nothing of what is none."""
        try:
            with os.scandir(self._full(path)) as entries:
                for entry in entries:
                    self.look()
                    yield entry.name, _is_folder(entry)
        except OSError:
            return

    def _leads_up(self, path: str, below: str) -> bool:
        """Whether an entry of a folder is a link to one that it lies in, by whatever way."""
        if not os.path.islink(self._full(below)):  # noqa: PTH114
            return False
        try:
            here = self._identity(below)
        except OSError:  # gone meanwhile
            return True
        while path and here != self._identity(path):
            path = path.rpartition("/")[0]
        return here == self._identity(path)

    def _identity(self, path: str) -> tuple[int, int]:
        """Return what tells a folder from others, whatever path leads to it."""
        if path not in self._identities:
            found = os.stat(self._full(path))  # noqa: PTH116
            self._identities[path] = (found.st_dev, found.st_ino)
        return self._identities[path]

    def _full(self, path: str) -> str:
        return f"{self._folder}/{path}"


def _joined(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False
