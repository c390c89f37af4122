"""The records: frozen, with the figures derived from them, and their schema version."""

import re
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest

from efficarch import record
from efficarch.record import Status, Weights
from tests import samples

RECORDS = [
    samples.cell(),
    samples.measurement().ratio,
    samples.measurement().cossim,
    samples.measurement(),
    samples.scaling(),
    samples.scaling().subject,
    samples.saving(),
    samples.saving().layers[0],
    samples.LIMITS,
    samples.line(),
    samples.MACHINE,
    samples.run(),
]


@pytest.mark.parametrize("instance", RECORDS, ids=lambda item: type(item).__name__)
def test_records_are_frozen(instance: Any) -> None:
    """No field of a record can be changed after the fact."""
    for field in fields(instance):
        with pytest.raises(FrozenInstanceError):
            setattr(instance, field.name, None)


@pytest.mark.parametrize("instance", RECORDS, ids=lambda item: type(item).__name__)
def test_records_are_values(instance: Any) -> None:
    """Records with equal fields are equal and hash alike, so verdicts can be compared."""
    copy = replace(instance)

    assert copy is not instance
    assert (copy, hash(copy)) == (instance, hash(instance))


@pytest.mark.parametrize(
    ("tokens", "mean", "final"),
    [
        pytest.param((257, 200, 129), 586 / 3, 129, id="shrinking"),
        pytest.param((257, 257), 257.0, 257, id="dense"),
        pytest.param((1024,), 1024.0, 1024, id="one layer"),
    ],
)
def test_tokens(tokens: tuple[int, ...], mean: float, final: int) -> None:
    """Tokens are averaged over the layers, and the last layer's are the final ones."""
    measured = replace(samples.measurement(), tokens=tokens)

    assert measured.tokens_mean == pytest.approx(mean)
    assert measured.tokens_final == final


@pytest.mark.parametrize(
    ("gpu_name", "expected"),
    [(None, "Sample CPU"), ("NVIDIA H100 80GB HBM3", "NVIDIA H100 80GB HBM3")],
    ids=["cpu", "gpu"],
)
def test_machine_is_called_by_what_it_measures_on(gpu_name: str | None, expected: str) -> None:
    """A machine is called by its GPU, and by its CPU where none is used."""
    assert replace(samples.MACHINE, gpu_name=gpu_name).name == expected


def test_bits_lost_is_the_mean_over_the_segments() -> None:
    """Every segment is as long as the others, so the mean of differences is the difference."""
    saving = replace(samples.saving(), bits=(2.5, 2.0), reference_bits=(2.0, 2.25))

    assert saving.bits_lost == pytest.approx(0.125)


def test_saving_without_segments_lost_no_bits_that_anyone_measured() -> None:
    """A signal has no bits per byte: that is None, not 0."""
    assert replace(samples.saving(), bits=(), reference_bits=()).bits_lost is None


def test_schema_version_has_its_line_of_history() -> None:
    """Whoever changes SCHEMA writes a line about it in the module's docstring, and looks here."""
    assert record.SCHEMA == 5

    history = re.findall(r"^(\d+): (.+)$", record.__doc__ or "", re.MULTILINE)
    assert [int(version) for version, _ in history] == list(range(1, record.SCHEMA + 1))
    assert history[0][1].startswith("first version")


def test_stored_words_belong_to_the_schema() -> None:
    """Run files hold these words: another spelling makes old files unreadable."""
    assert [status.value for status in Status] == [
        "passed",
        "failed",
        "error",
        "skipped",
        "not run",
    ]
    assert [weights.value for weights in Weights] == ["pretrained", "random", "none"]
