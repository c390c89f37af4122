"""Claims about the diagnosis of mamba-ssm and causal-conv1d: absent, half-installed, broken."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from efficarch.scan.kernel_packages import CAUSAL_CONV1D, MAMBA_SSM, KernelPackage
from tests.scan.fake_packages import PACKAGES, install, none_installed, run_with

pytestmark = none_installed

ASK = """
import importlib, sys
from efficarch.scan import kernel_packages

for package, folder in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    print(kernel_packages.problem.__wrapped__(getattr(kernel_packages, package)))
    sys.path.remove(folder)
    for name in [name for name in sys.modules if name.startswith(("mamba_ssm", "selective_scan_"))]:
        del sys.modules[name]
"""

NAMES = {MAMBA_SSM: "MAMBA_SSM", CAUSAL_CONV1D: "CAUSAL_CONV1D"}


def problems(empty: Path, *asked: tuple[KernelPackage, Path]) -> list[str]:
    """Return what is said of each package with its folder in front of everything installed."""
    arguments = [text for package, folder in asked for text in (NAMES[package], str(folder))]
    run = run_with(empty, "-W", "error", "-c", ASK, *arguments)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def _nothing(_folder: Path, _package: KernelPackage) -> None:
    """Install nothing."""


def _without_metadata(folder: Path, package: KernelPackage) -> None:
    install(folder, package, version=None)


def _leftover_folder(folder: Path, package: KernelPackage) -> None:
    (folder / package.module / "ops").mkdir(parents=True)


def _without_module(folder: Path, package: KernelPackage) -> None:
    install(folder, package)
    shutil.rmtree(folder / package.module)


def _old(folder: Path, package: KernelPackage) -> None:
    install(folder, package, version="1.1.3")


def _without_extension(folder: Path, package: KernelPackage) -> None:
    install(folder, package)
    (folder / f"{package.extension}.py").unlink()


def _for_another_torch(folder: Path, package: KernelPackage) -> None:
    install(folder, package)
    text = "raise ImportError('x.so: undefined symbol: _ZN3c105ErrorC2E\\nmore')"
    (folder / f"{package.extension}.py").write_text(text)


def _not_even_a_library(folder: Path, package: KernelPackage) -> None:
    install(folder, package)
    (folder / f"{package.extension}.py").write_text("raise OSError('libcudart.so.13 not found')")


def _without_its_needs(folder: Path, package: KernelPackage) -> None:
    install(folder, package)
    (folder / package.module / "__init__.py").write_text("import einops_that_nobody_has")


def _raising(folder: Path, package: KernelPackage) -> None:
    install(folder, package)
    (folder / package.module / "__init__.py").write_text("raise RuntimeError")


CASES: list[tuple[Callable[[Path, KernelPackage], None], str]] = [
    (
        _nothing,
        "{d} is not installed; with a GPU and nvcc: pip install --no-build-isolation {d}",
    ),
    (
        _without_metadata,
        "{d} is half-installed: {f}/{m} is there but no version is registered; "
        "remove it, or pip install --no-build-isolation {d}",
    ),
    (
        _leftover_folder,
        "{d} is half-installed: {f}/{m} is there but no version is registered; "
        "remove it, or pip install --no-build-isolation {d}",
    ),
    (
        _without_module,
        "{d} 2.3.2.post1 is half-installed: it is registered but {m} is gone; "
        "pip install --force-reinstall --no-deps --no-build-isolation {d}",
    ),
    (_old, "{d} 1.1.3 is older than {o}; pip install -U {d}"),
    (
        _without_extension,
        "{d} 2.3.2.post1 is half-installed: its compiled part {e} is missing; build it with nvcc "
        "({s}=TRUE pip install --force-reinstall --no-deps --no-build-isolation {d}) "
        "or pip uninstall {d}",
    ),
    (
        _for_another_torch,
        "{d} 2.3.2.post1 is broken: its compiled part {e} cannot be loaded "
        "(x.so: undefined symbol: _ZN3c105ErrorC2E); it has to fit torch {t}: build it with nvcc "
        "({s}=TRUE pip install --force-reinstall --no-deps --no-build-isolation {d}) "
        "or pip uninstall {d}",
    ),
    (
        _not_even_a_library,
        "{d} 2.3.2.post1 is broken: its compiled part {e} cannot be loaded "
        "(libcudart.so.13 not found); it has to fit torch {t}: build it with nvcc "
        "({s}=TRUE pip install --force-reinstall --no-deps --no-build-isolation {d}) "
        "or pip uninstall {d}",
    ),
    (
        _without_its_needs,
        "{d} 2.3.2.post1 is broken: importing {i} raises ModuleNotFoundError "
        "(No module named 'einops_that_nobody_has'); mend that or pip uninstall {d}",
    ),
    (
        _raising,
        "{d} 2.3.2.post1 is broken: importing {i} raises RuntimeError "
        "(no message); mend that or pip uninstall {d}",
    ),
    (install, "None"),
]


ALIKE = [case for case in CASES if case[0] in (_nothing, _old, _without_extension, install)]
"""The states that causal-conv1d is put into too: the code is the same, the names are its own."""

ASKED = [(MAMBA_SSM, *case) for case in CASES] + [(CAUSAL_CONV1D, *case) for case in ALIKE]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Path]]:
    """Ask about all of them in one process; return each answer with the folder of its state."""
    folders = [tmp_path_factory.mktemp("state") for _ in ASKED]
    for (package, state, _), folder in zip(ASKED, folders, strict=True):
        state(folder, package)
    packages = [package for package, *_ in ASKED]
    empty = tmp_path_factory.mktemp("empty")
    answers = problems(empty, *zip(packages, folders, strict=True))
    return list(zip(answers, folders, strict=True))


@pytest.mark.parametrize(
    "index",
    range(len(ASKED)),
    ids=[f"{package.module}{state.__name__}" for package, state, _ in ASKED],
)
def test_each_state_has_its_sentence(index: int, said: list[tuple[str, Path]]) -> None:
    """What is wrong, with the version, and what to do about it, in one line."""
    (answer, folder), (package, _, sentence) = said[index], ASKED[index]

    assert answer == filled(sentence, folder, package)


def filled(sentence: str, folder: Path, package: KernelPackage) -> str:
    """Put the names of a package into a sentence."""
    return sentence.format(
        d=package.distribution,
        m=package.module,
        e=package.extension,
        i=package.entry,
        s=package.switch,
        o=".".join(map(str, package.oldest)),
        f=folder,
        t=torch.__version__,
    )


def test_a_warning_of_theirs_does_not_make_them_broken(tmp_path: Path) -> None:
    """Even where warnings are errors, as in a test session."""
    install(tmp_path, MAMBA_SSM)
    text = "import warnings; warnings.warn('soon gone', DeprecationWarning)"
    (tmp_path / "selective_scan_cuda.py").write_text(text)

    assert problems(tmp_path, (MAMBA_SSM, tmp_path)) == ["None"]


def test_a_stub_in_place_of_the_extension_is_no_extension(tmp_path: Path) -> None:
    """An empty module put there to get at the Triton operations has no kernel."""
    install(tmp_path, MAMBA_SSM)
    stub = "import sys, types; sys.modules['selective_scan_cuda'] = types.ModuleType('stub')"

    run = run_with(tmp_path, "-c", stub + ASK, "MAMBA_SSM", str(tmp_path))

    assert "its compiled part selective_scan_cuda is missing" in run.stdout, run.stderr


def test_nothing_is_imported_before_it_is_asked_for(tmp_path: Path) -> None:
    """Importing the table, the doctor and the command line leaves the packages alone."""
    for package in PACKAGES:
        install(tmp_path, package)
        (tmp_path / package.module / "__init__.py").write_text("raise SystemExit('imported')")
    names = [name for package in PACKAGES for name in (package.module, package.extension)]
    code = (
        "import sys, efficarch.cli, efficarch.doctor, efficarch.listing, efficarch.scan\n"
        "efficarch.listing.markdown_tables()\n"
        f"print([name for name in {names} if name in sys.modules])"
    )

    run = run_with(tmp_path, "-c", code)

    assert (run.returncode, run.stdout) == (0, "[]\n"), run.stderr
