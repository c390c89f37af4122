"""Claims about clocks, with invented time: no test here sleeps or measures."""

import ast
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from efficarch import timing
from efficarch.timing import (
    WARM_UP_MOST,
    WARM_UP_WINDOW,
    CudaEventClock,
    Odometer,
    WallClock,
    clock_for,
    overhead_ms,
    warm_up,
)

ROOT = Path(__file__).parent.parent


class ListClock:
    """A clock that runs the call and answers from a list."""

    def __init__(self, times: list[float]) -> None:
        self.times = times

    def time_ms(self, call: Callable[[], object]) -> float:
        """Return the next time."""
        call()
        return self.times.pop(0)


class StuckCallError(Exception):
    """What a timed call raises in these tests."""


def stuck() -> None:
    """Raise, as a call out of memory does."""
    raise StuckCallError


def rounds_of(pairs: list[tuple[float, float]]) -> Callable[[], tuple[float, float]]:
    """Return a measurement that answers with the pairs, one after the other."""
    remaining: Iterator[tuple[float, float]] = iter(pairs)
    return lambda: next(remaining)


def test_warm_up_stops_when_flat() -> None:
    """Steady rounds need no more than one window."""
    pairs = [(10.0, 20.0)] * WARM_UP_MOST

    assert warm_up(rounds_of(pairs)) == pairs[:WARM_UP_WINDOW]


@pytest.mark.parametrize(("slow", "rounds"), [(0.4, 1), (0.3, 2), (0.1, 3)])
def test_warm_up_of_slow_calls_ends_early(slow: float, rounds: int) -> None:
    """Most of a second has warmed a machine; discarding six such pairs would double the cell."""
    pairs = [(1e3 * slow * (1 + i), 1e3 * slow) for i in range(WARM_UP_MOST)]

    assert warm_up(rounds_of(pairs)) == pairs[:rounds]


def test_warm_up_waits_for_the_first_slow_round_to_leave_the_window() -> None:
    """A slow start is discarded together with the flat rounds that follow it."""
    pairs = [(100.0, 100.0)] + [(10.0, 20.0)] * WARM_UP_MOST

    assert warm_up(rounds_of(pairs)) == pairs[: 1 + WARM_UP_WINDOW]


@pytest.mark.parametrize(
    "drift",
    [lambda i: (1.2**i, 5.0), lambda i: (5.0, 1.2**i), lambda i: (0.8**i, 0.8**i)],
    ids=["subject rises", "reference rises", "both fall"],
)
def test_warm_up_gives_up_on_a_drift(drift: Callable[[int], tuple[float, float]]) -> None:
    """As long as one side drifts it goes on, up to the most rounds allowed."""
    pairs = [drift(i) for i in range(WARM_UP_MOST + 5)]

    assert warm_up(rounds_of(pairs)) == pairs[:WARM_UP_MOST]


@pytest.mark.parametrize(("slope", "rounds"), [(0.04, WARM_UP_WINDOW), (0.06, WARM_UP_MOST)])
def test_warm_up_allows_five_percent_per_round(slope: float, rounds: int) -> None:
    """The limit lies between 4 and 6 % of the median."""
    # relative to the middle one of the last three, whichever they are
    pairs = [(1.0, 1.0 + slope * (i - 1)) for i in range(WARM_UP_WINDOW)]
    pairs += [(1.0, 1.1**i) for i in range(5, 5 + WARM_UP_MOST)]

    assert len(warm_up(rounds_of(pairs))) == rounds


def test_wall_clock_reads_the_host_s_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Milliseconds between one reading before and one after the call."""
    log: list[str] = []
    readings = iter([5_000_000, 7_500_000])

    def read() -> int:
        log.append("read")
        return next(readings)

    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter_ns=read))

    assert WallClock().time_ms(lambda: log.append("call")) == 2.5
    assert log == ["read", "call", "read"]


def test_wall_clock_is_positive() -> None:
    """On the real clock any work takes time."""
    assert WallClock().time_ms(lambda: sum(range(1000))) > 0


@pytest.fixture(params=[True, False], ids=["collector on", "collector off"])
def collector(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Switch Python's garbage collector on or off for a test."""
    before = gc.isenabled()
    (gc.enable if request.param else gc.disable)()
    yield request.param
    (gc.enable if before else gc.disable)()


def test_the_collector_waits_and_comes_back(collector: bool) -> None:
    """Inside the timed call it is off, after it as before."""
    inside: list[bool] = []

    WallClock().time_ms(lambda: inside.append(gc.isenabled()))

    assert inside == [False]
    assert gc.isenabled() is collector


def test_the_collector_comes_back_after_an_error(collector: bool) -> None:
    """A call that raises changes nothing about that, and its error comes through."""
    with pytest.raises(StuckCallError):
        WallClock().time_ms(stuck)

    assert gc.isenabled() is collector


def test_odometer_moves_only_when_told() -> None:
    """It starts at 0 seconds and adds up milliseconds."""
    odometer = Odometer()

    assert odometer() == odometer() == 0
    odometer.advance(1500)
    odometer.advance(250)
    assert odometer() == pytest.approx(1.75)
    assert odometer.__name__ == "efficarch"


def test_overhead_is_the_median_of_an_empty_call() -> None:
    """Outliers do not count, and as many rounds are run as asked for."""
    clock = ListClock([0.2, 9.0, 0.1, 0.3, 0.2])

    assert overhead_ms(clock, rounds=5) == 0.2
    assert clock.times == []


def test_overhead_is_not_negative() -> None:
    """On the real clock an empty call takes no less than nothing."""
    assert overhead_ms(WallClock()) >= 0


class FakeCuda:
    """Stands in for ``torch.cuda``; notes in which order it was used."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.flushed_bytes = 0
        self._events = iter(["start", "end"])

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Replace what the clock uses of torch."""
        properties = SimpleNamespace(L2_cache_size=1000)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: properties)
        monkeypatch.setattr(torch.cuda, "synchronize", lambda: self.log.append("synchronize"))
        monkeypatch.setattr(torch.cuda, "Event", self._event)
        monkeypatch.setattr(torch, "empty", self._empty)

    def _empty(self, count: int, *, dtype: torch.dtype, device: str) -> SimpleNamespace:
        assert device == "cuda"
        self.flushed_bytes = count * dtype.itemsize
        return SimpleNamespace(zero_=lambda: self.log.append("flush"))

    def _event(self, *, enable_timing: bool) -> SimpleNamespace:
        assert enable_timing
        name = next(self._events)
        return SimpleNamespace(
            record=lambda: self.log.append(name),
            elapsed_time=lambda end: {"start": 1.5, "end": -1.5}[name] if end else None,
        )


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """Return an installed fake."""
    fake = FakeCuda()
    fake.install(monkeypatch)
    return fake


def test_cuda_clock_times_between_two_events(cuda: FakeCuda) -> None:
    """Earlier work is waited for, L2 flushed, and only then the call is put between two events."""
    latency_ms = CudaEventClock().time_ms(lambda: cuda.log.append("call"))

    assert cuda.log == ["synchronize", "flush", "start", "call", "end", "synchronize"]
    assert latency_ms == 1.5


def test_cuda_clock_flushes_more_than_the_cache(cuda: FakeCuda) -> None:
    """Twice the L2 cache is overwritten."""
    CudaEventClock()

    assert cuda.flushed_bytes == 2000


def test_cuda_clock_holds_the_collector_back(cuda: FakeCuda, collector: bool) -> None:
    """As on the CPU, and after an error too."""
    with pytest.raises(StuckCallError):
        CudaEventClock().time_ms(stuck)

    assert gc.isenabled() is collector
    assert "end" not in cuda.log


def test_each_device_has_its_clock(cuda: FakeCuda) -> None:
    """The GPU is timed by events, the CPU by the host's clock."""
    assert isinstance(clock_for("cuda"), CudaEventClock)
    assert isinstance(clock_for("cpu"), WallClock)
    assert cuda.log == []


@pytest.mark.cuda
def test_cuda_clock_measures_a_real_device() -> None:
    """A larger product takes longer than a small one, and both take time."""
    small, large = torch.ones(64, 64, device="cuda"), torch.ones(4096, 4096, device="cuda")
    clock = clock_for("cuda")
    clock.time_ms(lambda: (small @ small, large @ large))

    times = [clock.time_ms(lambda matrix=matrix: matrix @ matrix) for matrix in (small, large)]

    assert 0 < times[0] < times[1]


def offences(source: str) -> list[str]:
    """Return what in a module's source reads a clock or waits for a device."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Attribute):
            names = [node.attr] if node.attr in ("synchronize",) else []
            names += [node.attr] if node.attr.startswith("perf_counter") else []
        elif isinstance(node, ast.Name):
            names = [node.id]
        else:
            names = []
        found += [
            f"{name} in line {node.lineno}"
            for name in names
            if name in ("time", "datetime", "synchronize") or name.startswith("perf_counter")
        ]
    return found


MODULES = sorted(
    path
    for package in ("efficarch", "reports", "suites")
    for path in (ROOT / package).rglob("*.py")
    if path != ROOT / "efficarch" / "timing.py"
    # the agent may import nothing of efficarch: it rests by itself, and looks whether clocks were
    # replaced
    and path.parent != ROOT / "efficarch" / "experiment" / "agent"
)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_timing_reads_a_clock(path: Path) -> None:
    """No other module imports time or datetime, reads a clock or synchronises a device."""
    assert offences(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "import time as t",
        "import datetime",
        "from time import perf_counter as now",
        "from datetime import datetime",
        "def f():\n    import time",
        "torch.cuda.synchronize()",
        "stream.synchronize()",
        "from torch.cuda import synchronize",
        "clock.perf_counter_ns()",
        "time.time()",
    ],
)
def test_a_planted_clock_is_found(source: str) -> None:
    """The check above can fail."""
    assert offences(source)


def test_timing_itself_would_be_found() -> None:
    """The one module left out of the check is the one that has something to find."""
    source = (ROOT / "efficarch" / "timing.py").read_text(encoding="utf-8")

    assert {line.split()[0] for line in offences(source)} >= {"time", "synchronize"}
