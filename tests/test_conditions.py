"""Claims about what is noted of the machine while a cell is measured."""

import os
import time
from pathlib import Path

import pytest

from efficarch import conditions
from efficarch.conditions import Watch
from efficarch.record import Conditions
from tests import fake_nvml

TICKS = os.sysconf("SC_CLK_TCK")


def stat(path: Path, *, busy_s: float, idle_s: float, stolen_s: float = 0.0) -> None:
    """Write what Linux says of all cores together."""
    ticks = [round(seconds * TICKS) for seconds in (busy_s, idle_s, stolen_s)]
    path.write_text(f"cpu  {ticks[0]} 0 0 {ticks[1]} 0 0 0 {ticks[2]} 0 0\ncpu0 1 2 3\n")


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file that is read in the place of /proc/stat."""
    path = tmp_path / "stat"
    monkeypatch.setattr(conditions, "STAT", path)
    monkeypatch.setattr(os, "times", lambda: os.times_result((2.0, 1.0, 0.0, 0.0, 0.0)))
    return path


@pytest.mark.parametrize(("stolen_s", "share"), [(0.0, 0.3), (10.0, 0.4 / 1.1)])
def test_what_others_took_of_the_cpu(
    proc: Path, monkeypatch: pytest.MonkeyPatch, stolen_s: float, share: float
) -> None:
    """Of 100 s the machine was busy for 60, this process for 30; what was stolen comes on top."""
    stat(proc, busy_s=100, idle_s=100)

    watch = Watch("cpu")
    with watch:
        stat(proc, busy_s=160, idle_s=140, stolen_s=stolen_s)
        monkeypatch.setattr(os, "times", lambda: os.times_result((27.0, 6.0, 0.0, 0.0, 0.0)))

    assert watch.conditions(0).foreign_cpu_share == pytest.approx(share)
    assert watch.conditions(0).sm_clock_mhz is None


def test_only_its_own_turns_are_watched(proc: Path) -> None:
    """What goes on in between does not count."""
    watch = Watch("cpu")
    for busy_s in (0, 100):  # a neighbour came and went between the two turns
        stat(proc, busy_s=busy_s, idle_s=0)
        with watch:
            stat(proc, busy_s=busy_s, idle_s=10)

    assert watch.conditions(0).foreign_cpu_share == 0.0


def test_a_machine_that_does_not_tell(proc: Path) -> None:
    """No /proc/stat, or no time between: nothing is known, and nothing is raised."""
    watch = Watch("cpu")
    with watch:
        pass
    assert watch.conditions(0) == Conditions(None, None, (), None)

    stat(proc, busy_s=100, idle_s=100)
    watch = Watch("cpu")
    with watch:
        pass

    assert watch.conditions(0) == Conditions(None, None, (), None)


def test_own_work_is_not_foreign(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the machine's work is this process's."""
    stat(proc, busy_s=100, idle_s=100)

    watch = Watch("cpu")
    with watch:
        stat(proc, busy_s=110, idle_s=110)
        monkeypatch.setattr(os, "times", lambda: os.times_result((11.0, 2.0, 0.0, 0.0, 0.0)))

    assert watch.conditions(0) == Conditions(0.0, None, (), None)


@pytest.mark.skipif(not conditions.STAT.exists(), reason="needs /proc/stat")
def test_this_machine_tells() -> None:
    """What Linux says can be read."""
    watch = Watch("cpu")
    with watch:
        time.sleep(0.1)

    share = watch.conditions(0).foreign_cpu_share
    assert share is not None
    assert 0 <= share <= 1.1  # ticks are coarse


def test_a_quiet_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clock is noted; this process is the only one on it."""
    nvml = fake_nvml.install(monkeypatch)

    watch = Watch("cuda")
    with watch:
        pass

    seen = watch.conditions(0)
    assert (seen.sm_clock_mhz, seen.throttling, seen.foreign_gpu_processes) == (900, (), 0)
    assert nvml.open == 0


@pytest.mark.parametrize(
    ("reasons", "words"),
    [
        (0x1, ()),  # idle
        (0x4, ("the power limit",)),
        (0x20 | 0x40, ("temperature", "temperature, in hardware")),
        (0x88, ("a hardware slowdown", "a power brake")),
    ],
)
def test_a_throttled_gpu(
    monkeypatch: pytest.MonkeyPatch, reasons: int, words: tuple[str, ...]
) -> None:
    """By the bits of nvml.h; an idle GPU is not throttled."""
    nvml = fake_nvml.install(monkeypatch)
    nvml.nvmlDeviceGetCurrentClocksEventReasons = lambda _handle: reasons

    watch = Watch("cuda")
    with watch:
        pass

    assert watch.conditions(0).throttling == words


def test_others_on_the_gpu_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """All but one, whichever number this process has outside its container."""
    nvml = fake_nvml.install(monkeypatch)
    nvml.nvmlDeviceGetComputeRunningProcesses = lambda _handle: ["this", "that", "another"]

    watch = Watch("cuda")
    with watch:
        pass

    assert watch.conditions(0).foreign_gpu_processes == 2
    assert watch.conditions(partners=1).foreign_gpu_processes == 1


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("nvmlInit", (None, None)),
        ("nvmlDeviceGetHandleByUUID", (None, None)),
        ("nvmlDeviceGetClockInfo", (None, 0)),
        ("nvmlDeviceGetCurrentClocksEventReasons", (900, 0)),
        ("nvmlDeviceGetComputeRunningProcesses", (900, None)),
    ],
)
def test_a_gpu_that_does_not_tell(
    monkeypatch: pytest.MonkeyPatch, query: str, told: tuple[int | None, int | None]
) -> None:
    """Costs what it does not tell and nothing else."""
    nvml = fake_nvml.install(monkeypatch)
    setattr(nvml, query, fake_nvml.not_supported)

    watch = Watch("cuda")
    with watch:
        pass

    seen = watch.conditions(0)
    assert (seen.sm_clock_mhz, seen.foreign_gpu_processes, seen.throttling) == (*told, ())
    assert nvml.open == 0
