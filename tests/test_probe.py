"""Claims about FLOPs, peak memory and the fingerprint of the machine."""

import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields

import pytest
import torch
from torch.nn import functional

from efficarch import probe
from efficarch.probe import (
    GpuState,
    count_flops,
    cuda_available,
    device_name,
    gpu_state,
    machine,
    peak_bytes,
)
from tests.fake_nvml import FakeNvml, install, not_supported


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    """Run as the suites do, without autograd."""
    with torch.inference_mode():
        yield


def test_flops_of_a_matrix_product() -> None:
    """An (m, k) by (k, n) product is 2 m n k."""
    a, b = torch.ones(3, 5), torch.ones(5, 7)

    assert count_flops(lambda: a @ b) == 2 * 3 * 7 * 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("queries", [1, 32])
def test_flops_of_attention(dtype: torch.dtype, queries: int) -> None:
    """Two products per head, whichever kernel runs it and however few the queries."""
    batch, heads, keys, width = 2, 4, 32, 16
    q = torch.randn(batch, heads, queries, width, dtype=dtype)
    k = torch.randn(batch, heads, keys, width, dtype=dtype)

    flops = count_flops(lambda: functional.scaled_dot_product_attention(q, k, k))

    assert flops == 2 * (2 * batch * heads * queries * keys * width)


def test_flops_of_a_convolution() -> None:
    """Per output pixel and channel, 2 for every weight of the filter."""
    image, weight = torch.ones(1, 3, 28, 28), torch.ones(8, 3, 14, 14)

    flops = count_flops(lambda: functional.conv2d(image, weight, stride=14))

    assert flops == 2 * (2 * 2 * 8) * (3 * 14 * 14)


def test_flops_of_nothing() -> None:
    """A call without products has none."""
    assert count_flops(lambda: torch.ones(3) + 1) == 0


MEGA = torch.ones(1000, 1000)
"""4e6 bytes."""


def freed_in_turn() -> None:
    """Hold one result at a time."""
    for _turn in range(3):
        MEGA.add(1)


def chained() -> torch.Tensor:
    """Hold a result until the next one is made from it."""
    return MEGA.add(1).add(1)


@pytest.mark.parametrize(
    ("call", "low", "high"),
    [
        pytest.param(lambda: MEGA @ MEGA, 4e6, 4.1e6, id="one result"),
        pytest.param(lambda: (MEGA.add(1), MEGA.add(2)), 8e6, 8.1e6, id="two live results"),
        pytest.param(chained, 8e6, 8.1e6, id="result and intermediate"),
        pytest.param(freed_in_turn, 4e6, 4.1e6, id="three, freed in turn"),
        pytest.param(lambda: None, 0, 0, id="nothing"),
    ],
)
def test_peak_bytes_of_a_known_pattern(call: Callable[[], object], low: float, high: float) -> None:
    """The peak is what was held at once, not what was allocated in all."""
    assert low <= peak_bytes(call, "cpu") <= high


def test_peak_bytes_of_cuda_is_torch_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The counter is reset before the call and read after it, less what was held before."""
    log: list[str] = []
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 100)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: log.append("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: log.append("read") or 350)

    assert peak_bytes(lambda: log.append("call"), "cuda") == 250
    assert log == ["reset", "call", "read"]


def test_the_machine_of_a_cpu_run() -> None:
    """Without a GPU its fields are empty, and the rest says what is running."""
    here = machine("cpu", "Sample CPU")

    assert here.device == "cpu"
    assert here.cpu_model == here.name == "Sample CPU"
    assert {getattr(here, field.name) for field in fields(GpuState)} == {None}
    assert here.cpu_cores >= 1
    assert here.threads == torch.get_num_threads()
    assert here.python == platform.python_version()
    assert here.torch == torch.__version__
    assert here.transformers[0].isdigit()


def test_a_cpu_has_a_name() -> None:
    """Budgets name devices, so the name is never empty."""
    assert device_name("cpu").strip()


def test_cores_are_those_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that narrows the set changes the fingerprint."""
    monkeypatch.setattr(probe.os, "sched_getaffinity", lambda _pid: {0, 5, 6}, raising=False)

    assert machine("cpu", "x").cpu_cores == 3


@pytest.mark.parametrize("answer", [True, False], ids=["gpu", "no gpu"])
def test_cuda_available_asks_torch(monkeypatch: pytest.MonkeyPatch, answer: bool) -> None:
    """With torch installed, its answer counts."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: answer)

    assert cuda_available() is answer


def test_without_torch_there_is_no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without torch is one without CUDA, not an error."""
    monkeypatch.setitem(sys.modules, "torch", None)

    assert cuda_available() is False


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """Return an installed fake of pynvml beside a fake GPU in torch."""
    return install(monkeypatch)


KNOWN = GpuState(
    gpu_name="Sample GPU",
    gpu_uuid="GPU-1234-5678",
    driver="570.1",
    cuda="13.0",
    power_limit_w=350.0,
    sm_clock_mhz=1000,
    memory_clock_mhz=2000,
    persistence=True,
    mig=False,
)


def test_the_state_of_a_gpu(nvml: FakeNvml) -> None:
    """torch tells name, UUID and CUDA version, NVML the rest, in watts and megahertz."""
    assert gpu_state() == KNOWN
    assert nvml.asked == ["GPU-1234-5678"]
    assert nvml.open == 0


def test_the_machine_of_a_gpu_run(nvml: FakeNvml) -> None:
    """The GPU gives the machine its name; the CPU stays in the fingerprint."""
    here = machine("cuda", "Sample CPU")

    assert here.name == "Sample GPU"
    assert here.cpu_model == "Sample CPU"
    assert here.power_limit_w == 350.0
    assert nvml.open == 0


@pytest.mark.parametrize(
    ("query", "lost"),
    [
        ("nvmlDeviceGetEnforcedPowerLimit", {"power_limit_w"}),
        ("nvmlDeviceGetMaxClockInfo", {"sm_clock_mhz", "memory_clock_mhz"}),
        ("nvmlSystemGetDriverVersion", {"driver"}),
        ("nvmlDeviceGetPersistenceMode", {"persistence"}),
        ("nvmlDeviceGetMigMode", {"mig"}),
    ],
)
def test_what_a_gpu_does_not_tell_stays_open(nvml: FakeNvml, query: str, lost: set[str]) -> None:
    """A query that the device does not support costs its own fields and no others."""
    setattr(nvml, query, not_supported)

    state = gpu_state()

    for field in fields(GpuState):
        expected = None if field.name in lost else getattr(KNOWN, field.name)
        assert getattr(state, field.name) == expected
    assert nvml.open == 0


@pytest.mark.parametrize("query", ["nvmlInit", "nvmlDeviceGetHandleByUUID"])
def test_a_gpu_that_nvml_cannot_find_keeps_what_torch_tells(nvml: FakeNvml, query: str) -> None:
    """No NVML library (WSL, a container) or no such handle (MIG) is no reason to stop a run."""
    setattr(nvml, query, not_supported)

    state = gpu_state()

    assert (state.gpu_name, state.gpu_uuid, state.cuda) == ("Sample GPU", "GPU-1234-5678", "13.0")
    assert (state.power_limit_w, state.sm_clock_mhz, state.memory_clock_mhz) == (None, None, None)
    assert nvml.open == 0


def test_without_pynvml_torch_s_part_remains(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra ``gpu`` is optional."""
    monkeypatch.setitem(sys.modules, "pynvml", None)

    assert gpu_state() == GpuState("Sample GPU", "GPU-1234-5678", None, "13.0", None, None, None)
    assert nvml.open == 0


@pytest.mark.cuda
def test_the_state_of_a_real_gpu() -> None:
    """On a real device the name and UUID are those torch knows."""
    state = gpu_state()

    assert state.gpu_name == torch.cuda.get_device_name()
    assert state.gpu_uuid is not None
    assert state.gpu_uuid.startswith("GPU-")
