"""Which files of a side's tree decide what is measured and how, besides its suites."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .places import real
from .selection import TIMED_BY, timer_of


def judges(config: pytest.Config, items: Iterable[pytest.Item], tree: Path) -> list[str]:
    """Return the files, relative to the tree: pytest's plugins and settings, timers, fixtures.

    Settings in the project's own folder are left out: the gate compares what they say to pytest.
    """
    found = {real(each) for each in _files(config, items) if each}
    if config.inipath is not None and config.inipath.parent != config.rootpath:
        found.add(real(config.inipath))
    return sorted(path.relative_to(tree).as_posix() for path in found if path.is_relative_to(tree))


def _files(config: pytest.Config, items: Iterable[pytest.Item]) -> Iterator[str | None]:
    for plugin in config.pluginmanager.get_plugins():
        yield getattr(plugin, "__file__", None) or _file_of(type(plugin))
    for item in items:
        yield _file_of(timer_of(item))
        info = getattr(item, "_fixtureinfo", None)
        for name in TIMED_BY:
            for definition in info.name2fixturedefs.get(name, ()) if info else ():
                yield _file_of(definition.func)


def _file_of(thing: Any) -> str | None:
    module = sys.modules.get(getattr(thing, "__module__", None) or type(thing).__module__)
    return getattr(module, "__file__", None)
