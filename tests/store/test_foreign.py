"""Files of pytest-benchmark from any project: what the gate reads of them, and what it refuses."""

from math import inf, nan
from pathlib import Path
from typing import Any

import pytest

from efficarch.errors import RunFileError
from efficarch.foreign import FINGERPRINT, UNKNOWN
from efficarch.record import Status
from efficarch.store import load_sample
from tests.store.cases import Edit, drop, put, repeat, written

INFO: dict[str, Any] = {
    "node": "host",
    "processor": "x86_64",
    "machine": "x86_64",
    "python_implementation": "CPython",
    "python_version": "3.12.3",
    "release": "6.8.0",
    "system": "Linux",
    "cpu": {"brand_raw": "A CPU", "count": 4},
}
KNOWN = {
    "node": "host",
    "cpu_model": "A CPU",
    "cpu_cores": "4",
    "machine": "x86_64",
    "processor": "x86_64",
    "system": "Linux",
    "release": "6.8.0",
    "python": "3.12.3",
    "python_implementation": "CPython",
}
STATS = ("benchmarks", 0, "stats")


def plain() -> dict[str, Any]:
    """Return the JSON value of a file of two benchmarks."""
    return {
        "machine_info": {**INFO, "cpu": {**INFO["cpu"]}},
        "benchmarks": [
            {"fullname": "t.py::a", "stats": {"median": 0.002, "data": [0.001, 0.002, 0.005]}},
            {"fullname": "t.py::b", "stats": {"median": 0.25}},
        ],
        "datetime": "2026-05-01T10:00:00+00:00",
    }


def read(tmp_path: Path, *edits: Edit) -> Any:
    """Return what is read of the file after some edits."""
    data = plain()
    for edit in edits:
        edit(data)
    return load_sample(written(tmp_path / "run.json", data))


def refused(tmp_path: Path, edit: Edit) -> str:
    """Return why the file is refused after an edit, after its name."""
    with pytest.raises(RunFileError) as caught:
        read(tmp_path, edit)
    return str(caught.value).removeprefix(f"{tmp_path / 'run.json'}: ")


def test_a_benchmark_is_its_median_in_milliseconds(tmp_path: Path) -> None:
    """By its full name, with what the file says of the machine."""
    sample = read(tmp_path)

    assert {name: cell.latency_ms for name, cell in sample.cells.items()} == {
        "t.py::a": 2.0,
        "t.py::b": 250.0,
    }
    assert dict(sample.machine) == KNOWN
    assert tuple(KNOWN) == FINGERPRINT
    assert (sample.created, sample.schema) == ("2026-05-01T10:00:00+00:00", None)


@pytest.mark.parametrize(
    ("edit", "name", "value"),
    [
        (put("machine_info", "cpu", value={"brand": "Old CPU"}), "cpu_model", "Old CPU"),
        (put("machine_info", "cpu", value="Named CPU"), "cpu_model", "Named CPU"),
        (put("machine_info", "cpu", "brand_raw", value=""), "cpu_model", UNKNOWN),
        (put("machine_info", "cpu", value=None), "cpu_model", UNKNOWN),
        (drop("machine_info", "cpu"), "cpu_cores", UNKNOWN),
        (drop("machine_info", "node"), "node", UNKNOWN),
        (put("machine_info", "node", value=" "), "node", UNKNOWN),
        (put("machine_info", "processor", value=None), "processor", UNKNOWN),
    ],
    ids=["old key", "name", "empty", "null", "no cpu", "no node", "blank", "null processor"],
)
def test_the_machine_is_what_the_file_says(
    tmp_path: Path, edit: Edit, name: str, value: str
) -> None:
    """Under py-cpuinfo's keys of any version; what is missing or empty is unknown."""
    assert dict(read(tmp_path, edit).machine)[name] == value


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (put("machine_info", value=None), "machine_info is null, not an object"),
        (put("machine_info", "cpu", value=[]), "machine_info.cpu is [], not an object"),
        (
            put("machine_info", "node", value=["host"]),
            'machine_info: node is ["host"], not text or a number',
        ),
        (
            put("machine_info", "cpu", "count", value=True),
            "machine_info: cpu_cores is true, not text or a number",
        ),
        (
            put("datetime", value="yesterday"),
            'datetime is "yesterday", no date and time of ISO 8601',
        ),
        (put("benchmarks", 1, "fullname", value=7), "benchmarks[1].fullname is 7, not of type str"),
        (put("benchmarks", 1, value=[]), "benchmarks[1] is [], not an object"),
        (put(*STATS, value=[]), "t.py::a.stats is [], not an object"),
        (put(*STATS, "median", value="fast"), 't.py::a.stats.median is "fast", not a number'),
        (put(*STATS, "median", value=True), "t.py::a.stats.median is true, not a number"),
        (
            put(*STATS, "median", value=0.00200001),
            "t.py::a.stats.median is 0.00200001, its 3 rounds give 0.002; the file was edited",
        ),
        (
            drop(*STATS, "data", 2),
            "t.py::a.stats.median is 0.002, its 2 rounds give 0.0015; the file was edited",
        ),
        (
            put(*STATS, "data", value=[]),
            "t.py::a.stats.median is 0.002, its 0 rounds give 0; the file was edited",
        ),
        (
            put(*STATS, "data", value=[1e308] * 4),
            "t.py::a.stats.median is 0.002, its 4 rounds give inf; the file was edited",
        ),
        (put(*STATS, "data", 0, value=nan), "t.py::a.stats.data[0] is nan, not a finite number"),
        (put(*STATS, "data", value=0.002), "t.py::a.stats.data is 0.002, not a list"),
    ],
)
def test_what_pytest_benchmark_would_not_write_is_refused(
    tmp_path: Path, edit: Edit, sentence: str
) -> None:
    """Each in a sentence that names the place."""
    assert refused(tmp_path, edit) == sentence


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (drop(*STATS, "median"), "the file holds no median of it"),
        (put(*STATS, "median", value=None), "the file holds no median of it"),
        (drop(*STATS), "the file holds no median of it"),
        (put(*STATS, "median", value=0), "its median is 0, not a time"),
        (put(*STATS, "median", value=-0.5), "its median is -0.5, not a time"),
        (put(*STATS, "median", value=nan), "its median is NaN, not a time"),
        (put(*STATS, "median", value=inf), "its median is Infinity, not a time"),
        (put(*STATS, "median", value=1e308), "its median is 1e+308, not a time"),
        (put(*STATS, "median", value=10**400), f"its median is 1{'0' * 56}..., not a time"),
    ],
    ids=["missing", "null", "no stats", "zero", "negative", "NaN", "infinite", "absurd", "huge"],
)
def test_a_benchmark_without_a_time_was_not_measured(
    tmp_path: Path, edit: Edit, message: str
) -> None:
    """It alone: the others of the file are judged."""
    cells = read(tmp_path, edit).cells

    assert (cells["t.py::a"].status, cells["t.py::a"].message) == (Status.ERROR, message)
    assert cells["t.py::a"].latency_ms is None
    assert cells["t.py::b"].latency_ms == 250.0


def test_of_reruns_the_last_counts(tmp_path: Path) -> None:
    """A test that failed and ran again is there as often; the last run is what its verdict was."""
    again = put("benchmarks", 2, "stats", value={"median": 0.003})

    cells = read(tmp_path, repeat("benchmarks"), again).cells

    assert list(cells) == ["t.py::a", "t.py::b"]
    assert cells["t.py::a"].latency_ms == 3.0
