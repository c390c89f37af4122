"""A stand-in for pynvml and for a GPU in torch."""

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any, NoReturn

import pytest
import torch


class NVMLError(Exception):
    """Stands in for ``pynvml.NVMLError``."""


def not_supported(*_args: object) -> NoReturn:
    """Answer as NVML does for a query the device does not know."""
    raise NVMLError("Not Supported")


class FakeNvml(ModuleType):
    """Stands in for ``pynvml`` with one GPU; counts how often it was shut down."""

    NVML_CLOCK_SM = 1
    NVML_CLOCK_MEM = 2
    # nvml.h
    nvmlClocksEventReasonSwPowerCap = 0x4
    nvmlClocksEventReasonHwSlowdown = 0x8
    nvmlClocksEventReasonSwThermalSlowdown = 0x20
    nvmlClocksEventReasonHwThermalSlowdown = 0x40
    nvmlClocksEventReasonHwPowerBrakeSlowdown = 0x80
    NVMLError = NVMLError

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.open = 0
        self.nvmlSystemGetDriverVersion: Callable[..., Any] = lambda: "570.1"
        self.asked: list[str] = []
        self.nvmlDeviceGetHandleByUUID: Callable[..., Any] = self._handle
        self.nvmlDeviceGetEnforcedPowerLimit: Callable[..., Any] = lambda handle: 350_000
        self.nvmlDeviceGetMaxClockInfo: Callable[..., Any] = lambda handle, kind: 1000 * kind
        self.nvmlDeviceGetPersistenceMode: Callable[..., Any] = lambda handle: 1
        self.nvmlDeviceGetMigMode: Callable[..., Any] = lambda handle: [0, 0]
        self.nvmlDeviceGetClockInfo: Callable[..., Any] = lambda handle, kind: 900 * kind
        self.nvmlDeviceGetCurrentClocksEventReasons: Callable[..., Any] = lambda handle: 0
        self.nvmlDeviceGetComputeRunningProcesses: Callable[..., Any] = lambda handle: ["this"]

    def _handle(self, uuid: str) -> str:
        self.asked.append(uuid)
        return "handle"

    def nvmlInit(self) -> None:
        """Open the library."""
        self.open += 1

    def nvmlShutdown(self) -> None:
        """Close the library."""
        self.open -= 1


def install(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """Put a fake of pynvml beside a fake GPU in torch, and return it."""
    fake = FakeNvml()
    properties = SimpleNamespace(name="Sample GPU", uuid="1234-5678")
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: properties)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake
