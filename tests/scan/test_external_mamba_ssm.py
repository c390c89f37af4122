"""Claims about the backend mamba_ssm, with a made-up package that computes on the CPU.

What the real kernel computes is for the parity suite, on a machine with CUDA.
"""

from pathlib import Path

import pytest

from efficarch.scan.kernel_packages import MAMBA_SSM
from tests.scan.fake_packages import install, none_installed, run_with

pytestmark = none_installed

RUN = """
from dataclasses import replace
import torch
from efficarch.scan import external_mamba_ssm, naive
from tests.scan.samples import random_inputs

for dtype in (torch.float32, torch.bfloat16):
    inputs = random_inputs(20, groups=2).to(dtype)
    # as a caller may well have them: wide, and not contiguous
    inputs = replace(inputs, A=inputs.A.double().t().contiguous().t(), D=inputs.D.repeat(2)[::2])
    for given in (inputs, replace(inputs, D=None, z=None, delta_bias=None)):
        for last in (False, True):
            found = external_mamba_ssm.scan(given, return_last_state=last)
            expected = naive.scan(given, return_last_state=last)
            pairs = zip(found, expected, strict=True) if last else ((found, expected),)
            assert all(torch.equal(mine, theirs) for mine, theirs in pairs)
print("same")
"""

ASK = """
from unittest import mock
import torch
from efficarch.scan import external_mamba_ssm

for there in (False, True):
    with mock.patch.object(torch.cuda, "is_available", lambda: there):
        print(external_mamba_ssm.missing())
"""


def test_every_argument_reaches_the_package(tmp_path: Path) -> None:
    """Each in its place, parameters in the form that the CUDA kernel insists on."""
    install(tmp_path, MAMBA_SSM)

    run = run_with(tmp_path, "-c", RUN)

    assert (run.returncode, run.stdout) == (0, "same\n"), run.stderr


def test_it_needs_the_package_and_a_gpu(tmp_path: Path) -> None:
    """A whole package is missing a GPU where there is none, and nothing where there is one."""
    install(tmp_path, MAMBA_SSM)

    run = run_with(tmp_path, "-c", ASK)

    assert run.stdout.splitlines() == [
        "torch sees no CUDA device; it needs a GPU and a CUDA build of torch",
        "None",
    ], run.stderr


@pytest.mark.parametrize("extension", [True, False], ids=["whole", "without extension"])
def test_doctor_names_an_installed_package(extension: bool, tmp_path: Path) -> None:
    """On the CPU even a whole one is a problem, since transformers takes it."""
    install(tmp_path, MAMBA_SSM)
    if not extension:
        (tmp_path / "selective_scan_cuda.py").unlink()

    run = run_with(tmp_path, "-m", "efficarch", "doctor")

    assert run.returncode == 0, run.stderr
    (line,) = [line for line in run.stdout.splitlines() if "scan backend mamba_ssm" in line]
    assert line.endswith("pip uninstall mamba-ssm")
    if extension:
        assert "mamba-ssm 2.3.2.post1 needs CUDA, of which there is none, and transformers" in line
    else:
        assert "is half-installed: its compiled part selective_scan_cuda is missing" in line
