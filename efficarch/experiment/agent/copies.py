"""Copies of the gated project that lie in neither side's tree: installed ones, other clones."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from .places import real, within

Found = Iterator[tuple[str, Path, str]]
"""What it is called, its file, and whose it is."""


class Copies:
    """What is installed of the project in this Python."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        installed = list(distributions())
        found = [each for each in installed if _is_project(each, told)]
        self._built = bool(told["built"])
        self._files = {path for each in found for path in _files(each)}
        self._local = {path for each in installed if _origin(each) for path in _files(each)}
        self.place = None if self._built or not found else _place(found[0])
        """Where a process finds a copy that is neither side's."""

    def loaded(self, loaded: Mapping[str, Path], own: Sequence[Path]) -> Found:
        """Yield modules of the project that were installed once, for whichever side."""
        if self._built:
            # here it is the other way round: what was built has to be what runs
            yield from self._unbuilt(loaded, own)
            return
        for name, path in loaded.items():
            # what an editable installation puts there only leads to the code
            if path in self._files and not within(path, own) and "editable" not in path.name:
                yield name, path, "a copy that was installed once, for neither side"

    def _unbuilt(self, loaded: Mapping[str, Path], own: Sequence[Path]) -> Found:
        """Yield packages of which compiled parts were installed while the tree's source ran."""
        compiled = [path for path in self._files if path.suffix in (".so", ".pyd")]
        for package in {path.parent for path in compiled}:
            name = package.name
            path = loaded.get(name)
            if path is not None and path.parent != package and within(path, own):
                yield name, path, f"without its compiled parts, which are in {package}"

    def may_be(self, path: Path) -> bool:
        """Whether a file could be of a copy of the project: no package index brought it."""
        installed = {"site-packages", "dist-packages"} & set(path.parts)
        return not installed or path in self._local


def twins(
    loaded: Mapping[str, Path], own: Sequence[Path], copies: Copies, folders: Sequence[str]
) -> Found:
    """Yield packages from elsewhere of which the tree has most modules too, in some folder.

    Other clones, and layouts that the project does not tell. What stands inside a package of the
    tree is a part of that, vendored, and no package of its own. A single module says little: many
    trees have a ``common``; there it has to be in one of the ``folders`` that modules come from.
    """
    packages: dict[str, dict[str, Path]] = {}
    for name, path in loaded.items():
        top = name.partition(".")[0]
        if "/" in name or top in sys.stdlib_module_names or within(path, own):
            continue
        if copies.may_be(path):
            packages.setdefault(top, {})[_relative(name, path)] = path
    for top, folder in _homes(own[0], packages):
        files = packages[top]
        there = [each for each in files if (own[0] / folder / each).is_file()]
        telling = len(there) > 1 or os.path.realpath(own[0] / folder) in folders
        if telling and 2 * len(there) > len(files):
            yield top, next(iter(files.values())), f"not the tree's, which is in {folder}"


def _relative(name: str, path: Path) -> str:
    """Return the file of a module, relative to the folder that its package is imported from."""
    stem = name.replace(".", "/")
    return f"{stem}/{path.name}" if path.name.startswith("__init__.") else f"{stem}{path.suffix}"


def _homes(tree: Path, packages: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield packages with the folders of a tree that hold one of that name."""
    wanted = set(packages)
    for where, folders, files in os.walk(tree) if wanted else ():
        folders[:] = [each for each in folders if not each.startswith(".")]
        if "__init__.py" in files and Path(where) != tree:
            folders.clear()
            continue
        here = Path(where).relative_to(tree).as_posix()
        names = {*folders, *(Path(each).stem for each in files if each.endswith(".py"))}
        yield from ((name, here) for name in sorted(wanted & names))


def _is_project(distribution: Distribution, told: Mapping[str, Any]) -> bool:
    if _plain(distribution.metadata["Name"] or "") in {_plain(each) for each in told["project"]}:
        return True
    # one without a name that can be read, by its folder in a checkout
    return str(_origin(distribution)) in told["projects"]


def _origin(distribution: Distribution) -> Path | None:
    """Return the folder or archive that a distribution was installed from, if it was one."""
    origin = distribution.read_text("direct_url.json")
    try:
        url = urlsplit(json.loads(origin or "{}").get("url", ""))
    except (ValueError, AttributeError):
        return None
    return Path(unquote(url.path)) if url.scheme == "file" else None


def _place(distribution: Distribution) -> Path:
    return _origin(distribution) or Path(str(distribution.locate_file("")))


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")


def _files(distribution: Distribution) -> Iterator[Path]:
    for file in distribution.files or ():
        if file.suffix in (".py", ".so", ".pyd"):
            yield real(str(distribution.locate_file(file)))
