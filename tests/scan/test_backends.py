"""Claims about the table of backends, how one is chosen, and the function around them."""

import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from efficarch.errors import EfficarchError, UnknownNameError
from efficarch.scan import BACKENDS, ScanInputs, backend, choose, naive, selective_scan
from efficarch.scan.backends import AUTO, Backend, _say_once, refusal
from efficarch.scan.parity import difference
from tests.scan.samples import bare_inputs, largest_error, random_inputs

ROOT = Path(__file__).parents[2]
RUNNABLE = [
    name for name, row in BACKENDS.items() if "cpu" in row.devices and row.missing() is None
]


@pytest.fixture(autouse=True)
def unsaid() -> Iterator[None]:
    """Let each test hear what is said once."""
    _say_once.cache_clear()
    yield
    _say_once.cache_clear()


def broken(monkeypatch: pytest.MonkeyPatch, name: str, **fields: object) -> None:
    """Put a backend that cannot run in the place of a row."""
    monkeypatch.setitem(BACKENDS, name, replace(BACKENDS[name], **fields))


def with_gradients(inputs: ScanInputs) -> ScanInputs:
    """Ask for the gradient of A."""
    return replace(inputs, A=inputs.A.clone().requires_grad_())


def test_the_table_holds_these() -> None:
    """Every backend that the documents speak of has its row."""
    assert list(BACKENDS) == ["naive", "chunked", "cpp", "triton", "mamba_ssm"]


@pytest.mark.parametrize("name", RUNNABLE)
def test_every_backend_matches_the_oracle(name: str) -> None:
    """A new row is held to the oracle without a new test."""
    inputs = random_inputs(100)

    out, state = backend(name).run(inputs, return_last_state=True)
    expected, expected_state = naive.scan(inputs.double(), return_last_state=True)

    assert largest_error(out, expected) <= 1e-4
    assert largest_error(state, expected_state) <= 1e-4


@pytest.mark.parametrize(
    ("name", "dtype"), [(name, dtype) for name in RUNNABLE for dtype in BACKENDS[name].dtypes]
)
def test_every_backend_takes_its_dtypes(name: str, dtype: torch.dtype) -> None:
    """What the row says it takes runs, and comes back in that dtype with a state that is wide."""
    inputs = random_inputs(20, groups=2).to(dtype)

    out, state = choose(name, inputs).run(inputs, return_last_state=True)

    assert out.dtype == dtype
    assert state.dtype == inputs.working_dtype
    assert difference(BACKENDS[name], inputs) is None


@pytest.mark.parametrize("name", BACKENDS)
def test_every_row_describes_itself(name: str) -> None:
    """Reports and the README read the row: its name is its key and no text is empty."""
    row = BACKENDS[name]

    assert row.name == name
    assert row.summary
    assert row.source


def test_auto_tries_only_what_runs_on_the_device() -> None:
    """Its order names rows of the table, on the devices that they have."""
    assert {device: [BACKENDS[name].name for name in names] for device, names in AUTO.items()} == {
        "cuda": ["mamba_ssm", "triton"],
        "cpu": ["cpp"],
    }
    assert all(device in BACKENDS[name].devices for device, names in AUTO.items() for name in names)


def test_an_unknown_backend_gets_a_hint() -> None:
    """A typing mistake names the backend that was meant."""
    with pytest.raises(UnknownNameError, match="unknown backend 'chunky'; did you mean 'chunked'"):
        backend("chunky")


def test_a_named_backend_is_the_one_chosen() -> None:
    """It is never replaced, whatever is faster."""
    assert [choose(name, random_inputs(5)).name for name in RUNNABLE] == RUNNABLE


@pytest.mark.parametrize("name", ["triton", "mamba_ssm"])
def test_another_device_is_refused_with_the_shape(name: str) -> None:
    """A backend of the GPU says so of inputs on the CPU, and what to do."""
    if "cpu" in BACKENDS[name].devices:
        pytest.skip("Triton's interpreter is on, so its backend runs on the CPU")
    sentence = (
        rf"backend '{name}' cannot run: u has shape \(2, 4, 5\), torch.float32 on cpu, "
        "it runs on cuda; move the inputs or use 'auto'"
    )

    with pytest.raises(EfficarchError, match=sentence):
        choose(name, random_inputs(5))


@pytest.mark.parametrize("name", ["triton", "mamba_ssm"])
def test_another_dtype_is_refused_with_the_shape(name: str) -> None:
    """No kernel of the GPU computes in float64; the sentence says what it takes."""
    row = replace(BACKENDS[name], devices=("cpu",))

    assert refusal(row, random_inputs(5).double()) == (
        "u has shape (2, 4, 5), torch.float64 on cpu, it takes torch.float32, torch.bfloat16, "
        "torch.float16; convert the inputs or use 'chunked'"
    )


def test_half_precision_on_a_backend_without_it_is_refused() -> None:
    """It is not converted in silence."""
    wide = Backend("wide", naive.scan, "a backend", "this test", dtypes=(torch.float32,))

    assert refusal(wide, random_inputs(5).to(torch.bfloat16)) == (
        "u has shape (2, 4, 5), torch.bfloat16 on cpu, it takes torch.float32; "
        "convert the inputs or use 'chunked'"
    )


@pytest.mark.parametrize("name", [n for n in RUNNABLE if not BACKENDS[n].differentiable])
def test_gradients_are_refused_where_there_are_none(name: str) -> None:
    """The output would carry no gradient and training would go wrong in silence."""
    inputs = with_gradients(random_inputs(5))

    with pytest.raises(EfficarchError, match=r"\(2, 4, 5\).* gradients are asked for, it has none"):
        choose(name, inputs)
    with torch.no_grad():
        assert choose(name, inputs).name == name


def test_a_backend_that_is_missing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own sentence is the reason."""
    broken(monkeypatch, "cpp", missing=lambda: "there is no compiler; install one")

    with pytest.raises(EfficarchError) as refused:
        choose("cpp", random_inputs(5))
    assert str(refused.value) == "backend 'cpp' cannot run: there is no compiler; install one"


@pytest.mark.filterwarnings("error")
def test_auto_takes_the_first_that_can() -> None:
    """On the CPU the compiled kernel where there is one, without a word."""
    assert choose("auto", random_inputs(5)).name == ("cpp" if "cpp" in RUNNABLE else "chunked")


@pytest.mark.filterwarnings("error")
def test_auto_with_gradients_is_chunked() -> None:
    """That is no fault of the machine, so nothing is said; without autograd it is no longer so."""
    inputs = with_gradients(random_inputs(5))

    assert choose("auto", inputs).name == "chunked"
    out = selective_scan(*vars(inputs).values())
    assert isinstance(out, Tensor)
    assert out.requires_grad
    with torch.no_grad():
        assert choose("auto", inputs).name == choose("auto", random_inputs(5)).name


@pytest.mark.parametrize("field", ["missing", "failure"])
def test_auto_says_once_why_it_is_chunked(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    """No compiler, or one that fails: the reason is in one warning, at the caller's line."""
    whole = {"missing": lambda: None, "failure": lambda: None}
    broken(monkeypatch, "cpp", **{**whole, field: lambda: "the compiler is out for lunch"})
    inputs = random_inputs(5)

    with pytest.warns(UserWarning, match="runs on chunked.*: the compiler is out for lunch") as one:
        outputs = [selective_scan(*vars(inputs).values()) for _ in range(2)]

    assert [Path(warning.filename) for warning in one] == [Path(__file__)]
    assert all(torch.equal(out, backend("chunked").run(inputs)) for out in outputs)


def test_auto_goes_on_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU's second choice is not reported as a loss; only the last resort is."""
    monkeypatch.setitem(AUTO, "cpu", ("mamba_ssm", "triton"))
    here = {"devices": ("cpu",), "failure": lambda: None}
    broken(monkeypatch, "mamba_ssm", missing=lambda: "no package", **here)
    broken(monkeypatch, "triton", missing=lambda: None, **here)

    assert choose("auto", random_inputs(5)).name == "triton"

    broken(monkeypatch, "triton", missing=lambda: "no triton", **here)
    with pytest.warns(UserWarning, match="no package; no triton"):
        assert choose("auto", random_inputs(5)).name == "chunked"


def test_auto_on_a_device_that_nobody_knows_is_chunked() -> None:
    """What torch can do there, pure PyTorch can."""
    assert choose("auto", random_inputs(5).to(torch.float32, "meta")).name == "chunked"


BAD_COMPILER = """#!/bin/sh
case "$1" in -v|--version|-dumpfullversion) exec c++ "$@";; esac
echo "scan.cpp:1:1: fatal error: this compiler compiles nothing" >&2
exit 1
"""

ASK = """
import warnings
from efficarch.errors import EfficarchError
from efficarch.scan import selective_scan
from tests.scan.samples import random_inputs

arguments = vars(random_inputs(5)).values()
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    for _ in range(2):
        selective_scan(*arguments)
print(*(each.message for each in said), sep="\\n")
try:
    selective_scan(*arguments, backend="cpp")
except EfficarchError as error:
    print("named:", error)
"""


@pytest.mark.skipif("cpp" not in RUNNABLE, reason="needs a C++ compiler to stand in front of")
def test_a_compiler_that_fails_is_named(tmp_path: Path) -> None:
    """``auto`` says so once and takes chunked; asked for by name, cpp raises the same."""
    compiler = tmp_path / "bad-c++"
    compiler.write_text(BAD_COMPILER)
    compiler.chmod(0o755)
    environment = {
        **os.environ,
        "CXX": str(compiler),
        "TORCH_EXTENSIONS_DIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join((str(ROOT), *sys.path)),
    }

    run = subprocess.run(
        [sys.executable, "-c", ASK],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )

    auto, named = run.stdout.splitlines()
    assert auto.startswith("the scan runs on chunked, the slower one: ")
    assert named.startswith("named: the cpp backend cannot be compiled")
    assert "fatal error: this compiler compiles nothing" in auto
    assert "fatal error: this compiler compiles nothing" in named


def test_the_signature_is_that_of_mamba_ssm() -> None:
    """Names, order and defaults of selective_scan_fn, then our own choice of backend."""
    parameters = inspect.signature(selective_scan).parameters.values()

    assert [p.name for p in parameters] == [
        *("u", "delta", "A", "B", "C", "D", "z", "delta_bias"),
        *("delta_softplus", "return_last_state", "backend"),
    ]
    assert [p.default for p in parameters][5:] == [None, None, None, False, False, "auto"]


@pytest.mark.parametrize("name", RUNNABLE)
def test_selective_scan_runs_the_named_backend(name: str) -> None:
    """Called as mamba-ssm is called, it returns what the backend returns."""
    inputs = random_inputs(50)

    out, state = selective_scan(*vars(inputs).values(), return_last_state=True, backend=name)
    alone = selective_scan(*vars(inputs).values(), backend=name)

    assert torch.equal(out, backend(name).run(inputs))
    assert torch.equal(out, alone)
    assert state.shape == (2, 4, 8)


def test_selective_scan_refuses_a_negative_step() -> None:
    """The recurrence would run, and grow without bound."""
    inputs = bare_inputs(7)

    with pytest.raises(ValueError, match="a step of -"):
        selective_scan(inputs.u, -inputs.delta, inputs.A, inputs.B, inputs.C)


@pytest.mark.parametrize("name", RUNNABLE)
@pytest.mark.parametrize("poisoned", ["u", "delta", "z", "B", "C"])
def test_nan_comes_out_where_it_has_an_influence(name: str, poisoned: str) -> None:
    """In its own sequence, from its step on unless it is of that step alone, and nowhere else."""
    inputs = random_inputs(40)
    spoiled = getattr(inputs, poisoned).clone()
    spoiled[1, ..., 20] = float("nan")

    out, state = backend(name).run(replace(inputs, **{poisoned: spoiled}), return_last_state=True)
    clean, clean_state = backend(name).run(inputs, return_last_state=True)

    passing = poisoned in ("z", "C")  # no state remembers them
    assert out[1, :, 20].isnan().all()
    assert passing != bool(out[1, :, 21:].isnan().all())
    assert passing != bool(state[1].isnan().all())
    assert torch.equal(out[0], clean[0])
    assert torch.equal(out[1, :, :20], clean[1, :, :20])
    assert torch.equal(state[0], clean_state[0])
    if passing:
        assert torch.equal(out[1, :, 21:], clean[1, :, 21:])
        assert torch.equal(state[1], clean_state[1])
