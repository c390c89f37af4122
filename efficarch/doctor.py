"""What this machine can measure and what is missing, with the fix for each."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from efficarch.errors import EfficarchError
from efficarch.extras import not_installed, remedy
from efficarch.models import model_row

if TYPE_CHECKING:
    from efficarch.scan.kernel_packages import KernelPackage

HUB_IDS = {
    "clip-vit-b16": "HUB_ID",
    "siglip-base-p16": "HUB_ID",
    "vit-b16": "HUB_ID",
    "qwen2.5-vl-3b": "HUB_3B",
    "qwen2.5-vl-7b": "HUB_7B",
    "mamba-130m": "HUB_MAMBA",
    "mamba2-130m": "HUB_MAMBA2",
}
"""Where the file of a model holds its default on the hub."""


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, whether it is there, and what to do if it is not."""

    subject: str
    present: bool
    detail: str

    def __str__(self) -> str:
        return f"{'ok     ' if self.present else 'missing'}  {self.subject}: {self.detail}"


def findings() -> list[Finding]:
    """Look at torch, the GPU, the scan backends, the weights and the baseline, in that order."""
    if find_spec("torch") is None:
        fix = f"{not_installed('torch')}; reports work without it"
        return [Finding("torch", present=False, detail=fix)]
    hub = [_hub(name, constant) for name, constant in HUB_IDS.items()]
    return [_torch(), _cuda(), _nvml(), *_scans(), _dinov2(), *hub, _baseline()]


def _torch() -> Finding:
    import torch

    threads = torch.get_num_threads()
    return Finding("torch", present=True, detail=f"{torch.__version__}, {threads} threads")


def _cuda() -> Finding:
    from efficarch.probe import cuda_available, device_name

    if cuda_available():
        return Finding("CUDA", present=True, detail=device_name("cuda"))
    return Finding("CUDA", present=False, detail="runs use the CPU profile; needs a CUDA torch")


def _nvml() -> Finding:
    from efficarch.probe import cuda_available

    if find_spec("pynvml") is not None:
        return Finding("nvidia-ml-py", present=True, detail="driver, power limit and clocks")
    needed = "needed on this machine" if cuda_available() else "only needed with CUDA"
    return Finding("nvidia-ml-py", present=False, detail=f"pip install nvidia-ml-py; {needed}")


def _scans() -> list[Finding]:
    """Look at what the scan backends need, without compiling anything."""
    from efficarch.scan.kernel_packages import CAUSAL_CONV1D, MAMBA_SSM

    compiler = "a C++ compiler and ninja; the kernel is compiled on first use"
    return [
        _backend("cpp", compiler),
        _backend("triton", "kernels are compiled on first use"),
        _package("scan backend mamba_ssm", MAMBA_SSM),
        _package("causal_conv1d", CAUSAL_CONV1D),
    ]


def _backend(name: str, present: str) -> Finding:
    from efficarch.scan import BACKENDS

    reason = BACKENDS[name].missing()
    return Finding(f"scan backend {name}", present=reason is None, detail=reason or present)


def _package(subject: str, package: "KernelPackage") -> Finding:
    from efficarch.probe import cuda_available
    from efficarch.scan.kernel_packages import problem

    reason = problem(package)
    if reason is not None:
        return Finding(subject, present=False, detail=reason)
    installed = f"{package.distribution} {version(package.distribution)}"
    if cuda_available():
        return Finding(subject, present=True, detail=installed)
    fix = (
        f"{installed} needs CUDA, of which there is none, and transformers takes it on the CPU "
        f"too, where it fails; pip uninstall {package.distribution}"
    )
    return Finding(subject, present=False, detail=fix)


def _dinov2() -> Finding:
    from efficarch.models.dinov2 import packaged_file

    return _attempt("dinov2-small weights", lambda: packaged_file().name)


def _hub(name: str, constant: str) -> Finding:
    if find_spec("huggingface_hub") is None:
        return Finding(f"{name} weights", present=False, detail=not_installed("huggingface_hub"))
    from huggingface_hub import try_to_load_from_cache

    row = model_row(name)
    hub_id: str = getattr(import_module(row.module.partition(":")[0]), constant)
    if isinstance(try_to_load_from_cache(hub_id, "config.json"), str):
        return Finding(f"{name} weights", present=True, detail=f"{hub_id} in the hub cache")
    fix = f"name a folder or hub id with {row.option}, or time it with --weights random"
    return Finding(f"{name} weights", present=False, detail=fix)


def _baseline() -> Finding:
    from efficarch.probe import cuda_available, device_name, machine
    from efficarch.store import baseline_path

    here = machine("cuda" if cuda_available() else "cpu", device_name("cpu"))
    path = baseline_path(Path("suites/baselines"), here)
    fix = f"{path}; store one with: efficarch bench --save-baseline"
    return Finding("baseline", present=path.is_file(), detail=str(path) if path.is_file() else fix)


def _attempt(subject: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, present=True, detail=look())
    except EfficarchError as error:
        return Finding(subject, present=False, detail=str(error))
    except ImportError as error:
        return Finding(subject, present=False, detail=remedy(error) or str(error))
