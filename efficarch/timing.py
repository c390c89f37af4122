"""Clocks: the only place that synchronises a device or reads a clock.

A ``Clock`` times one call in milliseconds. ``CudaEventClock`` measures on the GPU between two
events, after the L2 cache was flushed; ``WallClock`` measures on the CPU. Tests inject their own.
"""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol

from efficarch.stats import median, relative_slope

Call = Callable[[], object]

WARM_UP_WINDOW = 3
WARM_UP_SLOPE = 0.05
WARM_UP_MOST = 6
WARM_UP_ENOUGH_MS = 700.0
WARM_UP_AGAIN_MS = 200.0
"""Enough in the later pairs of a gate: both of its processes begin a cell equally warm."""


class Clock(Protocol):
    """Times one call."""

    def time_ms(self, call: Call) -> float:
        """Run ``call`` once and return its latency in milliseconds."""
        ...


class WallClock:
    """The host's monotonic clock: right for the CPU, blind to a GPU's queue."""

    def time_ms(self, call: Call) -> float:
        """Time one call with the garbage collector held back."""
        with _collector_held_back():
            start = time.perf_counter_ns()
            call()
            return (time.perf_counter_ns() - start) / 1e6


class CudaEventClock:
    """GPU time between two CUDA events around the call.

    L2 is flushed first, so that a call cannot profit from what the previous one left there. The
    flush also keeps the GPU busy while the host queues the call, which hides launch latency up to
    the flush's own duration.
    """

    def __init__(self) -> None:
        import torch

        self._cuda = torch.cuda
        l2_bytes = torch.cuda.get_device_properties(torch.cuda.current_device()).L2_cache_size
        # twice the cache, as int32: writing it evicts everything
        self._flush = torch.empty(max(1, l2_bytes // 2), dtype=torch.int32, device="cuda")

    def time_ms(self, call: Call) -> float:
        """Flush L2, time one call between two events and wait for it."""
        start = self._cuda.Event(enable_timing=True)
        end = self._cuda.Event(enable_timing=True)
        self._cuda.synchronize()
        self._flush.zero_()
        with _collector_held_back():
            start.record()
            call()
            end.record()
            self._cuda.synchronize()
        return float(start.elapsed_time(end))


def now() -> str:
    """Return the date and time in UTC, as run files hold it."""
    return datetime.now(UTC).isoformat()


def seconds_now() -> float:
    """Return a monotonic time in seconds, to tell how long something as long as a process took."""
    return time.monotonic()


def rest(seconds: float) -> None:
    """Do nothing for so long."""
    time.sleep(seconds)


def clock_for(device: str) -> Clock:
    """Return the clock of a device: ``cpu`` or ``cuda``."""
    return CudaEventClock() if device == "cuda" else WallClock()


def overhead_ms(clock: Clock, rounds: int = 30) -> float:
    """Return the median of timing an empty call: the floor under every measurement."""
    return median([clock.time_ms(lambda: None) for _ in range(rounds)])


def warm_up(
    measure: Callable[[], tuple[float, ...]], enough_ms: float = WARM_UP_ENOUGH_MS
) -> list[tuple[float, ...]]:
    """Repeat a measurement of one side or both until none drifts, and return what was discarded.

    Flat means that over the last ``WARM_UP_WINDOW`` rounds the least-squares slope of each side is
    within ``WARM_UP_SLOPE`` of its median per round; ``WARM_UP_MOST`` rounds end it regardless, and
    so do ``enough_ms`` of work: calls that slow have warmed what there is to warm, and the order of
    the measured rounds cancels a drift.
    """
    rounds: list[tuple[float, ...]] = []
    elapsed_ms = 0.0
    while len(rounds) < WARM_UP_MOST:
        rounds.append(measure())
        elapsed_ms += sum(rounds[-1])
        if elapsed_ms >= enough_ms:
            break
        window = rounds[-WARM_UP_WINDOW:]
        if len(window) == WARM_UP_WINDOW and all(
            abs(relative_slope(side)) <= WARM_UP_SLOPE for side in zip(*window, strict=True)
        ):
            break
    return rounds


@contextmanager
def _collector_held_back() -> Iterator[None]:
    """Keep Python's garbage collector from running inside a timed section."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Odometer:
    """A timer that only moves when told to: how measured rounds reach pytest-benchmark.

    pytest-benchmark reads its timer before and after a round and stores the difference. A round
    here times two arms, one of which counts, so the round advances this timer by that arm alone.
    """

    __name__ = "efficarch"

    def __init__(self) -> None:
        self._seconds = 0.0

    def __call__(self) -> float:
        """Return the seconds advanced so far."""
        return self._seconds

    def advance(self, latency_ms: float) -> None:
        """Move forward by a measured latency."""
        self._seconds += latency_ms / 1e3
