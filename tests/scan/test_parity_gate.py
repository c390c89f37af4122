"""A wrong backend is not timed, whatever is wrong with it and however timing is asked for."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from efficarch.contests.base import Settings
from efficarch.contests.sequences import Sequences
from efficarch.errors import EfficarchError
from efficarch.fixture import Bench, Models
from efficarch.models import MODELS
from efficarch.record import Weights
from efficarch.scan import BACKENDS, Backend, ScanInputs, backend, parity, synthetic_inputs
from tests.models.sequence_models import ROWS
from tests.scan.mutants import MUTANTS, Loop
from tests.scan.mutants import backend as row_of
from tests.scan.on_backends import device_of, on_every_backend

WRONG = "is wrong on cpu in torch.float32, so it is not timed: its "


@pytest.mark.parametrize("mistake", MUTANTS)
def test_every_mistake_is_caught(mistake: str) -> None:
    """The few cases before a timing tell each of these scans from a right one."""
    with pytest.raises(EfficarchError, match=WRONG):
        parity.require(MUTANTS[mistake], "cpu", torch.float32)


def test_the_scan_that_mistakes_are_made_in_is_right() -> None:
    """Without a mistake the loop passes, so each mutant is caught for its own mistake."""
    parity.require(row_of(Loop()), "cpu", torch.float32)


@pytest.mark.parametrize(
    "mistake",
    [
        "zero-order hold for the input",
        "decay of base 2",
        "output before the update",
        "first group for all",
        "C one step late",
        "NaN",
    ],
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_gross_mistakes_are_caught_in_half_precision(mistake: str, dtype: torch.dtype) -> None:
    """mamba-ssm's tolerances are wide, but not that wide."""
    with pytest.raises(EfficarchError, match=r"is wrong on cpu in torch\."):
        parity.require(MUTANTS[mistake], "cpu", dtype)


@on_every_backend
def test_every_backend_may_be_timed(row: Backend) -> None:
    """In every dtype that its row names."""
    for dtype in row.dtypes:
        parity.require(row, device_of(row), dtype)


def test_a_case_is_named() -> None:
    """The sentence says what differs, by how much, and on which drawing."""
    with pytest.raises(
        EfficarchError, match=r"its output differs .* by up to .* on inputs u \(2, 4, 7\), delta"
    ):
        parity.require(MUTANTS["C one step late"], "cpu", torch.float32)


class NoClock:
    """Fails as soon as anything is timed."""

    def time_ms(self, call: Callable[[], object]) -> float:
        """Time nothing."""
        raise AssertionError("a wrong backend was timed")


class AnyCell:
    """Stands in for the line of a cell and for pytest-benchmark; both are used after timing."""

    def __init__(self, model: str) -> None:
        self.cell = self
        self.id = self.model = model


def bench(model: str = "") -> Bench:
    """Return the fixture's object, with a clock that must not be read."""
    anything: Any = AnyCell(model)
    encoders: Any = anything
    encoders.settings = Settings("cpu", "float32", Weights.RANDOM, {}, 8)
    models = Models(encoders, anything, Sequences(encoders.settings))
    return Bench(anything, anything, models, NoClock())


def drawn(length: int) -> ScanInputs:
    """Return inputs of one attention head's width."""
    return synthetic_inputs(
        batch=1, channels=64, state=4, length=length, seed=0, device="cpu", dtype=torch.float32
    )


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> str:
    """Put a wrong scan into the table, under a name that is known; returns the name."""
    monkeypatch.setitem(BACKENDS, "chunked", MUTANTS["decay too fast by 1 %"])
    for name, model in ROWS.items():
        monkeypatch.setitem(MODELS, name, model)
    return "chunked"


def test_scan_times_no_wrong_backend(broken: str) -> None:
    """One length of the operator."""
    with pytest.raises(EfficarchError, match=WRONG):
        bench().scan(backend=backend(broken), inputs=drawn(16))


def test_scan_scaling_times_no_wrong_backend(broken: str) -> None:
    """The operator over lengths."""
    with pytest.raises(EfficarchError, match=WRONG):
        bench().scan_scaling(
            backend=backend(broken), inputs=drawn, lengths=(8, 16), reference_lengths=(8, 16)
        )


def test_sequence_times_no_wrong_backend(broken: str) -> None:
    """A whole language model, at its prefill."""
    with pytest.raises(EfficarchError, match=WRONG):
        bench("tiny-mamba").sequence(model="tiny-mamba", backend=broken, length=16, stage="prefill")


def test_layer_scaling_times_no_wrong_backend(broken: str) -> None:
    """One layer of a model over lengths."""
    with pytest.raises(EfficarchError, match=WRONG):
        bench("tiny-mamba").layer_scaling(
            model="tiny-mamba", backend=broken, lengths=(8, 16), reference_lengths=(8, 16)
        )


def test_auto_times_no_wrong_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """What auto chooses is checked like what is named."""
    for name in BACKENDS:
        monkeypatch.setitem(BACKENDS, name, MUTANTS["decay too fast by 1 %"])
    for name, model in ROWS.items():
        monkeypatch.setitem(MODELS, name, model)
    with pytest.raises(EfficarchError, match=WRONG):
        bench("tiny-mamba").sequence(model="tiny-mamba", backend="auto", length=16, stage="prefill")
