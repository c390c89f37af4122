"""The table of SSD backends; a new one is one module and one row here.

Triton multiplies float32 matrices as TF32 unless told otherwise, and neither package tells it: on
CUDA a float32 scan is for ``chunked``.
"""

from collections.abc import Mapping
from typing import TypeAlias

from efficarch.scan import backends
from efficarch.scan.base import HALF
from efficarch.scan.ssd import chunked, cpp, fla, mamba_ssm, naive
from efficarch.scan.ssd.base import SsdInputs

SsdBackend: TypeAlias = backends.Row[SsdInputs]
"""A backend of SSD."""

AUTO = {"cuda": ("mamba_ssm", "fla"), "cpu": ("cpp",)}
"""What ``auto`` tries, by type of device and in this order, before it takes ``chunked``."""

_ROWS = (
    SsdBackend(
        name="naive",
        run=naive.scan,
        summary="one step at a time; the oracle",
        source="arXiv 2405.21060, section 2.2",
    ),
    SsdBackend(
        name="chunked",
        run=chunked.scan,
        summary="pure PyTorch, matrix products within chunks",
        source="arXiv 2405.21060, section 6",
    ),
    SsdBackend(
        name="cpp",
        run=cpp.scan,
        summary="the selective scan's C++ kernel, a head as channels that are alike",
        source="arXiv 2405.21060, section 2.2; kernel our own",
        devices=("cpu",),
        differentiable=False,
        missing=backends.backend("cpp").missing,
        failure=backends.backend("cpp").failure,
    ),
    SsdBackend(
        name="mamba_ssm",
        run=mamba_ssm.scan,
        summary="the authors' Triton kernels, from the package mamba-ssm",
        source="arXiv 2405.21060, section 6; the package",
        devices=("cuda",),
        dtypes=HALF,
        differentiable=False,
        missing=mamba_ssm.missing,
    ),
    SsdBackend(
        name="fla",
        run=fla.scan,
        summary="gated linear attention in Triton, from the package fla-core",
        source="arXiv 2405.21060, section 2.2; the package",
        devices=("cuda",),
        dtypes=HALF,
        differentiable=False,
        missing=fla.missing,
    ),
)

SSD_BACKENDS: Mapping[str, SsdBackend] = {row.name: row for row in _ROWS}


def ssd_backend(name: str) -> SsdBackend:
    """Return the row called ``name``.

    Raises:
        UnknownNameError: no backend has this name.
    """
    return backends.named(name, SSD_BACKENDS)


def choose(name: str, inputs: SsdInputs) -> SsdBackend:
    """Return the backend that runs ``inputs``; see ``scan.backends.pick``."""
    return backends.pick(name, inputs, SSD_BACKENDS, AUTO)
