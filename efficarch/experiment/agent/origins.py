"""Where the code of a process came from, and what of it belongs to somebody else."""

import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from .copies import Copies, Found, twins
from .places import real, within
from .watch import Watch

INSTALLED = ("site-packages", "dist-packages")
MAPS = Path("/proc/self/maps")


def origins(told: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
    """Return code that is not this side's own, and which modules came from its tree.

    ``told`` names the folders of this side (``own``, its tree first), those of others with whose
    they are (``others``), those where it writes besides (``results``), the distributions of the
    gated project (``project``), and whether this Python is of an environment that was built for
    this side (``built``).
    """
    own = [Path(each) for each in told["own"]]
    others = Others(own, told["others"])
    loaded = dict(_loaded(watch.executed))
    copies = Copies(told)
    found = [
        *others.modules(loaded),
        *copies.loaded(loaded, own),
        *others.files(watch.read, set(loaded.values())),
        *_children(watch, others, copies),
    ]
    named = {path for _name, path, _whose in found}
    found += [each for each in twins(loaded, own, copies, watch.folders) if each[1] not in named]
    return {
        "foreign": [
            {"module": name, "file": str(path), "whose": whose} for name, path, whose in found
        ],
        "replaced": sorted(
            name for name, path in loaded.items() if within(path, own[:1]) and _is_known(name)
        ),
        "shared": sorted(_shared(watch.written, [*own, *map(Path, told["results"])])),
    }


class Others:
    """The folders of somebody else, installed packages in them aside."""

    def __init__(self, own: Sequence[Path], others: Mapping[str, str]) -> None:
        self._own = own
        self._others = {Path(folder): whose for folder, whose in others.items()}
        prefixes = [sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()]
        self._prefixes = [real(each) for each in dict.fromkeys(prefixes)]

    def of(self, path: Path) -> tuple[Path, str] | None:
        """Return whose folder a path lies in, and which; ``None`` if nobody's."""
        for folder, whose in self._others.items():
            if not path.is_relative_to(folder) or within(path, self._own):
                continue
            inside = [each for each in self._prefixes if each.is_relative_to(folder)]
            below = path.relative_to(folder).parts
            if not set(INSTALLED) & set(below) and not within(path, inside):
                return folder, whose
        return None

    def modules(self, loaded: Mapping[str, Path]) -> Found:
        """Yield modules and libraries of others."""
        for name, path in loaded.items():
            found = self.of(path)
            if found is not None:
                yield name, path, found[1]

    def files(self, read: Iterable[str], known: set[Path]) -> Found:
        """Yield files of others that were read in place of this side's own.

        What the tree itself lacks (data that git ignores, say) is for both sides the same.
        """
        for path in {real(each) for each in read} - known:
            found = self.of(path)
            if found is None or path.suffix == ".pyc":
                continue
            name = path.relative_to(found[0])
            described = any(part.endswith(".egg-info") for part in name.parts)
            if (self._own[0] / name).is_file() and not described:
                yield str(name), path, found[1]


def _children(watch: Watch, others: Others, copies: Copies) -> Found:
    """Yield programs of others, and Pythons that find other code than this process."""
    for child in sorted(watch.children):
        program = real(child.program)
        whose = others.of(program)
        folder = others.of(real(child.folder))
        if whose is not None:
            yield child.command, program, whose[1]
        elif folder is not None:
            yield child.command, Path(child.folder), f"started in {folder[1]}"
        elif not child.sees_path and copies.place is not None:
            yield child.command, copies.place, "a process that does not see this side's path"


def _shared(written: Iterable[str], own: Sequence[Path]) -> Iterator[str]:
    """Yield files that this process left where the other side finds them too."""
    devices = [Path("/dev"), Path("/proc"), Path("/sys")]
    for each in written:
        path = real(each)
        device = within(path, devices) and not path.is_relative_to("/dev/shm")
        if path.is_file() and not device and not within(path, own):
            yield str(path)


def _is_known(name: str) -> bool:
    """Whether Python or an installed package has a module of this name too."""
    if not name.isidentifier():
        return False
    if name in sys.stdlib_module_names:
        return True
    paths = sysconfig.get_paths()
    return PathFinder.find_spec(name, [paths["purelib"], paths["platlib"]]) is not None


def _loaded(executed: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Yield modules and the files they came from; of code that no module names, the file."""
    files = set()
    for name, module in list(sys.modules.items()):
        found = getattr(module, "__file__", None)
        if isinstance(found, str):
            files.add(found)
            yield name, real(found)
    for path in {*executed, *_mapped()}:
        if path.startswith("/") and path not in files:
            yield path, real(path)


def _mapped() -> set[str]:
    """Return the libraries that are mapped into memory, where the system tells."""
    try:
        lines = MAPS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return set()
    paths = {line.split(maxsplit=5)[5] for line in lines if line.count("/") and ".so" in line}
    return {path for path in paths if path.startswith("/")}
