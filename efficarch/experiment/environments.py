"""An environment of its own for a side of a gate: built anew each time, and gone with the gate."""

import shlex
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from efficarch.errors import EfficarchError
from efficarch.experiment.builder import Builder, Workshop
from efficarch.experiment.dependencies import differing
from efficarch.experiment.project import compiled_parts, generated_file
from efficarch.experiment.worktree import SIDES, Arms, Tree, as_it_is

CHAIN = "import site; site.addsitedir({!r})\n"


def with_environments(
    arms: Arms,
    given: tuple[Path | None, Path | None],
    install: Sequence[str],
    workshop: Workshop,
    say: Callable[[str], None],
) -> Arms:
    """Give each side an environment of its own where it needs one.

    ``given`` are the Pythons that the user named for base and head, ``install`` the arguments of
    ``pip install``, a string per call, run in the side's project.

    Raises:
        EfficarchError: one is needed, and nothing says how to build it, or it cannot be built, or
            not in time.
    """
    others = differing(arms.base.project, arms.head.project)
    projects = [arms.of(side).project for side in SIDES]
    compiled = [found for each in projects if (found := compiled_parts(each))]
    if install:
        # without it the project may do without: many fall back
        compiled += [found for each in projects if (found := generated_file(each))]
    if None not in given or not (others or compiled):
        return arms
    why = f"{' and '.join(others)} differ between base and head: they may need different packages"
    if not others:
        why = f"this project has to be built ({compiled[0]}), and a checkout is not"
    if not install:
        # an environment alone has nothing that is not asked for
        example = '["-e .", "pytest pytest-benchmark"]' if others else '["--no-deps -e ."]'
        raise EfficarchError(
            f"{why}; give an environment for each side (--base-python, --head-python), or say how "
            f"to build one: install in the policy, a string a call of pip install, {example}"
        )
    say(f"{why}; building an environment for each side")

    def environment(side: str, python: Path | None) -> Tree:
        tree, folder = arms.of(side), workshop.folder / f"{side}-python"
        if python:
            return tree
        builder = Builder(side, workshop)
        return _built(tree, folder, install, builder, alone=bool(others))

    base, head = map(environment, SIDES, given)
    return Arms(base, head)


def _built(
    tree: Tree, folder: Path, install: Sequence[str], builder: Builder, *, alone: bool
) -> Tree:
    """Return a side with a Python into whose environment it was installed.

    An environment ``alone`` holds nothing else; any other sees what this process's Python has too,
    so that only the project itself has to be installed.
    """
    python = folder / "bin" / "python"
    builder.run([sys.executable, "-m", "venv", str(folder)], folder.parent)
    builder.use_cache_of(python)
    if not alone:
        # Python 3.11 brings an old one, which would stand before that of this process
        old = ["pip", "uninstall", "--quiet", "--yes", "setuptools"]
        builder.run([str(python), "-m", *old], folder.parent)
        packages = next((folder / "lib").glob("python*/site-packages"))
        chain = "".join(map(CHAIN.format, _own_packages()))
        (packages / "efficarch-gate.pth").write_text(chain, encoding="utf-8")
    for arguments in install:
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        builder.run([*pip, *shlex.split(arguments)], tree.project)
    return as_it_is(replace(tree, python=python, built=True))


def _own_packages() -> list[str]:
    paths = sysconfig.get_paths()
    return list(dict.fromkeys([paths["purelib"], paths["platlib"]]))
