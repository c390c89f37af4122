"""Claims about compiling on first use: once, whole, and one clear sentence where it cannot be.

Most of these run a compiler that is a script: it hands out the library that the machine's own
compiler made for the other tests, or fails.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from efficarch.errors import EfficarchError
from efficarch.scan import native_library

SCAN = """
import torch
from efficarch.scan import cpp, synthetic_inputs
out = cpp.scan(synthetic_inputs(
    batch=1, channels=3, state=4, length=20, seed=0, device="cpu", dtype=torch.float32
))
assert out.isfinite().all()
"""

TWICE = """
from efficarch.errors import EfficarchError
from efficarch.scan import native_library
for _ in range(2):
    try:
        native_library.load()
    except EfficarchError as error:
        print(error)
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where the scripted compiler writes what it was asked for, a line each time."""
    path = tmp_path / "log"
    path.touch()
    return path


@pytest.fixture
def working(tmp_path: Path, log: Path) -> Path:
    """Return a compiler whose libraries are copies of the real one."""
    native_library.load()
    return _compiler(
        tmp_path,
        f"""
        case "$*" in
          *-shared*) echo link >> {log}; from={native_library._cached()} ;;
          *) echo compile >> {log}; from=/dev/null ;;
        esac
        while [ "$1" != -o ]; do shift; done
        cp "$from" "$2"
        """,
    )


@pytest.fixture
def failing(tmp_path: Path, log: Path) -> Path:
    """Return a compiler that finds an error in everything."""
    return _compiler(
        tmp_path,
        f"""
        echo compile >> {log}
        echo "In file included from here:" >&2
        echo "scan.h:7:1: error: first of all" >&2
        echo "scan.h:8:1: error: and then some" >&2
        exit 1
        """,
    )


def test_it_is_compiled_once_and_kept(tmp_path: Path, working: Path, log: Path) -> None:
    """A second process loads what the first one compiled."""
    for _ in range(2):
        _finish(_start(SCAN, tmp_path, working))

    assert log.read_text().split().count("link") == 1
    assert [path.suffix for path in _kept(tmp_path)] == [".lock", ".so"]


def test_two_processes_at_once(tmp_path: Path, working: Path, log: Path) -> None:
    """One compiles, the other waits for it."""
    both = [_start(SCAN, tmp_path, working) for _ in range(2)]
    for process in both:
        _finish(process)

    assert log.read_text().split().count("link") == 1


def test_a_damaged_library_is_compiled_again(tmp_path: Path, working: Path, log: Path) -> None:
    """What cannot be loaded is replaced."""
    library = tmp_path / "extensions" / "efficarch_scan" / native_library._cached().name
    library.parent.mkdir(parents=True)
    library.write_bytes(b"\x7fELF and then nothing")

    _finish(_start(SCAN, tmp_path, working))

    assert log.read_text().split().count("link") == 1
    assert library.read_bytes() == native_library._cached().read_bytes()


def test_a_failing_compiler_is_asked_once(tmp_path: Path, failing: Path, log: Path) -> None:
    """The first error in one sentence, the same one again without compiling, nothing left over."""
    printed = _finish(_start(TWICE, tmp_path, failing)).splitlines()

    assert printed == 2 * [
        "the cpp backend cannot be compiled: scan.h:7:1: error: first of all; use chunked"
    ]
    # at most once per source: ninja compiles them side by side and stops at an error
    sources = len(list(native_library._FOLDER.glob("*.cpp")))
    assert 1 <= len(log.read_text().split()) <= sources
    assert [path.suffix for path in _kept(tmp_path)] == [".lock"]


def test_a_compiler_that_is_none(tmp_path: Path) -> None:
    """torch asks a compiler who it is first; one that cannot say fails as any other."""
    printed = _finish(_start(TWICE, tmp_path, Path("/bin/false"))).splitlines()

    assert printed[0].startswith("the cpp backend cannot be compiled: ")
    assert printed[0].endswith("; use chunked")
    assert printed == 2 * [printed[0]]


def test_a_folder_that_cannot_be_written(tmp_path: Path, working: Path, log: Path) -> None:
    """The sentence names the folder and what to set."""
    (tmp_path / "extensions").write_text("a file, so no folder can be made of it")

    printed = _finish(_start(TWICE, tmp_path, working)).splitlines()

    assert printed[0].startswith(
        f"the cpp backend cannot keep its kernels in {tmp_path / 'extensions' / 'efficarch_scan'}: "
    )
    assert printed[0].endswith("; set TORCH_EXTENSIONS_DIR to a folder that can be written")
    assert not log.read_text()


@pytest.fixture
def nothing_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for the library where none is."""
    monkeypatch.setattr(native_library, "_cached", lambda: tmp_path / "none.so")


@pytest.mark.usefixtures("nothing_cached")
@pytest.mark.parametrize("variable", [None, "", "no-such-g++ -m64"], ids=repr)
def test_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None) -> None:
    """The sentence names the compiler that was looked for."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    if variable is not None:
        monkeypatch.setenv("CXX", variable)

    problem = native_library.missing()

    name = "c++" if variable is None else variable
    assert problem == (
        f"the cpp backend needs a C++ compiler and {name!r} is not on PATH; install g++"
    )


@pytest.mark.usefixtures("nothing_cached")
def test_no_ninja(tmp_path: Path, failing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler alone is not enough, and nothing is tried."""
    monkeypatch.setenv("CXX", str(failing))
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setattr(native_library.sysconfig, "get_path", lambda _name: str(tmp_path))

    assert native_library.missing() == ("the cpp backend needs ninja to compile; pip install ninja")


def test_ninja_beside_the_interpreter(
    tmp_path: Path, working: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A virtual environment that is not activated has ninja, though PATH does not."""
    scripts = Path(sys.executable).parent
    kept = [folder for folder in os.environ["PATH"].split(os.pathsep) if Path(folder) != scripts]
    monkeypatch.setenv("PATH", os.pathsep.join(kept))

    _finish(_start(SCAN, tmp_path, working))


def test_what_is_compiled_needs_neither(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Once compiled, it runs on a machine without compiler and ninja."""
    native_library.load()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(native_library.sysconfig, "get_path", lambda _name: str(tmp_path))

    assert native_library.missing() is None


@pytest.mark.parametrize("changed", ["source", "header", "flags", "torch", "cpu"])
def test_a_change_needs_another_library(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Source, flags, torch and CPU are in its name; the same ones give the same name."""
    folder = tmp_path / "native"
    shutil.copytree(native_library._FOLDER, folder)
    monkeypatch.setattr(native_library, "_FOLDER", folder)
    before = native_library._cached.__wrapped__()
    assert native_library._cached.__wrapped__() == before

    if changed in ("source", "header"):
        with (folder / {"source": "scan.cpp", "header": "scan.h"}[changed]).open("a") as file:
            file.write("// a line more\n")
    else:
        target = {"flags": (native_library, "_flags"), "cpu": (native_library, "_cpu")}
        owner, name = target.get(changed, (torch, "__version__"))
        monkeypatch.setattr(owner, name, _OTHER[changed])

    assert native_library._cached.__wrapped__() != before


_OTHER = {"flags": lambda: ["-O1"], "cpu": lambda: "another", "torch": "9.9.9"}


def test_where_it_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TORCH_EXTENSIONS_DIR is obeyed, as by torch's own extensions."""
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))

    assert native_library._cached.__wrapped__().parent.parent == tmp_path


def test_a_problem_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever loads the kernels gets the sentence as an error of ours."""
    monkeypatch.setattr(native_library, "_load_once", lambda: "it cannot be; use chunked")

    with pytest.raises(EfficarchError, match="it cannot be; use chunked"):
        native_library.load()


def _compiler(folder: Path, body: str) -> Path:
    """Write a compiler; torch asks for its version and accepts it by its name."""
    path = folder / "bin" / "g++"
    path.parent.mkdir()
    path.write_text(
        f"#!/bin/sh\ncase $1 in -dump*) echo 12.2.0; exit ;; --version) echo g++; exit ;; esac\n"
        f"{body}"
    )
    path.chmod(0o755)
    return path


def _start(code: str, folder: Path, compiler: Path) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "CXX": str(compiler),
        "TORCH_EXTENSIONS_DIR": str(folder / "extensions"),
    }
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(process: subprocess.Popen[str]) -> str:
    """Wait for a process that must succeed and return what it printed."""
    printed, complaints = process.communicate(timeout=120)
    assert process.returncode == 0, complaints
    return printed


def _kept(folder: Path) -> list[Path]:
    return sorted((folder / "extensions" / "efficarch_scan").iterdir())
