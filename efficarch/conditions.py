"""What else went on while a cell was measured: other work on the machine, throttling, clocks."""

import os
from dataclasses import dataclass
from pathlib import Path

from efficarch.probe import ask, gpu_handle, gpu_uuid
from efficarch.record import Conditions

STAT = Path("/proc/stat")

THROTTLING = {
    "SwPowerCap": "the power limit",
    "HwSlowdown": "a hardware slowdown",
    "SwThermalSlowdown": "temperature",
    "HwThermalSlowdown": "temperature, in hardware",
    "HwPowerBrakeSlowdown": "a power brake",
}
"""What lowers a GPU's clocks, by NVML's name of the reason."""


@dataclass(frozen=True)
class _CpuTimes:
    """Seconds since boot of all cores together: in all, busy, and busy for this process."""

    total: float
    busy: float
    own: float


class Watch:
    """Watches while it is entered, which may be several times."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._total = self._foreign = 0.0

    def __enter__(self) -> None:
        self._before = _cpu_times()

    def __exit__(self, *_error: object) -> None:
        before, after = self._before, _cpu_times()
        if before is not None and after is not None:
            self._total += after.total - before.total
            self._foreign += (after.busy - before.busy) - (after.own - before.own)

    def conditions(self, partners: int) -> Conditions:
        """Return what was seen, and ask the GPU; call it right after the last round.

        ``partners`` are processes of the same gate that stand by on the same GPU.
        """
        gpu = _gpu_conditions(partners) if self._device == "cuda" else (None, (), None)
        share = max(0.0, self._foreign) / self._total if self._total > 0 else None
        return Conditions(share, *gpu)


def _cpu_times() -> _CpuTimes | None:
    """Return the times of Linux; ``None`` where there are none."""
    try:
        line = STAT.read_text(encoding="ascii").partition("\n")[0]
    except OSError:
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    # user, nice, system, idle, iowait, irq, softirq, steal (proc(5)); what follows is in user
    seconds = [int(field) / ticks for field in line.split()[1:9]]
    own = os.times()
    return _CpuTimes(
        total=sum(seconds),
        busy=sum(seconds) - seconds[3] - seconds[4],
        own=own.user + own.system,
    )


def _gpu_conditions(partners: int) -> tuple[int | None, tuple[str, ...], int | None]:
    """Return SM clock, what throttles, and how many other processes compute on the GPU."""
    with gpu_handle(gpu_uuid()) as found:
        if found is None:
            return None, (), None
        nvml, gpu = found
        # a process in a container does not know its own number outside, so they are counted
        processes = ask(nvml, lambda: len(nvml.nvmlDeviceGetComputeRunningProcesses(gpu)))
        reasons = ask(nvml, lambda: int(nvml.nvmlDeviceGetCurrentClocksEventReasons(gpu)))
        return (
            ask(nvml, lambda: int(nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM))),
            tuple(
                words
                for name, words in THROTTLING.items()
                if (reasons or 0) & getattr(nvml, f"nvmlClocksEventReason{name}")
            ),
            None if processes is None else max(0, processes - 1 - partners),
        )
