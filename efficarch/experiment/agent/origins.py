"""Where the code of a process came from, and what of it belongs to somebody else."""

import json
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.machinery import PathFinder
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

INSTALLED = ("site-packages", "dist-packages")
MAPS = Path("/proc/self/maps")


def origins(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return code that is not this side's own, and which modules came from its tree.

    ``told`` names the folders of this side (``own``, its tree first), those of others with whose
    they are (``others``), the distributions of the gated project (``project``), and whether this
    Python is of an environment that was built for this side (``built``).
    """
    own = [Path(each) for each in told["own"]]
    loaded = dict(_loaded())
    strangers = list(_strangers(loaded, own, told["others"]))
    copies = list(_copies(loaded, own, told))
    return {
        "foreign": [
            {"module": name, "file": str(path), "whose": whose}
            for name, path, whose in (*strangers, *copies)
        ],
        "replaced": sorted(
            name for name, path in loaded.items() if _within(path, own[:1]) and _is_known(name)
        ),
    }


def _is_known(name: str) -> bool:
    """Whether Python or an installed package has a module of this name too."""
    if not name.isidentifier():
        return False
    if name in sys.stdlib_module_names:
        return True
    paths = sysconfig.get_paths()
    return PathFinder.find_spec(name, [paths["purelib"], paths["platlib"]]) is not None


def _loaded() -> Iterator[tuple[str, Path]]:
    """Yield modules and the files they came from; of libraries that no import names, the file."""
    files = set()
    for name, module in list(sys.modules.items()):
        found = getattr(module, "__file__", None)
        if isinstance(found, str):
            files.add(found)
            yield name, Path(found).resolve()
    for path in _mapped():
        if path not in files:
            yield path, Path(path).resolve()


def _mapped() -> set[str]:
    """Return the libraries that are mapped into memory, where the system tells."""
    try:
        lines = MAPS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return set()
    paths = {line.split(maxsplit=5)[5] for line in lines if line.count("/") and ".so" in line}
    return {path for path in paths if path.startswith("/")}


def _strangers(
    loaded: Mapping[str, Path], own: Sequence[Path], others: Mapping[str, str]
) -> Iterator[tuple[str, Path, str]]:
    """Yield modules below a folder that belongs to somebody else, installed packages aside."""
    prefixes = [Path(each).resolve() for each in {sys.prefix, sys.base_prefix}]
    prefixes += [Path(each).resolve() for each in sysconfig.get_paths().values()]
    for name, path in loaded.items():
        for folder, whose in others.items():
            if not path.is_relative_to(folder) or _within(path, own):
                continue
            below = path.relative_to(folder).parts
            inside = [each for each in prefixes if each.is_relative_to(folder)]
            if not set(INSTALLED) & set(below) and not _within(path, inside):
                yield name, path, whose


def _copies(
    loaded: Mapping[str, Path], own: Sequence[Path], told: Mapping[str, Any]
) -> Iterator[tuple[str, Path, str]]:
    """Yield modules of the gated project that were installed once, for whichever side."""
    found = [each for each in distributions() if _is_project(each, told)]
    installed = {path for each in found for path in _files(each)}
    if told["built"]:
        # here it is the other way round: what was built has to be what runs
        yield from _unbuilt(loaded, own, installed)
        return
    for name, path in loaded.items():
        # what an editable installation puts there only leads to the code
        if path in installed and not _within(path, own) and "editable" not in path.name:
            yield name, path, "a copy that was installed once, for neither side"


def _unbuilt(
    loaded: Mapping[str, Path], own: Sequence[Path], installed: Iterable[Path]
) -> Iterator[tuple[str, Path, str]]:
    """Yield packages of which compiled parts were installed while the tree's source ran."""
    compiled = [path for path in installed if path.suffix in (".so", ".pyd")]
    for package in {path.parent for path in compiled}:
        name = package.name
        path = loaded.get(name)
        if path is not None and path.parent != package and _within(path, own):
            yield name, path, f"without its compiled parts, which are in {package}"


def _is_project(distribution: Distribution, told: Mapping[str, Any]) -> bool:
    if _plain(distribution.metadata["Name"] or "") in {_plain(each) for each in told["project"]}:
        return True
    origin = distribution.read_text("direct_url.json")
    try:
        url = urlsplit(json.loads(origin or "{}").get("url", ""))
    except (ValueError, AttributeError):
        return False
    return url.scheme == "file" and _within(Path(unquote(url.path)), map(Path, told["others"]))


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")


def _files(distribution: Distribution) -> Iterator[Path]:
    for file in distribution.files or ():
        if file.suffix in (".py", ".so", ".pyd"):
            yield Path(str(distribution.locate_file(file))).resolve()


def _within(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)
