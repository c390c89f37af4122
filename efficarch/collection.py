"""What happens to ``bench`` tests at collection: each becomes a cell with limits and a timer."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from efficarch.budgets import Limit, limits_of, load_budgets, unmatched
from efficarch.cells import build_cell
from efficarch.errors import EfficarchError
from efficarch.given_ids import named_parameters, repeats, repetition
from efficarch.options import check_options
from efficarch.patterns import matches
from efficarch.probe import choose_device, cuda_available, device_name
from efficarch.process_plan import VARIABLE as PLAN
from efficarch.process_plan import ProcessPlan
from efficarch.process_plan import current as current_plan
from efficarch.record import Cell, Limits, Measurement, Status
from efficarch.timing import Odometer
from efficarch.turns import VARIABLE as TURNS
from efficarch.turns import Turns
from efficarch.turns import current as current_turns

JUDGED = (Status.PASSED, Status.FAILED)


@dataclass
class Line:
    """A collected cell on its way through the session."""

    cell: Cell
    limits: Limits
    odometer: Odometer
    status: Status = Status.NOT_RUN
    message: str = ""
    measurement: Measurement | None = None
    earlier: "Line | None" = None
    """As it last was when judged, where the test runs again."""

    def begin(self) -> None:
        """Begin a try: some plugins run a test again that failed, or several times anyway."""
        if self.status in JUDGED:
            self.earlier = replace(self, earlier=None)
        self.status, self.message, self.measurement = Status.NOT_RUN, "", None

    @property
    def counted(self) -> "Line":
        """The last try that was judged, or the last of all; an error is not hidden by a pass."""
        earlier = self.earlier
        if earlier is None or self.status in (*JUDGED, Status.NOT_RUN):
            return self
        broke = (earlier.status, self.status) == (Status.PASSED, Status.ERROR)
        return self if broke else earlier


@dataclass
class Session:
    """What the plugin knows of one pytest session; lines by node id, in collected order."""

    lines: dict[str, Line] = field(default_factory=dict)
    clock_overhead_ms: float = 0.0
    plan: ProcessPlan | None = None
    """Of the gate that started this process; ``None`` where none did."""
    turns: Turns | None = None
    """With the other process of the pair."""

    @property
    def cells(self) -> dict[str, Line]:
        """What counts of each cell, by id, in collected order; tests that repeat one share it."""
        return {line.cell.id: line.counted for line in self.lines.values()}


SESSION = pytest.StashKey[Session]()


def session_of(config: pytest.Config) -> Session:
    """Return what the plugin knows of a session, nothing at first."""
    return config.stash.setdefault(SESSION, Session())


def join_gate(config: pytest.Config) -> None:
    """Take the plan and the turns that a gate gave to this process.

    A worker of xdist measures nothing, and has none of the files that its controller inherited.

    Raises:
        pytest.UsageError: what the environment says cannot be read.
    """
    if hasattr(config, "workerinput"):
        for variable in (PLAN, TURNS):
            os.environ.pop(variable, None)
        return
    session = session_of(config)
    try:
        session.plan, session.turns = current_plan(), current_turns()
    except EfficarchError as error:
        raise pytest.UsageError(str(error)) from error


def collect(config: pytest.Config, benches: list[pytest.Item], items: list[pytest.Item]) -> None:
    """Make cells of the tests that ask for ``bench``, and follow a gate's plan if there is one.

    Raises:
        pytest.UsageError: an option that cannot be met, or what `register` refuses.
    """
    session = session_of(config)
    try:
        _require_pytest_benchmark(config)
        check_options(config)
        register(session, config, benches)
    except EfficarchError as error:
        raise pytest.UsageError(str(error)) from error
    _skip_without_cuda(benches)
    if session.plan is not None:
        left = follow(session.plan, session, items)
        config.hook.pytest_deselected(items=left)


def _require_pytest_benchmark(config: pytest.Config) -> None:
    if config.getoption("benchmark_disable", None) is None:
        raise EfficarchError(
            "bench needs pytest-benchmark, which is not loaded; install it or leave out "
            "-p no:benchmark"
        )


def _skip_without_cuda(benches: list[pytest.Item]) -> None:
    """Skip cells that need CUDA; where CUDA is promised, there is none to skip or no session."""
    marked = [item for item in benches if item.get_closest_marker("cuda")]
    if marked and not cuda_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs CUDA; this machine has none"))


def device_of(config: pytest.Config) -> str:
    """Return ``cpu`` or ``cuda``.

    Raises:
        EfficarchError: CUDA was asked for or promised, and torch sees none.
    """
    return choose_device(str(config.getoption("efficarch_device")))


def register(session: Session, config: pytest.Config, benches: list[pytest.Item]) -> None:
    """Give every bench test its cell, its limits and its timer.

    Raises:
        EfficarchError: two tests with one cell id, a cell without limits, a limit without a cell,
            or a budgets file that cannot be read.
    """
    device = device_of(config)
    budgets: dict[Path, list[Limit]] = {}
    cells: dict[Path, list[Cell]] = {}
    owners: dict[str, list[pytest.Item]] = {}
    for item in benches:
        cell = _cell_of(item, config.getoption("efficarch_dtype"), device)
        first = _first_of(item, cell, owners.setdefault(cell.id, []))
        path = item.path.parent / "budgets.toml"
        if path not in budgets:
            budgets[path] = load_budgets(path)
        cells.setdefault(path, []).append(cell)
        limits = limits_of(
            cell,
            budgets[path],
            device_name=device_name(device),
            weights=config.getoption("efficarch_weights"),
        )
        shared = session.lines.get(first.nodeid) or Line(cell, limits, Odometer())
        session.lines[item.nodeid] = shared
        _mark(item, shared)
    if not any("::" in argument for argument in config.invocation_params.args):
        for path, limits_there in budgets.items():
            _check_unmatched(path, limits_there, cells[path])


def follow(plan: ProcessPlan, session: Session, items: list[pytest.Item]) -> list[pytest.Item]:
    """Bring items into the order that a gate's plan asks for, and return those it leaves out.

    Tests that measure no cell go first, as they came.
    """
    lines = session.lines

    def place(item: pytest.Item) -> tuple[str, str]:
        line = lines.get(item.nodeid)
        return ("", "") if line is None else plan.place(line.cell.id)

    def selected(item: pytest.Item) -> bool:
        line = lines.get(item.nodeid)
        return line is None or plan.selects(line.cell.id)

    left = [item for item in items if not selected(item)]
    items[:] = sorted(filter(selected, items), key=place)
    return left


def _cell_of(item: pytest.Item, dtype: str, device: str) -> Cell:
    suite = item.path.stem.removeprefix("test_")
    return build_cell(suite, named_parameters(item), dtype=dtype, device=device)


def _first_of(item: pytest.Item, cell: Cell, others: list[pytest.Item]) -> pytest.Item:
    """Return the first of the tests that repeat one for a cell, and take this into them.

    Raises:
        EfficarchError: they are not the same test.
    """
    for other in others:
        if repetition(item) == repetition(other) or not repeats(item, other):
            raise EfficarchError(f"{item.nodeid} and {other.nodeid} are both cell {cell.id!r}")
    others.append(item)
    return others[0]


def _mark(item: pytest.Item, line: Line) -> None:
    """Hand the cell's timer to pytest-benchmark through its public marker, and its id to others."""
    marker = item.get_closest_marker("benchmark")
    options: dict[str, Any] = {**(marker.kwargs if marker else {}), "timer": line.odometer}
    item.add_marker(pytest.mark.benchmark(**options), append=False)
    # a gate's own plugin finds cells by it, and may run where efficarch cannot be imported
    cast(Any, item).efficarch_cell = line.cell.id


def _check_unmatched(path: Path, limits: list[Limit], cells: list[Cell]) -> None:
    """Refuse a limit that names no cell, unless cells of its suites were left uncollected."""
    collected = {cell.suite for cell in cells}
    present = {file.stem.removeprefix("test_") for file in path.parent.glob("test_*.py")}
    for limit in unmatched(limits, cells):
        pattern = limit.cells.split("/")[0]
        suites = {suite for suite in present if matches(pattern, suite)}
        if suites <= collected:
            raise EfficarchError(
                f"{path}: the limit for {limit.cells!r} matches no cell; mend or remove it"
            )
