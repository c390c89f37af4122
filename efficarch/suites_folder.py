"""Which folders or files of a project hold its benchmarks."""

import configparser
import os
import shlex
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import takewhile
from pathlib import Path
from typing import Any

from efficarch.errors import EfficarchError
from efficarch.files import content, resolved
from efficarch.tree_match import WILD, TreeMatch

PREFERRED = "suites"
USUAL = (("benchmarks", "benchmark", "bench"), ("tests", "test"))
TEST_FILES = ("test_*.py", "*_test.py")

_CONFIGURATIONS = (
    # the file, the tables that hold pytest's settings, whether it counts without them
    ("pytest.toml", (("pytest",),), True),
    (".pytest.toml", (("pytest",),), True),
    ("pytest.ini", (("pytest",),), True),
    (".pytest.ini", (("pytest",),), True),
    ("pyproject.toml", (("tool", "pytest"), ("tool", "pytest", "ini_options")), False),
    ("tox.ini", (("pytest",),), False),
    ("setup.cfg", (("tool:pytest",),), False),
)
"""In pytest's order: the first that counts is read, and no other."""


@dataclass(frozen=True)
class _Settings:
    """What a project tells pytest of where its tests are."""

    testpaths: tuple[str, ...] = ()
    python_files: tuple[str, ...] = TEST_FILES


def suites_in(folder: Path) -> tuple[str, ...]:
    """Return the folders or files of a project that hold its benchmarks, relative to it.

    ``suites`` if it holds test files, else those of pytest's ``testpaths`` that exist, else
    ``benchmarks``, ``benchmark`` and ``bench``, else ``tests`` and ``test``, of which those that
    hold test files. Nothing if there are none.

    Raises:
        EfficarchError: the file with pytest's settings cannot be read, names something outside the
            project, or has too much looked at.
    """
    settings, tree = _settings(folder), TreeMatch(folder)
    if _holds_tests(folder / PREFERRED, settings, tree):
        return (PREFERRED,)
    named = _existing(folder, settings.testpaths, tree)
    if named:
        return named
    held = [tuple(n for n in names if _holds_tests(folder / n, settings, tree)) for names in USUAL]
    return next(filter(None, held), ())


def _holds_tests(folder: Path, settings: _Settings, tree: TreeMatch) -> bool:
    patterns = {Path(pattern).name for pattern in settings.python_files}
    for file in folder.rglob("*.py") if folder.is_dir() else ():
        for pattern in patterns:
            tree.look()
            if fnmatch(file.name, pattern):
                return True
    return False


def _existing(folder: Path, patterns: Sequence[str], tree: TreeMatch) -> tuple[str, ...]:
    """Return what the patterns name inside the project, each once, in their order."""
    found: list[str] = []
    tops = [f"{top}/" for top in (folder.absolute(), resolved(folder))]
    for pattern in patterns:
        relative = pattern.removeprefix(next(filter(pattern.startswith, tops), ""))
        if _leads_out(relative):
            if os.path.lexists(folder / _fixed(relative)):
                raise _outside(pattern)
            continue
        # what a pattern names may lie elsewhere than it says
        names = [os.path.normpath(name) for name in tree.named(relative)]
        if any(map(_leads_out, names)):
            raise _outside(pattern)
        found += names
    return tuple(dict.fromkeys(found))


def _leads_out(pattern: str) -> bool:
    fixed = os.path.normpath(_fixed(pattern))
    return fixed.startswith("/") or fixed.split("/")[0] == ".."


def _fixed(pattern: str) -> str:
    """Return the part of a pattern before the first one with a wildcard."""
    parts = pattern.split("/")
    fixed = list(takewhile(lambda part: not WILD.search(part), parts))
    return "/".join(fixed if fixed == parts else [*fixed, ""])


def _outside(pattern: str) -> EfficarchError:
    return EfficarchError(
        f"testpaths names {pattern!r}, which lies outside the project and would not be measured; "
        "name a folder inside it with --suites"
    )


def _settings(folder: Path) -> _Settings:
    for name, tables, always in _CONFIGURATIONS:
        file = folder / name
        if not file.is_file():
            continue
        data = _read(file)
        found = [table for keys in tables if (table := _table(data, keys)) is not None]
        if found or always:
            merged = {key: value for table in found for key, value in table.items()}
            return _Settings(
                _words(merged.get("testpaths"), ()), _words(merged.get("python_files"), TEST_FILES)
            )
    return _Settings()


def _read(file: Path) -> dict[str, Any]:
    try:
        text = content(file).decode()
        if file.suffix == ".toml":
            return tomllib.loads(text)
        parser = configparser.RawConfigParser()
        parser.read_string(text)
        return {section: dict(parser[section]) for section in parser.sections()}
    except (OSError, ValueError, RecursionError, configparser.Error) as error:
        raise EfficarchError(f"{file}: {error}; mend it, pytest cannot read it either") from error


def _table(data: dict[str, Any], keys: Sequence[str]) -> dict[str, Any] | None:
    found: Any = data
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else None


def _words(value: Any, default: tuple[str, ...]) -> tuple[str, ...]:
    if isinstance(value, str):
        try:
            value = shlex.split(value)
        except ValueError:  # a quote without its other half
            value = value.split()
    words = value if isinstance(value, list) else []
    return tuple(word for word in words if isinstance(word, str)) or default
