"""Claims about what is read of an agent's record, which lies where measured code can write."""

import json
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from efficarch.errors import EfficarchError
from efficarch.observation import Observation, Sample, with_record
from efficarch.process_record import load_record
from efficarch.record import Status

RECORD: dict[str, Any] = {
    "format": 1,
    "tests": {
        "a": {"outcome": "passed", "message": ""},
        "b": {"outcome": "failed", "message": "AssertionError: no"},
        "c": {"outcome": "xfailed", "message": "ValueError: known"},
        "d": {"outcome": "error", "message": "OSError: late"},
        "e": {"outcome": "skipped", "message": "too slow"},
    },
    "collected": ["a", "b", "c", "d", "e"],
    "not_benchmarks": 2,
    "unnamed": 0,
    "cells": {"a": {"source": "s", "timer": "t", "fixtures": {"benchmark": "m"}}},
    "settings": {"timer": "t"},
    "plugins": ["p 1"],
    "foreign": [{"module": "m", "file": "/f", "whose": "the checkout"}],
    "replaced": [],
    "judges": [],
    "errors": {},
    "shared": [],
    "cuda": None,
}


def written(path: Path, data: object) -> Path:
    """Write a record."""
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def test_a_record_is_read_whole(tmp_path: Path) -> None:
    """What it says of tests, code and timers."""
    found = load_record(written(tmp_path / "r.json", RECORD))

    assert found.tests["b"].status is Status.FAILED
    assert str(found.foreign[0]) == "m from /f (the checkout)"
    assert found.cells["a"].fixtures == {"benchmark": "m"}


def mutations() -> list[object]:
    """Return records in which one value is another."""
    found: list[object] = [None, [], 5, "text", {}, {**RECORD, "format": 2}]
    for key in RECORD:
        for value in (None, 5, "x", [5], {"x": 5}, [[]], {"x": None}):
            changed = deepcopy(RECORD)
            changed[key] = value
            if changed != RECORD:
                found.append(changed)
        found.append({k: v for k, v in RECORD.items() if k != key})
    return found


@pytest.mark.parametrize("data", mutations())
def test_what_the_agent_does_not_write_is_refused_or_read(tmp_path: Path, data: object) -> None:
    """Never a traceback: any other exception than the sentence fails this."""
    with suppress(EfficarchError):
        load_record(written(tmp_path / "r.json", data))


def test_no_record_is_refused(tmp_path: Path) -> None:
    """A process that ended itself leaves none."""
    with pytest.raises(EfficarchError, match="is no record of a measured process"):
        load_record(tmp_path / "r.json")


def test_a_record_adds_what_pytest_benchmark_forgets(tmp_path: Path) -> None:
    """Tests without a measurement, and how those with one ended."""
    measured = {"a": Observation("a", Status.PASSED, "", latency_ms=1.0)}
    measured["b"] = Observation("b", Status.PASSED, "", latency_ms=2.0)
    sample = Sample((("cpu", "x"),), "2026-01-01", measured)

    found = with_record(sample, load_record(written(tmp_path / "r.json", RECORD)))

    told = {name: (c.status, c.message, c.latency_ms) for name, c in found.cells.items()}
    assert told == {
        "a": (Status.PASSED, "", 1.0),
        "b": (Status.FAILED, "AssertionError: no", 2.0),
        "c": (Status.FAILED, "excused by xfail: ValueError: known", None),
        "d": (Status.ERROR, "OSError: late", None),
        "e": (Status.SKIPPED, "too slow", None),
    }
    assert found.machine == sample.machine


def test_a_process_that_measured_nothing_says_nothing_of_its_machine(tmp_path: Path) -> None:
    """Or its pair would be one of two machines."""
    empty = Sample((("cpu", "None"),), "2026-01-01", {})
    failed = {**RECORD, "tests": {"b": RECORD["tests"]["b"]}}

    assert with_record(empty, load_record(written(tmp_path / "r.json", failed))).machine == ()
