"""Which of the collected tests a process measures, and what measures them."""

import hashlib
import inspect
import re
import time
from collections.abc import Sequence
from typing import Any

import pytest

TIMED_BY = ("benchmark", "bench", "efficarch_clock")
"""Fixtures by which a benchmark is timed."""

OPTIONS = (
    "benchmark_timer",
    "benchmark_disable_gc",
    "benchmark_warmup",
    "benchmark_warmup_iterations",
    "benchmark_calibration_precision",
    "benchmark_min_rounds",
    "benchmark_max_time",
    "benchmark_min_time",
    "efficarch_rounds",
)
CLOCKS = ("perf_counter", "perf_counter_ns", "monotonic", "process_time", "time")


class Selection:
    """The tests of a session that are measured; ordinary benchmarks first, as they came."""

    def __init__(
        self,
        collected: Sequence[pytest.Item],
        items: Sequence[pytest.Item],
        cells: Sequence[str] | None,
    ) -> None:
        """Choose from ``items``, what other plugins left of ``collected``.

        ``cells`` are regular expressions of the names wanted, ``None`` for all; efficarch's own
        cells were chosen by its plugin.
        """
        self.benchmarks = [item for item in collected if _is_benchmark(item)]
        self.not_benchmarks = len(collected) - len(self.benchmarks)
        # whatever reordered them: both sides have to come by the same tests
        place = {id(item): index for index, item in enumerate(collected)}
        ordinary = [item for item in items if _is_benchmark(item) and not is_cell(item)]
        ordinary.sort(key=lambda item: place.get(id(item), len(place)))
        wanted = [item for item in ordinary if _wanted(item.nodeid, cells)]
        self.kept = wanted + [item for item in items if is_cell(item)]
        kept = set(map(id, self.kept))
        self.left_out = [item for item in items if id(item) not in kept]
        self.order = [item.nodeid for item in wanted]


def _wanted(name: str, cells: Sequence[str] | None) -> bool:
    return cells is None or any(re.fullmatch(each, name, re.DOTALL) for each in cells)


def _is_benchmark(item: pytest.Item) -> bool:
    return "benchmark" in getattr(item, "fixturenames", ()) or _asks_later(item)


def _asks_later(item: pytest.Item) -> bool:
    """Whether a test or one of its fixtures asks for benchmark by its name while it runs."""
    info = getattr(item, "_fixtureinfo", None)
    found = (
        [each for definitions in info.name2fixturedefs.values() for each in definitions]
        if info
        else []
    )
    functions = [getattr(item, "function", None), *(each.func for each in found)]
    codes = [getattr(inspect.unwrap(each), "__code__", None) for each in functions if each]
    return any(
        "getfixturevalue" in code.co_names and "benchmark" in code.co_consts
        for code in codes
        if code is not None
    )


def is_cell(item: pytest.Item) -> bool:
    """Whether efficarch's own fixture measures a test."""
    return "efficarch_clock" in getattr(item, "fixturenames", ())


def is_unnamed(item: pytest.Item) -> bool:
    """Whether a cell is of an efficarch from before cells had their names at collection."""
    return is_cell(item) and not hasattr(item, "efficarch_cell")


def name_of(item: pytest.Item) -> str:
    """Return the cell of a test: what efficarch's plugin called it, or pytest's own id."""
    return str(getattr(item, "efficarch_cell", item.nodeid))


def facts_of(item: pytest.Item) -> dict[str, Any]:
    """Return what measures a test: its source, its timer, and where its fixtures are defined."""
    timer = timer_of(item)
    fixtures = getattr(item, "fixturenames", ())
    return {
        "file": item.path.name if item.path else "",
        "source": _digest(getattr(item, "function", None)),
        "timer": "" if timer is None else _name(timer),
        "fixtures": {name: _home(item, name) for name in TIMED_BY if name in fixtures},
    }


def timer_of(item: pytest.Item) -> Any:
    """Return the timer that a test's own marker names, if it does."""
    marker = item.get_closest_marker("benchmark")
    return marker.kwargs.get("timer") if marker else None


def _digest(function: Any) -> str:
    try:
        return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()
    except (OSError, TypeError):
        return ""


def _name(timer: Any) -> str:
    where = timer if hasattr(timer, "__qualname__") else type(timer)
    return f"{getattr(where, '__module__', '')}.{where.__qualname__}"


def _home(item: pytest.Item, fixture: str) -> str:
    """Return the module that defines a fixture as this test sees it."""
    info = getattr(item, "_fixtureinfo", None)
    found = info.name2fixturedefs.get(fixture, ()) if info else ()
    return str(getattr(found[-1].func, "__module__", "")) if found else ""


def settings_of(config: pytest.Config) -> dict[str, str]:
    """Return what times every benchmark of a session: options, and whether clocks are Python's."""
    options = {name: str(getattr(config.option, name, "")) for name in OPTIONS}
    clocks = {f"time.{name}": "Python's" if _is_built_in(name) else "replaced" for name in CLOCKS}
    return options | clocks


def _is_built_in(clock: str) -> bool:
    found = getattr(time, clock)
    # another clock of Python's is a replacement too
    return inspect.isbuiltin(found) and found.__name__ == clock
