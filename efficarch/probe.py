"""What the machine is, and what a call costs besides time: FLOPs and peak memory."""

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from efficarch.errors import EfficarchError
from efficarch.record import Machine


def cuda_available() -> bool:
    """Whether torch is installed and sees a CUDA device."""
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


def cuda_required() -> bool:
    """Whether the environment promises CUDA, so that its absence is a failure and not a skip."""
    return os.environ.get("EFFICARCH_REQUIRE_CUDA") == "1"


def choose_device(asked: str) -> str:
    """Return ``cpu`` or ``cuda`` for what was asked; ``auto`` takes CUDA if there is any.

    Raises:
        EfficarchError: CUDA was asked for or promised, and torch sees none.
    """
    required = cuda_required()
    if (asked == "cuda" or required) and not cuda_available():
        why = "EFFICARCH_REQUIRE_CUDA=1" if required else "device cuda"
        raise EfficarchError(f"{why}, but torch sees no CUDA device; run: efficarch doctor")
    if asked == "auto":
        return "cuda" if cuda_available() else "cpu"
    return asked


@cache
def device_name(device: str) -> str:
    """Return the model name of the GPU or CPU, as budgets name it."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    from cpuinfo import get_cpu_info

    return str(get_cpu_info().get("brand_raw") or platform.processor() or "unknown CPU")


def machine(device: str, cpu_model: str) -> Machine:
    """Return the fingerprint of this machine for runs on ``device``."""
    import torch

    gpu = gpu_state() if device == "cuda" else GpuState()
    return Machine(
        device=device,
        **{field.name: getattr(gpu, field.name) for field in fields(GpuState)},
        cpu_model=cpu_model,
        cpu_cores=_cores(),
        threads=torch.get_num_threads(),
        python=platform.python_version(),
        torch=torch.__version__,
        transformers=_version("transformers"),
    )


def _cores() -> int:
    # the cores this process may use, which a container or taskset can narrow
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


@dataclass(frozen=True)
class GpuState:
    """The GPU's part of the fingerprint; clocks are the highest the driver allows."""

    gpu_name: str | None = None
    gpu_uuid: str | None = None
    driver: str | None = None
    cuda: str | None = None
    power_limit_w: float | None = None
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    persistence: bool | None = None
    mig: bool | None = None


def gpu_state() -> GpuState:
    """Return the state of torch's current CUDA device; NVML fills in what torch cannot tell."""
    import torch

    uuid = gpu_uuid()
    name = torch.cuda.get_device_properties(torch.cuda.current_device()).name
    known = GpuState(gpu_name=name, gpu_uuid=uuid, cuda=torch.version.cuda)
    return replace(known, **_nvml_state(uuid))


def _nvml_state(uuid: str) -> dict[str, Any]:
    with gpu_handle(uuid) as found:
        if found is None:
            return {}
        nvml, gpu = found
        queries: dict[str, Callable[[], Any]] = {
            "driver": lambda: str(nvml.nvmlSystemGetDriverVersion()),
            "power_limit_w": lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / 1000,
            "sm_clock_mhz": lambda: nvml.nvmlDeviceGetMaxClockInfo(gpu, nvml.NVML_CLOCK_SM),
            "memory_clock_mhz": lambda: nvml.nvmlDeviceGetMaxClockInfo(gpu, nvml.NVML_CLOCK_MEM),
            "persistence": lambda: bool(nvml.nvmlDeviceGetPersistenceMode(gpu)),
            "mig": lambda: bool(nvml.nvmlDeviceGetMigMode(gpu)[0]),
        }
        return {name: ask(nvml, query) for name, query in queries.items()}


@contextmanager
def gpu_handle(uuid: str) -> Iterator[tuple[Any, Any] | None]:
    """Open NVML and give the module with a device's handle; ``None`` where it does not answer."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except ImportError:
        yield None
        return
    except pynvml.NVMLError:
        yield None  # a container without the library, for instance
        return
    try:
        # a slice of a device is not listed
        gpu = ask(pynvml, lambda: pynvml.nvmlDeviceGetHandleByUUID(uuid))
        yield None if gpu is None else (pynvml, gpu)
    finally:
        pynvml.nvmlShutdown()


def ask(nvml: Any, query: Callable[[], Any]) -> Any:
    """Return a query's answer, or ``None`` where this device or its driver does not tell."""
    try:
        return query()
    except nvml.NVMLError:
        return None


def gpu_uuid() -> str:
    """Return the UUID of torch's current CUDA device, as NVML names it."""
    import torch

    return f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"


def count_flops(call: Callable[[], object]) -> int:
    """Return the FLOPs of one call as torch counts them: matrix products, convolutions, attention.

    Attention is counted on its mathematical path, since the fused CPU kernel is not in torch's
    table; both do the same products.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def peak_bytes(call: Callable[[], object], device: str) -> int:
    """Return the most bytes torch's allocator held during one call, above what it held before."""
    return _cuda_peak_bytes(call) if device == "cuda" else _cpu_peak_bytes(call)


def _cuda_peak_bytes(call: Callable[[], object]) -> int:
    import torch

    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    return max(0, torch.cuda.max_memory_allocated() - before)


def _cpu_peak_bytes(call: Callable[[], object]) -> int:
    """Replay the allocator's events in order; torch keeps no peak for the CPU."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    results: Any = profiler.profiler
    events = [e for e in results.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak
