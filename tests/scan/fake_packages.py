"""Made-up installations of mamba-ssm and causal-conv1d, whole and broken, written to a folder.

They are looked at in processes of their own: transformers takes up such a package as soon as it can
be imported, and would keep it for every later test.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from efficarch.scan.kernel_packages import CAUSAL_CONV1D, MAMBA_SSM, KernelPackage

ROOT = Path(__file__).parents[2]

PACKAGES = (MAMBA_SSM, CAUSAL_CONV1D)

none_installed = pytest.mark.skipif(
    any(find_spec(package.module) is not None for package in PACKAGES),
    reason="a real mamba-ssm or causal-conv1d is installed and would be found beside made-up ones",
)

KERNEL = """
import torch
import selective_scan_cuda
from efficarch.scan import ScanInputs, naive


def selective_scan_fn(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False,
                      return_last_state=False):
    for parameter in (A, D, delta_bias):  # what the CUDA kernel checks of them
        if parameter is not None:
            assert parameter.dtype == torch.float32, parameter.dtype
            assert parameter.is_contiguous(), parameter.stride()
    inputs = ScanInputs(u, delta, A, B, C, D, z, delta_bias, delta_softplus)
    return naive.scan(inputs, return_last_state=return_last_state)
"""
"""A selective_scan_fn for the CPU, behind the unguarded import of mamba-ssm 2.3."""


def install(folder: Path, package: KernelPackage, *, version: str | None = "2.3.2.post1") -> None:
    """Write a whole package: its metadata unless ``version`` is None, its module, its extension."""
    if version is not None:
        metadata = folder / f"{package.module}-{version}.dist-info/METADATA"
        _write(metadata, f"Metadata-Version: 2.1\nName: {package.distribution}\nVersion: {version}")
    _write(folder / f"{package.extension}.py", "")
    if package is CAUSAL_CONV1D:
        _write(folder / "causal_conv1d/__init__.py", "import causal_conv1d_cuda")
    else:
        # 2.3 imports its kernel as soon as anything of it is imported
        first = "from mamba_ssm.ops.selective_scan_interface import selective_scan_fn"
        _write(folder / "mamba_ssm/__init__.py", first)
        _write(folder / "mamba_ssm/ops/__init__.py", "")
        _write(folder / "mamba_ssm/ops/selective_scan_interface.py", KERNEL)


def run_with(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this Python with a folder in front of everything that is installed."""
    path = os.pathsep.join((str(folder), str(ROOT), *sys.path))
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
