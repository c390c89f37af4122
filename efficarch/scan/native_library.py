"""Compiles and loads the C++ kernels beside this module, once per source, flags and CPU."""

import hashlib
import os
import platform
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from subprocess import SubprocessError

import torch

from efficarch.errors import EfficarchError

_FOLDER = Path(__file__).parent / "native"
_NAME = "efficarch_scan"


def missing() -> str | None:
    """Say in one sentence why the kernels cannot be had here and what to do, or None; cheap.

    Compiles nothing: a compiler that is there but fails is found out by ``load``.
    """
    if sys.platform == "win32":
        return "the cpp backend needs GCC's vector extensions, which MSVC lacks; use chunked"
    if _cached().exists():
        return None
    compiler = os.environ.get("CXX", "c++")
    if shutil.which(compiler.split()[0] if compiler.split() else compiler) is None:
        return f"the cpp backend needs a C++ compiler and {compiler!r} is not on PATH; install g++"
    if _ninja() is None:
        return "the cpp backend needs ninja to compile; pip install ninja"
    return None


def load() -> None:
    """Make ``torch.ops.efficarch`` available, compiling it if this machine has not done so yet.

    Raises:
        EfficarchError: something is missing, or the compiler failed, now or before.
    """
    problem = _load_once()
    if problem is not None:
        raise EfficarchError(problem)


@cache
def _load_once() -> str | None:
    problem = missing()
    library = _cached()
    if problem is not None or _loads(library):
        return problem
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        with _locked(library.with_suffix(".lock")):
            # another process may have compiled it while this one waited
            if not _loads(library):
                _compile(library)
    except OSError as error:
        return (
            f"the cpp backend cannot keep its kernels in {library.parent}: {error}; "
            "set TORCH_EXTENSIONS_DIR to a folder that can be written"
        )
    except (RuntimeError, SubprocessError) as error:
        return f"the cpp backend cannot be compiled: {_first_error(str(error))}; use chunked"
    return None


def _loads(library: Path) -> bool:
    """Load a library; one that is not there or is damaged counts as not compiled yet."""
    try:
        torch.ops.load_library(str(library))
    except OSError:
        return False
    return True


def _compile(library: Path) -> None:
    """Build and load in a folder of our own, and move the result: nobody sees half a library."""
    from torch.utils import cpp_extension

    with tempfile.TemporaryDirectory(dir=library.parent) as folder, _ninja_on_path():
        built: str = cpp_extension.load(
            name=library.stem,
            sources=[str(source) for source in sorted(_FOLDER.glob("*.cpp"))],
            extra_cflags=_flags(),
            build_directory=folder,
            is_python_module=False,
        )
        Path(built).replace(library)


def _flags() -> list[str]:
    # torch exports the symbols of the OpenMP runtime it brings; linking a second one would give
    # the kernels threads that torch.set_num_threads does not count
    openmp = ["-fopenmp"] if sys.platform == "linux" else []
    native = "-mcpu=native" if platform.machine() in ("aarch64", "arm64") else "-march=native"
    return ["-O3", native, *openmp]


@cache
def _cached() -> Path:
    """Return the file of this source, these flags, this torch and this CPU."""
    from torch.utils import cpp_extension

    digest = hashlib.sha256()
    for part in (*_flags(), torch.__version__, _cpu()):
        digest.update(part.encode() + b"\0")
    for source in sorted(_FOLDER.iterdir()):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    root = os.environ.get("TORCH_EXTENSIONS_DIR") or cpp_extension.get_default_build_root()
    name = f"{_NAME}_{digest.hexdigest()[:16]}"
    return Path(root) / _NAME / f"{name}.so"


def _cpu() -> str:
    """Return what -march=native depends on: the model and the features of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    wanted = ("model name", "flags", "Features", "CPU implementer", "CPU part")
    return platform.machine() + "".join(sorted({x for x in lines if x.startswith(wanted)}))


def _ninja() -> str | None:
    """Return the ninja program: that on PATH, or that beside this interpreter."""
    return shutil.which("ninja") or shutil.which("ninja", path=sysconfig.get_path("scripts"))


@contextmanager
def _ninja_on_path() -> Iterator[None]:
    """torch calls ninja by its bare name; a virtual environment need not be on PATH."""
    before = os.environ.get("PATH", "")
    ninja = _ninja()
    if ninja is not None and shutil.which("ninja") is None:
        os.environ["PATH"] = os.pathsep.join((str(Path(ninja).parent), before))
    try:
        yield
    finally:
        os.environ["PATH"] = before


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file; the system releases it even if this process is killed."""
    import fcntl

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _first_error(output: str) -> str:
    """Return the first line of a compiler's output that names an error, else its first line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line.lower() or "not found" in line]
    return (errors or lines or ["no message"])[0]
