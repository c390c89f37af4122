"""A schema number that lies: a file holds what its own version knew, and neither more nor less."""

import json
from pathlib import Path
from typing import Any

import pytest

from efficarch.errors import RunFileError
from efficarch.record import SCHEMA
from efficarch.store import load_run, load_sample, plain
from tests import samples
from tests.store.cases import CELL, LINE, MEASUREMENT, Edit, drop, put, written

GOLDEN = Path(__file__).parents[1] / "golden"
MACHINE = ("machine_info", "efficarch")

ESTIMATE = {"value": 0.7, "low": 0.6, "high": 0.8}

SINCE: list[tuple[int, Edit, str, str]] = [
    (2, put(*MEASUREMENT, "cossim_items", value=[]), CELL, "cossim_items"),
    (2, put(*MEASUREMENT, "quality", value=None), CELL, "quality"),
    (2, put(*MEASUREMENT, "pairs_per_round", value=9), CELL, "pairs_per_round"),
    (3, put(*MEASUREMENT, "backend", value=None), CELL, "backend"),
    (3, put(*MEASUREMENT, "scaling", value=plain(samples.scaling())), CELL, "scaling"),
    (3, put(*MEASUREMENT, "saving", value=plain(samples.saving())), CELL, "saving"),
    (3, put(*LINE, "limits", "cossim_p5", value=0.5), f"{CELL}.limits", "cossim_p5"),
    (3, put(*LINE, "limits", "bits_lost", value=0.5), f"{CELL}.limits", "bits_lost"),
    (3, put(*LINE, "limits", "slope", value=[0.9, 1.1]), f"{CELL}.limits", "slope"),
    (3, put(*LINE, "limits", "reference_slope", value=None), f"{CELL}.limits", "reference_slope"),
    (4, put(*MEASUREMENT, "conditions", value=None), CELL, "conditions"),
    (4, put(*MEASUREMENT, "turn", value=1), CELL, "turn"),
    (4, put(*MACHINE, "persistence", value=True), "machine", "persistence"),
    (4, put(*MACHINE, "mig", value=None), "machine", "mig"),
    (5, put(*MEASUREMENT, "timed_ratio", value=ESTIMATE), CELL, "timed_ratio"),
    (5, put(*MEASUREMENT, "timed_reference_ms", value=ESTIMATE), CELL, "timed_reference_ms"),
]


def golden(schema: int) -> Any:
    """Return the kept file of a schema."""
    return json.loads((GOLDEN / f"run-v{schema}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("schema", "edit", "where", "name"),
    [
        pytest.param(schema, edit, where, name, id=f"{schema}-{name}")
        for since, edit, where, name in SINCE
        for schema in range(1, since)
    ],
)
def test_what_came_later_is_not_in_an_older_file(
    tmp_path: Path, schema: int, edit: Edit, where: str, name: str
) -> None:
    """Dropped in silence, a limit on it would never be judged."""
    data = golden(schema)
    path = tmp_path / "run.json"
    edit(data)
    written(path, data)

    for read in (load_run, load_sample):
        with pytest.raises(RunFileError) as caught:
            read(path)
        assert str(caught.value) == (
            f"{path}: {where}: schema {schema} has no {name!r}; the schema number was edited"
        )


@pytest.mark.parametrize("schema", [1, 2, 3, 4])
def test_a_newest_file_under_an_older_number_is_refused(tmp_path: Path, schema: int) -> None:
    """Whatever it holds, since the names of schema 5 are its own."""
    data = samples.run_json()
    put("efficarch", "schema", value=schema)(data)

    with pytest.raises(RunFileError, match=f"schema {schema} has no '.*'; the schema number was"):
        load_run(written(tmp_path / "run.json", data))


@pytest.mark.parametrize("schema", [1, 2, 3, 4])
def test_an_older_file_under_the_newest_number_is_refused(tmp_path: Path, schema: int) -> None:
    """It lacks what that version has, or holds names that it gave up."""
    data = golden(schema)
    put("efficarch", "schema", value=SCHEMA)(data)

    with pytest.raises(RunFileError, match=r"is missing$|unknown field 'ratio'$|'reference_ms'$"):
        load_run(written(tmp_path / "run.json", data))


@pytest.mark.parametrize("name", ["reference_ms", "ratio"])
def test_old_names_beside_the_new_ones_are_refused(tmp_path: Path, name: str) -> None:
    """Which of the two counts is nobody's to guess."""
    data = samples.run_json()
    put(*MEASUREMENT, name, value=ESTIMATE)(data)

    with pytest.raises(RunFileError, match=f"unknown field '{name}'$"):
        load_run(written(tmp_path / "run.json", data))


@pytest.mark.parametrize("name", ["reference_ms", "ratio"])
@pytest.mark.parametrize("schema", [1, 2, 3, 4])
def test_older_files_timed_every_reference(tmp_path: Path, schema: int, name: str) -> None:
    """Only schema 5 has measurements without, so null was put there by hand."""
    data = golden(schema)
    put(*MEASUREMENT, name, value=None)(data)

    with pytest.raises(RunFileError, match=f"{name} is null; schema {schema} timed every"):
        load_run(written(tmp_path / "run.json", data))


@pytest.mark.parametrize("name", ["reference_ms", "ratio"])
def test_what_an_older_file_lacks_is_called_by_its_old_name(tmp_path: Path, name: str) -> None:
    """A reader looks for it in the file."""
    data = golden(4)
    drop(*MEASUREMENT, name)(data)

    with pytest.raises(RunFileError, match=f": {name} is missing$"):
        load_run(written(tmp_path / "run.json", data))
