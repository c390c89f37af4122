"""Claims about the Triton kernels, through Triton's interpreter and its compiler; no GPU is needed.

The cases are in ``triton_process``, which runs in processes of its own.
"""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from efficarch.scan import BACKENDS, choose, synthetic_inputs, triton_scan
from efficarch.scan.parity import PREFLIGHT, difference
from tests.scan.samples import random_inputs
from tests.scan.triton_process import GROUPS

ROOT = Path(__file__).parents[2]

needs_triton = pytest.mark.skipif(
    find_spec("triton") is None, reason="Triton is not installed; it comes for Linux only"
)


def run(group: str, folder: Path, *, interpret: bool) -> dict[str, str | None]:
    """Return what each case of a group found wrong."""
    environment = {name: value for name, value in os.environ.items() if "TRITON" not in name}
    environment["TRITON_CACHE_DIR"] = str(folder)
    if interpret:
        environment["TRITON_INTERPRET"] = "1"
    process = subprocess.run(
        [sys.executable, "-m", "tests.scan.triton_process", group],
        env={**environment, "PYTHONPATH": os.pathsep.join((str(ROOT), *sys.path))},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert process.returncode == 0, process.stderr
    found: dict[str, str | None] = json.loads(process.stdout)
    return found


@needs_triton
@pytest.mark.parametrize("group", [name for name in GROUPS if name != "compiled"])
def test_the_kernels_match_the_oracle(group: str, tmp_path: Path) -> None:
    """In the interpreter, every case is within the tolerances of the float64 oracle."""
    found = run(group, tmp_path, interpret=True)

    assert len(found) >= 3
    assert {case: wrong for case, wrong in found.items() if wrong} == {}


@needs_triton
def test_the_kernels_compile_for_a_gpu(tmp_path: Path) -> None:
    """To machine code, which the interpreter says nothing about; with 16 states no lane waits."""
    found = run("compiled", tmp_path, interpret=False)

    assert len(found) == 13
    assert {case: wrong for case, wrong in found.items() if wrong} == {}


@needs_triton
def test_the_interpreter_makes_a_cpu_backend_of_it(tmp_path: Path) -> None:
    """With Triton's switch the row takes inputs on the CPU; without, it does not."""
    code = (
        "from efficarch.scan import choose\n"
        "from tests.scan.samples import random_inputs\n"
        "print(choose('triton', random_inputs(5)).devices, choose('auto', random_inputs(5)).name)"
    )

    process = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    # never of itself: it is there to test kernels, not to be fast
    assert process.stdout in ("('cpu', 'cuda') cpp\n", "('cpu', 'cuda') chunked\n")


@pytest.mark.parametrize(
    ("interpreted", "cuda", "installed", "sentence"),
    [
        (False, False, True, "torch sees no CUDA device; .*; TRITON_INTERPRET=1 runs it without"),
        (False, False, False, "torch sees no CUDA device; .*; TRITON_INTERPRET=1 runs it without"),
        (False, True, False, "triton is not installed; on Linux: pip install 'efficarch.triton.'"),
        (True, False, False, "triton is not installed; on Linux: pip install 'efficarch.triton.'"),
    ],
)
def test_what_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch,
    interpreted: bool,
    cuda: bool,
    installed: bool,
    sentence: str,
) -> None:
    """A GPU unless the interpreter runs, then Triton itself."""
    monkeypatch.setattr(triton_scan, "INTERPRETED", interpreted)
    monkeypatch.setattr(triton_scan, "find_spec", lambda _name: object() if installed else None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)

    assert re.match(sentence, str(triton_scan.missing()))


@pytest.mark.parametrize(("interpreted", "cuda"), [(False, True), (True, False)])
def test_nothing_is_missing_where_it_can_run(
    monkeypatch: pytest.MonkeyPatch, interpreted: bool, cuda: bool
) -> None:
    """Triton with a GPU, or with its interpreter."""
    monkeypatch.setattr(triton_scan, "INTERPRETED", interpreted)
    monkeypatch.setattr(triton_scan, "find_spec", lambda _name: object())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)

    assert triton_scan.missing() is None


def test_a_chunk_below_one_step_is_refused() -> None:
    """As in ``chunked``."""
    with pytest.raises(ValueError, match="chunk is 0, expected at least 1 step"):
        triton_scan.scan(random_inputs(5), chunk=0)


@pytest.mark.parametrize(
    ("rows", "length", "chunk"),
    [
        (1, 100, triton_scan.SHORTEST_CHUNK),
        (64, 32768, 512),
        (64, 4096, triton_scan.SHORTEST_CHUNK),
        (triton_scan.PROGRAMS, 32768, 32768),
        (10 * triton_scan.PROGRAMS, 32768, 32768),
    ],
)
def test_chunks_fill_the_gpu_and_are_not_short(rows: int, length: int, chunk: int) -> None:
    """Narrow inputs are cut until there are enough programs, wide ones are left whole."""
    assert triton_scan._chunk(rows, length) == chunk


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_gpu_matches_the_oracle(dtype: torch.dtype) -> None:
    """Compiled, on inputs that fill several blocks and chunks."""
    inputs = synthetic_inputs(
        batch=2, channels=200, state=16, length=3000, seed=0, device="cuda", dtype=dtype
    )
    row = choose("triton", inputs)

    assert row is BACKENDS["triton"]
    assert difference(row, inputs) is None
    assert all(difference(row, case.inputs().to(dtype, "cuda")) is None for case in PREFLIGHT)
