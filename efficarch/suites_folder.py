"""Which folders or files of a project hold its benchmarks."""

import configparser
import shlex
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from glob import glob
from pathlib import Path
from typing import Any

from efficarch.errors import EfficarchError
from efficarch.files import content

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
        EfficarchError: the file with pytest's settings cannot be read.
    """
    settings = _settings(folder)
    if _holds_tests(folder / PREFERRED, settings):
        return (PREFERRED,)
    named = _existing(folder, settings.testpaths)
    if named:
        return named
    held = [tuple(n for n in names if _holds_tests(folder / n, settings)) for names in USUAL]
    return next(filter(None, held), ())


def _holds_tests(folder: Path, settings: _Settings) -> bool:
    patterns = [Path(pattern).name for pattern in settings.python_files]
    files = folder.rglob("*.py") if folder.is_dir() else ()
    return any(fnmatch(file.name, pattern) for file in files for pattern in patterns)


def _existing(folder: Path, patterns: Sequence[str]) -> tuple[str, ...]:
    """Return what the patterns name inside the project, each once, in their order."""
    # pytest's own function; Path.glob refuses "." and what is absolute
    found = [
        Path(name)
        for pattern in patterns
        for name in sorted(glob(pattern, root_dir=folder, recursive=True))  # noqa: PTH207
    ]
    inside = [name for name in found if not name.is_absolute() and ".." not in name.parts]
    return tuple(dict.fromkeys(name.as_posix() for name in inside))


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
