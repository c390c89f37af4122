"""Figures that the raw values beside them do not give: a file is believed by its rounds."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from efficarch.errors import RunFileError
from efficarch.record import CosSim, Measurement
from efficarch.store import load_run, load_sample
from tests import samples
from tests.store.cases import CELL, MEASUREMENT, Edit, put, written

MADE = samples.measurement()
GOLDEN = Path(__file__).parents[1] / "golden"


def scaled(path: tuple[str, ...], factor: float) -> Edit:
    """Return an edit that multiplies a figure of the measurement."""

    def edit(data: Any) -> None:
        for key in (*MEASUREMENT, *path[:-1]):
            data = data[key]
        data[path[-1]] *= factor

    return edit


@pytest.mark.parametrize("factor", [0.99999, 1.00001], ids=["less", "more"])
@pytest.mark.parametrize("bound", ["value", "low", "high"])
@pytest.mark.parametrize("name", ["latency_ms", "timed_reference_ms", "timed_ratio"])
def test_an_interval_is_that_of_its_rounds(
    tmp_path: Path, name: str, bound: str, factor: float
) -> None:
    """Value and both bounds: a change by a hundred-thousandth is seen."""
    data = samples.run_json()
    scaled((name, bound), factor)(data)
    path = written(tmp_path / "run.json", data)

    for read in (load_run, load_sample):
        with pytest.raises(RunFileError) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: cell {CELL!r}: {name} is ")
        assert ", its rounds give " in str(caught.value)
        assert str(caught.value).endswith("; the file was edited")


@pytest.mark.parametrize("factor", [1 - 1e-9, 1 + 1e-9])
def test_rounding_is_borne(tmp_path: Path, factor: float) -> None:
    """Another machine's logarithm may end in another digit."""
    data = samples.run_json()
    for name in ("latency_ms", "timed_reference_ms", "timed_ratio"):
        for bound in ("value", "low", "high"):
            scaled((name, bound), factor)(data)
    for name in ("mean", "p5", "minimum"):
        scaled(("cossim", name), factor)(data)
    scaled(("throughput_per_s",), factor)(data)

    assert load_run(written(tmp_path / "run.json", data)).cells


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (
            put(*MEASUREMENT, "cossim", "mean", value=0.96),
            "cossim.mean is 0.96, its items give 0.95",
        ),
        (put(*MEASUREMENT, "cossim", "p5", value=0.94), "cossim.p5 is 0.94, its items give 0.93"),
        (
            put(*MEASUREMENT, "cossim", "minimum", value=0.91),
            "cossim.minimum is 0.91, its items give 0.9",
        ),
        (
            put(*MEASUREMENT, "cossim", "items", value=31),
            "cossim is over 31 items, cossim_items holds 32",
        ),
        (scaled(("throughput_per_s",), 1.01), "throughput_per_s is "),
        (put(*MEASUREMENT, "items", value=9), "throughput_per_s is "),
        # the rounds of the pair, not of the sides each by itself
        (
            put(*MEASUREMENT, "reference_rounds_ms", value=list(MADE.reference_rounds_ms[::-1])),
            "timed_ratio is ",
        ),
    ],
    ids=["mean", "p5", "minimum", "items", "throughput", "items per call", "pairs"],
)
def test_a_figure_that_its_raw_values_do_not_give_is_refused(
    tmp_path: Path, edit: Edit, words: str
) -> None:
    """The sentence names the cell, the figure and what would be right."""
    data = samples.run_json()
    edit(data)
    path = written(tmp_path / "run.json", data)

    with pytest.raises(RunFileError) as caught:
        load_run(path)

    assert str(caught.value).startswith(f"{path}: cell {CELL!r}: {words}")
    assert str(caught.value).endswith("; the file was edited")


@pytest.mark.parametrize("count", [1, 2, 3, 8, 20, 21, 32, 100])
def test_cossim_is_summed_up_as_it_was_made(tmp_path: Path, count: int) -> None:
    """Mean, minimum and the interpolated 5th percentile of so many images."""
    items = np.random.default_rng(count).uniform(-1, 1, count)
    cossim = CosSim(items.mean(), np.quantile(items, 0.05), items.min(), count)
    made = replace(MADE, cossim=cossim, cossim_items=tuple(map(float, items)))
    run = samples.run(samples.line(measured=made))

    assert load_run(written(tmp_path / "run.json", samples.run_json(run))) == run


@pytest.mark.parametrize(
    "made",
    [
        samples.alone(),
        replace(MADE, cossim_items=()),
        samples.swept(),
        samples.timed(MADE, MADE.rounds_ms * 2, MADE.reference_rounds_ms[:6]),
    ],
    ids=["subject alone", "no items", "sweep", "fewer reference rounds"],
)
def test_what_was_measured_otherwise_is_read(tmp_path: Path, made: Measurement) -> None:
    """Later pairs of a gate, without a reference or with one in their first rounds only; scans."""
    run = samples.run(samples.line(measured=made))

    assert load_run(written(tmp_path / "run.json", samples.run_json(run))) == run


def test_the_ratio_is_that_of_the_rounds_that_have_a_reference(tmp_path: Path) -> None:
    """The others are no pair: as if they all were, the ratio would be another."""
    made = samples.timed(MADE, MADE.rounds_ms * 2, MADE.reference_rounds_ms[:6])
    shifted = replace(made, rounds_ms=made.rounds_ms[::-1])
    data = samples.run_json(samples.run(samples.line(measured=shifted)))

    with pytest.raises(RunFileError, match="timed_ratio is"):
        load_run(written(tmp_path / "run.json", data))


@pytest.mark.parametrize("side", ["subject", "reference"])
def test_a_sweep_is_that_of_its_cell(tmp_path: Path, side: str) -> None:
    """The latency that is judged is measured in the sweep, at the longest length of both sides."""
    name = "rounds_ms" if side == "subject" else "reference_rounds_ms"
    data = samples.run_json(samples.run(samples.line(measured=samples.swept())))
    at = samples.scaling().subject.lengths.index(16384)
    put(*MEASUREMENT, "scaling", side, "rounds_ms", at, 3, value=1.0)(data)

    with pytest.raises(RunFileError, match=f"{name} are not those of its sweep at length 16,384"):
        load_run(written(tmp_path / "run.json", data))


def test_sides_that_share_no_length_are_refused(tmp_path: Path) -> None:
    """Such a sweep has no cell: its latency would be of no length."""
    scaling = samples.scaling()
    apart = replace(scaling.reference, lengths=tuple(n + 1 for n in scaling.reference.lengths))
    made = replace(samples.swept(), scaling=replace(scaling, reference=apart))
    data = samples.run_json(samples.run(samples.line(measured=made)))

    with pytest.raises(RunFileError, match="subject and reference share no length"):
        load_run(written(tmp_path / "run.json", data))


@pytest.mark.parametrize("schema", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["latency_ms", "reference_ms", "ratio"])
def test_older_files_are_held_to_their_rounds_too(tmp_path: Path, schema: int, name: str) -> None:
    """What is compared of them is the same."""
    data = json.loads((GOLDEN / f"run-v{schema}.json").read_text(encoding="utf-8"))
    scaled((name, "low"), 0.999)(data)

    with pytest.raises(RunFileError, match="its rounds give"):
        load_run(written(tmp_path / "run.json", data))
