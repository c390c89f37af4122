"""How a process of a side is started: its command and the surroundings it sees as its own."""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from efficarch.experiment import agent
from efficarch.experiment.git import outside_variables
from efficarch.experiment.project import distribution_name, import_folders, project_folder
from efficarch.experiment.shared_caches import shared_caches, user_base
from efficarch.experiment.worktree import SIDES, Arms
from efficarch.files import resolved
from efficarch.process_plan import VARIABLE as PLAN
from efficarch.store import write_text
from efficarch.turns import VARIABLE as TURNS

AGENT = "efficarch_gate_agent"
"""What the agent's package is called on the path of a side."""

STEADY_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TOP_PAD_": str(2**26),
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
"""For glibc: keep freed memory instead of returning it, and ask for huge pages. Otherwise the same
process is faster or slower by where its memory came to lie (docs/measuring.md)."""

DROPPED = (
    "COVERAGE_PROCESS_CONFIG",
    "COVERAGE_PROCESS_START",
    "PYTEST_ADDOPTS",
    "PYTEST_XDIST_WORKER",
    "PYTHONPYCACHEPREFIX",
    "PYTHONSAFEPATH",
)
"""Variables that would select, redirect or trace what is measured."""

OWN_CACHES = (
    "CUDA_CACHE_PATH",
    "MPLCONFIGDIR",
    "NUMBA_CACHE_DIR",
    "TORCHINDUCTOR_CACHE_DIR",
    "TORCH_EXTENSIONS_DIR",
    "TRITON_CACHE_DIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
)
"""Folders into which measured code may write; those that are named are replaced by the side's."""


@dataclass(frozen=True)
class Files:
    """What a process writes and reads, beside the run file it becomes."""

    target: Path
    control: Path
    """A folder for what is needed only while it runs."""

    @property
    def partial(self) -> Path:
        """The run file while it is not complete."""
        return self.target.with_suffix(".partial")

    @property
    def log(self) -> Path:
        """What the process says."""
        return self.target.with_suffix(".log")

    @property
    def record(self) -> Path:
        """What the agent says of it."""
        return self.target.with_suffix(".record.json")

    @property
    def lasting(self) -> tuple[Path, ...]:
        """All that lies, for a while or for good, where the user looks."""
        record = self.record.with_name(f"{self.record.name}.partial")
        return (self.target, self.partial, self.log, self.record, record)

    @property
    def plan(self) -> Path:
        """What it is to measure."""
        return self.control / f"{self.target.stem}.plan"

    @property
    def told(self) -> Path:
        """What the agent is told."""
        return self.control / f"{self.target.stem}.told"

    @property
    def heard(self) -> Path:
        """What processes hear that are forked from it."""
        return self.control / f"{self.target.stem}.heard"

    @property
    def collected(self) -> Path:
        """What the agent says before anything runs."""
        return self.control / f"{self.target.stem}.collected"


@dataclass(frozen=True)
class Side:
    """One side of an experiment, ready to be started; ``name`` is base or head."""

    name: str
    arms: Arms
    workspace: Path
    """The gate's temporary folder."""
    checkouts: tuple[Path, ...]
    """The user's, whose code must not be measured by mistake; the first is the gate's."""
    projects: tuple[tuple[str, str | None], ...]
    """Those that the gate is about: their folders in the repository, and what they are called."""

    def command(self, files: Files, arguments: Sequence[str]) -> list[str]:
        """Return the command of a measured process; ``arguments`` are further ones of pytest."""
        tree = self.arms.of(self.name)
        return [
            str(tree.python),
            # the path is exactly what the variables say
            "-P",
            "-m",
            "pytest",
            "-p",
            AGENT,
            f"--rootdir={tree.project}",
            "-o",
            f"cache_dir={files.control / f'{files.target.stem}-cache'}",
            "--color=no",
            "--benchmark-quiet",
            f"--benchmark-json={files.partial}",
            *arguments,
        ]

    def variables(self, files: Files, turns: int) -> dict[str, str]:
        """Return all variables of a measured process."""
        kept = {name: v for name, v in outside_variables().items() if name not in DROPPED}
        return {
            **STEADY_MEMORY,
            **{name: self._own_paths(value) for name, value in kept.items()},
            **self._home(kept),
            "PYTHONPATH": os.pathsep.join(self._python_path(kept.get("PYTHONPATH", ""))),
            "PYTHONDONTWRITEBYTECODE": "1",
            PLAN: str(files.plan),
            TURNS: str(turns),
            agent.VARIABLE: str(files.told),
        }

    def tell(
        self, files: Files, cells: Sequence[str] | None, options: Sequence[str], *, cuda: bool
    ) -> None:
        """Write what the agent needs to know.

        ``cells`` are regular expressions of the ordinary benchmarks wanted, ``options`` those of
        efficarch's plugin, for a side that has it, ``cuda`` whether CUDA is promised.
        """
        tree, other = self.arms.of(self.name), self.arms.of(_other(self.name))
        home = self.workspace / f"{self.name}-home"
        own = [tree.path, self.workspace / "agent", self.workspace / f"{self.name}-python", home]
        others = {
            str(other.path): f"the tree of the {_other(self.name)}",
            **{str(path): "the checkout" for path in self.checkouts},
        }
        if self._has_own_python():
            own.append(_prefix(tree.python))
        facts = {
            "cells": None if cells is None else list(cells),
            "options": list(options),
            "cuda": cuda,
            "record": str(files.record),
            "collected": str(files.collected),
            "own": [str(resolved(path)) for path in own],
            "others": {str(resolved(Path(path))): whose for path, whose in others.items()},
            "heard": str(files.heard),
            "project": [name for _folder, name in self.projects if name is not None],
            "projects": [
                str(checkout / folder)
                for checkout in self.checkouts
                for folder, _name in self.projects
            ],
            "results": [str(resolved(path)) for path in self._results(files)],
            "built": tree.built or self._has_own_python(),
        }
        write_text(files.told, json.dumps(facts))

    def _results(self, files: Files) -> list[Path]:
        """Return where a process writes for the gate, and what of the user's it may fill."""
        return [files.target.parent, files.control, *shared_caches().values()]

    def _has_own_python(self) -> bool:
        """Whether each side was given an environment, into which the user installed it."""
        base, head = self.arms.base.python, self.arms.head.python
        return not self.arms.of(self.name).built and _prefix(base) != _prefix(head)

    def _python_path(self, given: str) -> list[str]:
        """Return the path for modules: the agent, this side's code, and what the user named.

        What the user named of the checkout is meant to be this side's.
        """
        tree = self.arms.of(self.name)
        found = [self.workspace / "agent"]
        if not tree.built:
            found += import_folders(tree.project)
        for each in filter(None, given.split(os.pathsep)):
            found.append(self._in_tree(Path(each)) or resolved(Path(each)))
        return [str(path) for path in found]

    def _own_paths(self, value: str) -> str:
        """Return a variable in which what the checkout and this side both have is this side's."""
        parts = value.split(os.pathsep)
        if not all(re.match(r"/(?!/)|$", part) for part in parts):
            # an address, say, which has colons and slashes too
            return value
        for place, part in enumerate(parts):
            inside = self._in_tree(Path(part)) if part else None
            if inside is not None and self._has_all_of(Path(part), inside):
                parts[place] = str(inside)
        return os.pathsep.join(parts)

    def _has_all_of(self, path: Path, inside: Path) -> bool:
        """Whether a path of this side's tree stands for one of the checkout.

        The whole project does. Another folder may hold what git ignores, data above all.
        """
        tree = self.arms.of(self.name)
        if not path.is_dir() or inside in (tree.path, tree.project):
            return inside.exists()
        for folder, folders, names in os.walk(path):
            folders[:] = [each for each in folders if each != "__pycache__"]
            here = inside / Path(folder).relative_to(path)
            if not all((here / each).exists() for each in (*folders, *names)):
                return False
        return inside.is_dir()

    def _in_tree(self, path: Path) -> Path | None:
        """Return where a path of the checkout is in this side's tree, if it is one of it."""
        whole = resolved(path)
        homes = [each for each in self.checkouts if whole.is_relative_to(each)]
        if not homes:
            return None
        # a working tree may lie inside another
        home = max(homes, key=lambda each: len(each.parts))
        return self.arms.of(self.name).path / whole.relative_to(home)

    def _home(self, kept: Mapping[str, str]) -> dict[str, str]:
        """Make the side's own home, and say where it and the shared caches are."""
        home = self.workspace / f"{self.name}-home"
        temporary = home / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        own = {name: str(home / ".own" / name.lower()) for name in OWN_CACHES if name in kept}
        for folder in own.values():
            Path(folder).mkdir(parents=True, exist_ok=True)
        # installed for the user, found below their home
        installed = user_base()
        shared = {name: str(path) for name, path in shared_caches().items()}
        return {"HOME": str(home), "TMPDIR": str(temporary), **installed, **shared, **own}


def gated_projects(arms: Arms, changed: Iterable[str]) -> tuple[tuple[str, str | None], ...]:
    """Return folder and name of the gated project and of all others with a changed file."""
    found = []
    for tree in (arms.of(side) for side in SIDES):
        folders = {project_folder(tree.path, (tree.path / name).parent) for name in changed}
        for each in (tree.project, *sorted(folders)):
            found.append((str(each.relative_to(tree.path)), distribution_name(each)))
    return tuple(dict.fromkeys(found))


def furnish(workspace: Path) -> None:
    """Put into the workspace what both sides use, the agent above all."""
    (workspace / "control").mkdir()
    # a project without settings of its own would have those of a folder above, whoever's they are
    (workspace / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    target = workspace / "agent" / AGENT
    target.mkdir(parents=True)
    for source in files(agent).iterdir():
        if source.name.endswith(".py"):
            (target / source.name).write_text(source.read_text("utf-8"), encoding="utf-8")


def _other(side: str) -> str:
    return "head" if side == "base" else "base"


def _prefix(python: Path) -> Path:
    """Return the folder of an interpreter's environment: a virtual one has its own."""
    return python.absolute().parent.parent
