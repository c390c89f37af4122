"""Claims about the ``bench`` fixture that need no run: which scans it will not time."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from efficarch import fixture
from efficarch.errors import EfficarchError
from efficarch.scan import ScanOutput, backend, synthetic_inputs
from efficarch.scan.base import ScanInputs

INPUTS = synthetic_inputs(
    batch=1, channels=64, state=4, length=8, seed=0, device="cpu", dtype=torch.float32
)
CHUNKED = backend("chunked")


def test_a_backend_that_lacks_something_is_skipped_with_its_reason() -> None:
    """What is missing reaches the report in the backend's own sentence."""
    lacking = replace(CHUNKED, missing=lambda: "it needs a C++ compiler; install one")

    with pytest.raises(pytest.skip.Exception) as skipped:
        fixture._require(lacking, INPUTS)

    assert str(skipped.value) == (
        "backend 'chunked' cannot run: it needs a C++ compiler; install one"
    )


def test_a_backend_of_another_device_is_skipped_with_the_inputs() -> None:
    """The sentence names the shape, the device and what to do."""
    with pytest.raises(pytest.skip.Exception) as skipped:
        fixture._require(replace(CHUNKED, devices=("cuda",)), INPUTS)

    assert str(skipped.value) == (
        "backend 'chunked' cannot run: u has shape (1, 64, 8), torch.float32 on cpu, it runs on "
        "cuda; move the inputs or use 'auto'"
    )


def test_a_wrong_backend_is_an_error_and_not_skipped() -> None:
    """A red parity fails the cell."""

    def run(inputs: ScanInputs, *, return_last_state: bool = False) -> ScanOutput:
        found = CHUNKED.run(inputs, return_last_state=True)
        return (found[0] + 1, found[1]) if return_last_state else found[0] + 1

    with pytest.raises(EfficarchError, match=r"is wrong on cpu in torch\.float32, so it is not"):
        fixture._require(replace(CHUNKED, run=run), INPUTS)


def test_a_right_backend_may_be_timed() -> None:
    """Nothing is raised."""
    fixture._require(CHUNKED, INPUTS)


def test_a_cell_waits_for_its_turn_once_its_model_is_loaded() -> None:
    """Both processes of a pair then load at once, and nobody measures meanwhile."""
    notes: list[str] = []
    turns: Any = SimpleNamespace(enter=lambda cell: notes.append(f"enter {cell}"))
    models: Any = SimpleNamespace(
        settings=SimpleNamespace(device="cpu"), subject=lambda model: notes.append(f"load {model}")
    )
    line: Any = SimpleNamespace(cell=SimpleNamespace(model="m", id="suite/m"))
    clock: Any = None
    bench = fixture.Bench(line, clock, fixture.Models(models, models, models), clock, turns)

    bench._load("m", models)
    bench._enter()

    assert notes == ["load m", "enter suite/m"]
