"""Packages that bring compiled CUDA kernels: whether they work here, or why not and what to do.

They are what goes wrong most often around Mamba: no wheel for this torch, a build without nvcc, an
extension made for another torch. transformers takes both packages as soon as they can be imported,
on the CPU too, and goes without a word to its slow path where they cannot.
"""

import re
import warnings
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import torch

from efficarch.errors import first_line


@dataclass(frozen=True)
class KernelPackage:
    """A package in Python around one compiled extension.

    ``entry`` is the module whose import shows that it works, ``switch`` the variable that makes pip
    compile it, ``oldest`` the version from which it is taken.
    """

    module: str
    extension: str
    entry: str
    switch: str
    oldest: tuple[int, ...]

    @property
    def distribution(self) -> str:
        """The name that pip knows it by."""
        return self.module.replace("_", "-")


MAMBA_SSM = KernelPackage(
    module="mamba_ssm",
    extension="selective_scan_cuda",
    entry="mamba_ssm.ops.selective_scan_interface",
    switch="MAMBA_FORCE_BUILD",
    # the oldest that transformers takes for Mamba-2
    oldest=(2, 0, 4),
)
CAUSAL_CONV1D = KernelPackage(
    module="causal_conv1d",
    extension="causal_conv1d_cuda",
    entry="causal_conv1d",
    switch="CAUSAL_CONV1D_FORCE_BUILD",
    # the oldest that mamba-ssm 2 asks for
    oldest=(1, 2, 0),
)


@cache
def problem(package: KernelPackage) -> str | None:
    """Say in one sentence why a package cannot be used and what to do, or nothing; asked once.

    Whether there is a GPU is left out. A package that looks whole is imported, which is the only
    way to find out that its extension was built for another torch.
    """
    return _installation(package) or _import(package)


def no_cuda() -> str | None:
    """Say that torch sees no CUDA device, or nothing if it sees one."""
    if torch.cuda.is_available():
        return None
    return "torch sees no CUDA device; it needs a GPU and a CUDA build of torch"


def _installation(package: KernelPackage) -> str | None:
    """Look at what lies on the path, without importing any of it."""
    name, spec = package.distribution, _spec(package.module)
    try:
        installed = version(name)
    except PackageNotFoundError:
        if spec is None:
            return (
                f"{name} is not installed; with a GPU and nvcc: "
                f"pip install --no-build-isolation {name}"
            )
        return (
            f"{name} is half-installed: {_place(spec)} is there but no version is registered; "
            f"remove it, or pip install --no-build-isolation {name}"
        )
    if spec is None:
        return (
            f"{name} {installed} is half-installed: it is registered but {package.module} is gone; "
            f"pip install --force-reinstall --no-deps --no-build-isolation {name}"
        )
    if _numbers(installed) < package.oldest:
        oldest = ".".join(map(str, package.oldest))
        return f"{name} {installed} is older than {oldest}; pip install -U {name}"
    if _spec(package.extension) is None:
        return (
            f"{name} {installed} is half-installed: its compiled part {package.extension} is "
            f"missing; {_rebuild(package)}"
        )
    return None


def _import(package: KernelPackage) -> str | None:
    name = f"{package.distribution} {version(package.distribution)} is broken"
    with warnings.catch_warnings():
        # a warning inside somebody else's package is no reason to call it broken
        warnings.simplefilter("ignore")
        try:
            import_module(package.extension)
        except Exception as error:
            return (
                f"{name}: its compiled part {package.extension} cannot be loaded "
                f"({first_line(str(error))}); it has to fit torch {torch.__version__}: "
                f"{_rebuild(package)}"
            )
        reason = import_problem(package.entry, package.distribution)
    return None if reason is None else f"{name}: {reason}"


def import_problem(module: str, distribution: str) -> str | None:
    """Import a module and say in words what it raises and what to do, or nothing."""
    try:
        import_module(module)
    except Exception as error:
        return (
            f"importing {module} raises {type(error).__name__} ({first_line(str(error))}); "
            f"mend that or pip uninstall {distribution}"
        )
    return None


def _rebuild(package: KernelPackage) -> str:
    return (
        f"build it with nvcc ({package.switch}=TRUE pip install --force-reinstall --no-deps "
        f"--no-build-isolation {package.distribution}) or pip uninstall {package.distribution}"
    )


def _spec(module: str) -> ModuleSpec | None:
    try:
        return find_spec(module)
    except ValueError:  # a bare module that somebody put in its place
        return None


def _place(spec: ModuleSpec) -> str:
    folders = list(spec.submodule_search_locations or ())
    return folders[0] if folders else str(spec.origin)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])
