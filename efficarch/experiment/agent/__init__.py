"""The gate's own pytest plugin in every process it measures.

The gate puts a copy of this package on the path of both sides. It needs pytest and nothing else, so
that both are watched by the same code, whichever efficarch a side has, or none: which tests ran and
how they ended, where their code came from, what timed them. Ordinary benchmarks also have their
turns from here; those of efficarch's fixture take their own.
"""

import json
import os
import sys
from collections.abc import Generator, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from .judges import judges
from .lockstep import Lockstep
from .origins import origins
from .outcomes import Outcomes
from .selection import Selection, facts_of, is_cell, is_unnamed, name_of, settings_of
from .watch import Watch

VARIABLE = "EFFICARCH_GATE_AGENT"
"""Names the file that says what to do; a process started by a measured one must not see it."""

LOCKSTEP = "EFFICARCH_GATE_TURNS"
PLAN = "EFFICARCH_GATE_PLAN"

SWITCHED_OFF = ("randomly", "random_order", "reverse", "xdist", "xdist.looponfail")
"""Plugins that reorder, reseed or distribute: both sides have to run alike, one test at a time."""
ALSO_SWITCHED_OFF = ("timeout", "rerunfailures", "flaky")
"""Those that end a test while it waits for its turn, or run it twice."""

MOST_ROUNDS = 10_000
"""Of an ordinary benchmark that its file holds; the gate reads the median."""

IN_EFFECT: dict[str, Any] = {
    "benchmark_disable": False,
    "benchmark_skip": False,
    "benchmark_compare": None,
    "benchmark_compare_fail": [],
    "benchmark_autosave": False,
    "benchmark_save": None,
    "dist": "no",
    "failedfirst": False,
    "lf": False,
    "maxfail": 0,
    "newfirst": False,
    "numprocesses": None,
    "stepwise": False,
}
"""Options of the project's own configuration that would keep a gate from measuring."""


class Agent:
    """What it was told and what it has seen."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.told = told
        self.outcomes = Outcomes()
        self.facts: dict[str, Any] = {}
        self.names: dict[str, str] = {}
        """Of the cells by the id of their test."""
        self.watch = Watch(Path(told["own"][0]), Path(told["heard"]))
        self.lockstep = Lockstep.inherited(os.environ.get(LOCKSTEP))

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Make the project's configuration measure, whatever it does in other runs."""
        for name, value in IN_EFFECT.items():
            if hasattr(config.option, name):
                setattr(config.option, name, value)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> Generator[None, object, object]:
        """Leave what is not measured out, and say what was collected before anything runs."""
        collected = list(items)
        outcome = yield
        selection = Selection(collected, items, self.told["cells"])
        items[:] = selection.kept
        config.hook.pytest_deselected(items=selection.left_out)
        self.names = {i.nodeid: name_of(i) for i in selection.kept if not is_unnamed(i)}
        self.facts = {
            "collected": [name_of(item) for item in selection.benchmarks],
            "unnamed": sum(map(is_unnamed, selection.benchmarks)),
            "not_benchmarks": selection.not_benchmarks,
            "cells": {
                name_of(item): facts_of(item) for item in selection.kept if not is_unnamed(item)
            },
            "judges": judges(config, selection.kept, Path(self.told["own"][0])),
            "errors": self.outcomes.errors,
            "cuda": self._sees_cuda(),
        }
        write(Path(self.told["collected"]), {"order": selection.order, **self.facts})
        return outcome

    def pytest_collection_finish(self) -> None:
        """Keep what a test starts from taking itself for a process of the gate."""
        for name in (VARIABLE, LOCKSTEP, PLAN):
            os.environ.pop(name, None)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Wait until this process may prepare an ordinary benchmark."""
        if self.lockstep is not None and not is_cell(item):
            self.lockstep.enter(item.nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Let an ordinary benchmark run while the other side stands by."""
        if self.lockstep is None or is_cell(item):
            return (yield)
        with self.lockstep.turn(item.nodeid):
            return (yield)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note what cannot be loaded, which the project's options may pass over."""
        self.outcomes.note_collection(report)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(
        self, report: pytest.TestReport
    ) -> Generator[None, object, object]:
        """Note how a test or a part of it ended, as all plugins left the report."""
        outcome = yield
        # an efficarch that does not say what its cells are called tells in its own file
        name = self.names.get(report.nodeid)
        if name is not None:
            self.outcomes.note(name, report)
        return outcome

    @pytest.hookimpl(optionalhook=True, trylast=True)
    def pytest_benchmark_update_json(self, output_json: dict[str, Any]) -> None:
        """Leave the rounds of quick benchmarks out, of which there are millions."""
        for each in output_json["benchmarks"]:
            if len(each["stats"].get("data", ())) > MOST_ROUNDS:
                del each["stats"]["data"]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Write the record, after everybody else has finished."""
        outcome = yield
        self.watch.gather()
        write(
            Path(self.told["record"]),
            {
                "format": 1,
                "tests": self.outcomes.tests,
                **self.facts,
                # a test may be the first to import torch
                "cuda": self._sees_cuda(),
                "settings": settings_of(session.config),
                "plugins": _plugins(session.config),
                **origins(self.told, self.watch),
            },
        )
        return outcome

    def _sees_cuda(self) -> bool | None:
        """Whether torch sees a CUDA device, if somebody asks and somebody imported it."""
        cuda = getattr(sys.modules.get("torch"), "cuda", None) if self.told["cuda"] else None
        return None if cuda is None else bool(cuda.is_available())


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, args: list[str]
) -> Generator[None, object, object]:
    """Begin the work; plugins that would spoil it lose their hooks and keep their options."""
    manager = early_config.pluginmanager
    path = os.environ.get(VARIABLE)
    told: dict[str, Any] = json.loads(Path(path).read_text("utf-8")) if path else {}
    if not manager.has_plugin("benchmark") and find_spec("pytest_benchmark") is not None:
        # by its entry point, unless PYTEST_DISABLE_PLUGIN_AUTOLOAD says otherwise
        manager.import_plugin("pytest_benchmark.plugin")
    if find_spec("efficarch") is not None:
        # by its entry point where efficarch is installed; from a bare checkout only so
        manager.import_plugin("efficarch.plugin")
        args += told.get("options", ())
    if manager.has_plugin("pytest_cov"):
        args.append("--no-cov")
    for name in (*SWITCHED_OFF, *ALSO_SWITCHED_OFF):
        plugin = manager.get_plugin(name)
        if plugin is not None:
            manager.unregister(plugin)
    if told:
        manager.register(Agent(told), "efficarch gate's agent")
    return (yield)


def _plugins(config: pytest.Config) -> list[str]:
    found: Iterable[tuple[Any, Any]] = config.pluginmanager.list_plugin_distinfo()
    return sorted({f"{info.project_name} {info.version}" for _plugin, info in found})


def write(path: Path, data: dict[str, Any]) -> None:
    """Write a whole file or nothing."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(data), encoding="utf-8")
    partial.replace(path)
