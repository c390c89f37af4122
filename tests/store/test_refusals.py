"""Run files that cannot be trusted: each is refused in words that name the file and the place."""

import json
from math import inf, nan
from pathlib import Path

import pytest

from efficarch.errors import RunFileError
from efficarch.record import SCHEMA, Status
from efficarch.store import load_run, parse_run
from tests import samples
from tests.store.cases import CELL, EXTRA, LINE, MEASUREMENT, Edit, drop, put, repeat, written


def refusal(path: Path) -> str:
    """Return why a run file is refused, after the name of the file."""
    with pytest.raises(RunFileError) as caught:
        load_run(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def test_missing_file_is_refused(tmp_path: Path) -> None:
    """A file that is not there is named."""
    assert refusal(tmp_path / "run.json") == "No such file or directory; name a run file"


def test_folder_is_refused(tmp_path: Path) -> None:
    """A folder is not a run file."""
    assert refusal(tmp_path) == "Is a directory; name a run file"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(json.dumps(samples.run_json()).encode()[:-1], id="truncated at the end"),
        pytest.param(json.dumps(samples.run_json()).encode()[:700], id="truncated in the middle"),
        pytest.param(b"device: cpu\n", id="not JSON"),
    ],
)
def test_incomplete_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """A file that a dying run left behind says what happened and what to do."""
    path = tmp_path / "run.json"
    path.write_bytes(content)

    why = refusal(path)

    assert why.startswith("not complete JSON (")
    assert why.endswith("); the run that wrote it did not finish, run again")


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    """JSON nested past what Python reads is a sentence, not a RecursionError."""
    path = tmp_path / "run.json"
    path.write_text("[" * 100_000 + "]" * 100_000, encoding="utf-8")

    assert refusal(path) == "nested too deeply to be a run file"


@pytest.mark.parametrize("keys", [(*MEASUREMENT, "source"), ("commit_info",)], ids=lambda k: k[-1])
def test_nested_value_is_shown_in_short(tmp_path: Path, keys: tuple[str | int, ...]) -> None:
    """Nesting that can be read is shown by its beginning."""
    data = samples.run_json()
    put(*keys, value="deep")(data)
    text = json.dumps(data).replace('"deep"', "[" * 500 + "]" * 500)
    path = tmp_path / "run.json"
    path.write_text(text, encoding="utf-8")

    assert f"{keys[-1]} is {'[' * 57}..., not " in refusal(path)


@pytest.mark.parametrize("sign", ["", "-"], ids=["positive", "negative"])
@pytest.mark.parametrize("key", ["clock_overhead_ms", "schema"])
def test_number_too_long_to_read_is_refused(tmp_path: Path, key: str, sign: str) -> None:
    """An integer of more digits than Python converts is a sentence as well."""
    data = samples.run_json()
    put("efficarch", key, value="long")(data)
    path = tmp_path / "run.json"
    text = json.dumps(data).replace('"long"', sign + "9" * 5000)
    path.write_text(text, encoding="utf-8")

    assert "4300 digits" in refusal(path)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        pytest.param(
            [], "not a pytest-benchmark file; pass the run.json of a bench run", id="list"
        ),
        pytest.param(7, "not a pytest-benchmark file", id="number"),
        pytest.param({"cells": []}, "not a pytest-benchmark file", id="no benchmarks"),
        pytest.param({"benchmarks": {}}, "not a pytest-benchmark file", id="benchmarks by name"),
        pytest.param(
            {"machine_info": {}, "benchmarks": [{"name": "a", "extra_info": {}}], "version": "5"},
            "a pytest-benchmark file of another tool: it has no efficarch section",
            id="plain pytest-benchmark",
        ),
    ],
)
def test_file_of_another_tool_is_refused(tmp_path: Path, data: object, sentence: str) -> None:
    """JSON that no bench run wrote is told apart from a broken run."""
    assert refusal(written(tmp_path / "run.json", data)).startswith(sentence)


@pytest.mark.parametrize(
    "schema", [0, SCHEMA + 1, str(SCHEMA), None, True, float(SCHEMA), [SCHEMA]], ids=repr
)
def test_other_schema_version_is_refused(tmp_path: Path, schema: object) -> None:
    """A file of another version is not guessed at; the message gives both versions."""
    data = samples.run_json()
    put("efficarch", "schema", value=schema)(data)

    assert refusal(written(tmp_path / "run.json", data)) == (
        f"schema version {schema!r}, this efficarch reads versions 1, 2, 3, 4, {SCHEMA}; "
        "report it with the efficarch that measured it"
    )


BAD_CELLS = [
    pytest.param(
        put(*MEASUREMENT, "rounds_ms", 2, value=nan),
        f"{CELL}.rounds_ms[2] is nan, not a finite number",
        id="NaN round",
    ),
    pytest.param(
        put(*MEASUREMENT, "reference_rounds_ms", 0, value=inf),
        f"{CELL}.reference_rounds_ms[0] is inf, not a finite number",
        id="infinite round",
    ),
    pytest.param(
        put(*MEASUREMENT, "rounds_ms", 0, value=-1.5),
        f"cell {CELL!r}: rounds_ms[0] is -1.5, not positive",
        id="negative round",
    ),
    pytest.param(
        put(*MEASUREMENT, "reference_rounds_ms", 7, value=0.0),
        f"cell {CELL!r}: reference_rounds_ms[7] is 0.0, not positive",
        id="zero round",
    ),
    pytest.param(
        put(*MEASUREMENT, "rounds_ms", 0, value=1e308),
        f"cell {CELL!r}: rounds_ms[0] is 1e+308, no latency in milliseconds",
        id="round of ages",
    ),
    pytest.param(
        put(*MEASUREMENT, "reference_rounds_ms", 1, value=5e-324),
        f"cell {CELL!r}: reference_rounds_ms[1] is 5e-324, no latency in milliseconds",
        id="round of no time",
    ),
    pytest.param(
        put(*MEASUREMENT, "rounds_ms", value=[1.0] * 5),
        f"cell {CELL!r}: rounds_ms holds 5 rounds; a 95 % interval needs at least 6",
        id="too few rounds",
    ),
    pytest.param(
        put(*MEASUREMENT, "reference_rounds_ms", value=[1.0] * 5),
        f"cell {CELL!r}: reference_rounds_ms holds 5 rounds; a 95 % interval needs at least 6",
        id="too few reference rounds",
    ),
    pytest.param(
        put(*MEASUREMENT, "cossim", "mean", value=1.5),
        f"cell {CELL!r}: cossim.mean is 1.5, outside [-1, 1]",
        id="CosSim above one",
    ),
    pytest.param(
        put(*MEASUREMENT, "cossim", "minimum", value=0.94),
        f"cell {CELL!r}: cossim.minimum is 0.94, above the mean or p5",
        id="minimum above the rest",
    ),
    pytest.param(
        put(*MEASUREMENT, "cossim", "items", value=0),
        f"cell {CELL!r}: cossim.items is 0, nothing was compared; run it again",
        id="CosSim of nothing",
    ),
    pytest.param(
        put(*MEASUREMENT, "cossim_items", 2, value=-1.1),
        f"cell {CELL!r}: cossim_items[2] is -1.1, outside [-1, 1]",
        id="CosSim of an image below minus one",
    ),
    pytest.param(
        put(*MEASUREMENT, "items", value=0),
        f"cell {CELL!r}: items is 0, nothing was measured; run it again",
        id="no items",
    ),
    pytest.param(
        put(*MEASUREMENT, "pairs_per_round", value=0),
        f"cell {CELL!r}: pairs_per_round is 0, nothing was measured; run it again",
        id="rounds without pairs",
    ),
    pytest.param(
        put(*MEASUREMENT, "rounds_ms", value=[]),
        f"cell {CELL!r}: rounds_ms holds zero rounds; run it again",
        id="no rounds",
    ),
    pytest.param(
        put(*MEASUREMENT, "reference_rounds_ms", value=[]),
        f"cell {CELL!r}: reference_rounds_ms holds zero rounds; run it again",
        id="no reference rounds",
    ),
    pytest.param(
        drop(*MEASUREMENT, "rounds_ms", 0),
        f"cell {CELL!r}: more reference rounds than rounds; the file was edited",
        id="unpaired rounds",
    ),
    pytest.param(
        put(*MEASUREMENT, "latency_ms", "low", value=1e4),
        f"cell {CELL!r}: latency_ms is outside its own interval",
        id="latency below its interval",
    ),
    pytest.param(
        put(*MEASUREMENT, "timed_reference_ms", "high", value=1e-4),
        f"cell {CELL!r}: timed_reference_ms is outside its own interval",
        id="reference above its interval",
    ),
    pytest.param(
        put(*MEASUREMENT, "timed_ratio", value=None),
        f"cell {CELL!r}: its reference is timed in part; the file was edited",
        id="reference without a ratio",
    ),
    pytest.param(
        put(*MEASUREMENT, "timed_ratio", "low", value=0),
        f"cell {CELL!r}: timed_ratio is outside its own interval",
        id="interval down to zero",
    ),
    pytest.param(
        put(*MEASUREMENT, "timed_ratio", "value", value=nan),
        f"{CELL}.timed_ratio.value is nan, not a finite number",
        id="NaN ratio",
    ),
    pytest.param(
        put(*MEASUREMENT, "cossim", "mean", value=nan),
        f"{CELL}.cossim.mean is nan, not a finite number",
        id="NaN CosSim",
    ),
    pytest.param(
        put(*MEASUREMENT, "tokens", value=[]),
        f"cell {CELL!r}: tokens is empty; run it again",
        id="no tokens",
    ),
    pytest.param(
        repeat("efficarch", "cells"),
        f"cell {CELL!r} is listed twice; cell ids must be unique",
        id="listed twice",
    ),
    pytest.param(
        repeat("benchmarks"),
        f"cell {CELL!r} is measured twice; every cell id must be unique",
        id="measured twice",
    ),
    pytest.param(
        put("efficarch", "cells", value=[]),
        f"cell {CELL!r} is measured but not listed; the file was edited",
        id="measured but not listed",
    ),
    pytest.param(
        put("benchmarks", value=[]),
        f"cell {CELL!r} is passed without a measurement; the file was edited",
        id="passed without a measurement",
    ),
    pytest.param(
        put(*MEASUREMENT, "speedup", value=2.0),
        f"{CELL}: unknown field 'speedup'",
        id="unknown field",
    ),
    pytest.param(
        put(*MEASUREMENT, "timed_ratio", "median", value=2.0),
        f"{CELL}.timed_ratio: unknown field 'median'",
        id="unknown field of an estimate",
    ),
    pytest.param(
        put(*LINE, "limits", "latency", value=2.0),
        f"{CELL}.limits: unknown field 'latency'",
        id="unknown field of limits",
    ),
    pytest.param(drop(*LINE, "limits"), f"{CELL}.limits is null, not an object", id="no limits"),
    pytest.param(
        put(*LINE, "limits", value=None), f"{CELL}.limits is null, not an object", id="null limits"
    ),
    pytest.param(
        put(*LINE, "limits", value=[]), f"{CELL}.limits is [], not an object", id="list of limits"
    ),
    pytest.param(drop(*MEASUREMENT, "flops"), f"{CELL}: flops is missing", id="missing field"),
    pytest.param(
        drop(*LINE, "limits", "cossim"), f"{CELL}.limits: cossim is missing", id="missing floor"
    ),
    pytest.param(
        drop(*MEASUREMENT, "cossim", "p5"),
        f"{CELL}.cossim: p5 is missing",
        id="missing field of CosSim",
    ),
    pytest.param(drop(*EXTRA, "measurement"), f"{CELL} is null, not an object", id="no numbers"),
    pytest.param(
        put(*MEASUREMENT, "rounds_ms", 0, value=True),
        f"{CELL}.rounds_ms[0] is true, not of type float",
        id="bool for float",
    ),
    pytest.param(
        put(*MEASUREMENT, "rounds_ms", 0, value="70.1"),
        f'{CELL}.rounds_ms[0] is "70.1", not of type float',
        id="string for float",
    ),
    pytest.param(
        put(*MEASUREMENT, "throughput_per_s", value=None),
        f"{CELL}.throughput_per_s is null, not of type float",
        id="null for float",
    ),
    pytest.param(
        put(*MEASUREMENT, "items", value=8.0),
        f"{CELL}.items is 8.0, not of type int",
        id="float for int",
    ),
    pytest.param(
        put(*MEASUREMENT, "seed", value=False),
        f"{CELL}.seed is false, not of type int",
        id="bool for int",
    ),
    pytest.param(
        put(*MEASUREMENT, "autocast", value=0),
        f"{CELL}.autocast is 0, not of type bool",
        id="int for bool",
    ),
    pytest.param(
        put(*MEASUREMENT, "source", value=3),
        f"{CELL}.source is 3, not of type str",
        id="int for string",
    ),
    pytest.param(
        put(*MEASUREMENT, "tokens", value=257),
        f"{CELL}.tokens is 257, not a list",
        id="number for list",
    ),
    pytest.param(
        put(*MEASUREMENT, "tokens", value="x" * 100),
        f'{CELL}.tokens is "{"x" * 56}..., not a list',
        id="long text is shortened",
    ),
    pytest.param(
        put(*MEASUREMENT, "timed_ratio", value=0.7),
        f"{CELL}.timed_ratio is 0.7, not an object",
        id="number for estimate",
    ),
    pytest.param(
        put(*MEASUREMENT, "weights", value="finetuned"),
        f'{CELL}.weights is "finetuned"; known: pretrained, random, none',
        id="unknown weights",
    ),
    pytest.param(
        put(*MEASUREMENT, "weights", value=["random"]),
        f'{CELL}.weights is ["random"]; known: pretrained, random, none',
        id="list of weights",
    ),
    pytest.param(
        put(*LINE, "status", value="green"),
        f'{CELL}.status is "green"; known: passed, failed, error, skipped, not run',
        id="unknown status",
    ),
    pytest.param(
        drop(*LINE, "status"),
        f"{CELL}.status is null; known: passed, failed, error, skipped, not run",
        id="no status",
    ),
    pytest.param(
        drop(*LINE, "message"),
        f"{CELL}.message is null, not of type str",
        id="no message of a cell",
    ),
    pytest.param(
        put(*LINE, "limits", "reasons", value="why"),
        f'{CELL}.limits.reasons is "why", not a list',
        id="reasons not a list",
    ),
    pytest.param(
        put(*MEASUREMENT, "rounds_ms", 0, value=10**400),
        f"{CELL}.rounds_ms[0] is inf, not a finite number",
        id="huge integer for float",
    ),
    *(
        pytest.param(
            put(*LINE, "status", value=status.value),
            f"cell {CELL!r} is {status.value} with a measurement; the file was edited",
            id=f"{status.value} with a measurement",
        )
        for status in (Status.ERROR, Status.SKIPPED, Status.NOT_RUN)
    ),
]


@pytest.mark.parametrize(("edit", "sentence"), BAD_CELLS)
def test_bad_cell_is_refused(tmp_path: Path, edit: Edit, sentence: str) -> None:
    """Each broken measurement has its sentence, which names the file and the cell."""
    data = samples.run_json()
    edit(data)

    why = refusal(written(tmp_path / "run.json", data))

    assert why == sentence
    assert CELL in why


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        pytest.param(
            put("efficarch", value=[]),
            "a pytest-benchmark file of another tool: it has no efficarch section",
            id="section is a list",
        ),
        pytest.param(
            put("machine_info", value=None),
            "machine_info is null, not an object",
            id="no machine_info",
        ),
        pytest.param(
            drop("machine_info", "efficarch"), "machine is null, not an object", id="no fingerprint"
        ),
        pytest.param(
            drop("machine_info", "efficarch", "gpu_uuid"),
            "machine: gpu_uuid is missing",
            id="fingerprint lacks a field",
        ),
        pytest.param(
            put("machine_info", "efficarch", "ram_bytes", value=1),
            "machine: unknown field 'ram_bytes'",
            id="fingerprint with an unknown field",
        ),
        pytest.param(
            put("machine_info", "efficarch", "cpu_cores", value="2"),
            'machine.cpu_cores is "2", not of type int',
            id="cores in quotes",
        ),
        pytest.param(
            put("commit_info", value=[7]),
            "commit_info is [7], not an object",
            id="commit in a list",
        ),
        pytest.param(
            put("commit_info", value="0123abc"),
            'commit_info is "0123abc", not an object',
            id="commit as a string",
        ),
        pytest.param(
            put("efficarch", "clock_overhead_ms", value=10**400),
            "clock_overhead_ms is inf, not a finite number",
            id="huge clock overhead",
        ),
        pytest.param(
            put("commit_info", "id", value=7), "commit_info.id is 7, not of type str", id="id"
        ),
        pytest.param(
            put("commit_info", "id", value=None),
            "commit_info.id is null, not of type str",
            id="null id",
        ),
        pytest.param(
            put("commit_info", "dirty", value="false"),
            'commit_info.dirty is "false", not of type bool',
            id="dirty in quotes",
        ),
        pytest.param(
            put("commit_info", "dirty", value=1), "commit_info.dirty is 1, not of type bool", id="1"
        ),
        pytest.param(drop("datetime"), "datetime is null, not of type str", id="no date"),
        *(
            pytest.param(
                put("datetime", value=text),
                f'datetime is "{text}", no date and time of ISO 8601',
                id=f"date {text!r}",
            )
            for text in (
                *("", "now", "20:00:00", "2026-11-22", "20261122", "2026-11-22T", "2026-11-22T20"),
                *("2026-13-01T00:00:00", "2026-02-29T00:00:00", "2026-11-00T00:00:00"),
                *("2026-11-22T24:00:00", "2026-11-22T20:60:00", "2026-11-22T20:00:00+24:00"),
                *("2026-11-22T20:00:00 ", "2026-11-22T20:00:00.", "x2026-11-22T20:00:00"),
            )
        ),
        pytest.param(
            drop("efficarch", "interrupted"),
            "interrupted is null, not of type bool",
            id="complete?",
        ),
        pytest.param(
            put("efficarch", "clock_overhead_ms", value=nan),
            "clock_overhead_ms is nan, not a finite number",
            id="NaN clock overhead",
        ),
        pytest.param(
            drop("efficarch", "cells"), "cells is null, not a list", id="no list of cells"
        ),
        pytest.param(put(*LINE, value="a"), 'cell is "a", not an object', id="line is a string"),
        pytest.param(drop(*LINE, "cell"), "cell is null, not an object", id="line without a cell"),
        pytest.param(
            drop(*LINE, "cell", "device"), "cell: device is missing", id="cell lacks a field"
        ),
        pytest.param(
            put(*LINE, "cell", "batch", value="8"),
            'cell.batch is "8", not of type int',
            id="batch in quotes",
        ),
        pytest.param(
            put("benchmarks", 0, value=7), "benchmarks[0] is 7, not an object", id="benchmark"
        ),
        pytest.param(
            drop("benchmarks", 0, "extra_info"), "extra_info is null, not an object", id="extra"
        ),
        pytest.param(
            put(*EXTRA, value=[]), "benchmarks[0] is [], not an object", id="addition is a list"
        ),
        pytest.param(
            drop(*EXTRA, "cell"), "benchmarks[0].cell is null, not of type str", id="nameless"
        ),
    ],
)
def test_bad_frame_is_refused(tmp_path: Path, edit: Edit, sentence: str) -> None:
    """What surrounds the cells is read as strictly as they are."""
    data = samples.run_json()
    edit(data)

    assert refusal(written(tmp_path / "run.json", data)) == sentence


def test_failed_cell_without_a_measurement_is_refused() -> None:
    """A failed assertion is about numbers, so a failed cell without any was tampered with."""
    data = samples.run_json(samples.run(samples.line(status=Status.FAILED)))
    data["benchmarks"] = []

    with pytest.raises(RunFileError, match="is failed without a measurement"):
        parse_run(data)


def test_second_cell_is_named_not_the_first() -> None:
    """Among several cells the message points at the broken one."""
    broken = samples.cell("norm")
    data = samples.run_json(samples.run(samples.line(), samples.line(broken)))
    put("benchmarks", 1, *MEASUREMENT[2:], "rounds_ms", 0, value=0)(data)

    with pytest.raises(RunFileError) as caught:
        parse_run(data)

    assert str(caught.value) == f"cell {broken.id!r}: rounds_ms[0] is 0.0, not positive"


def test_a_sentence_stays_on_its_line(tmp_path: Path) -> None:
    """Whatever stands in an id: what follows would be read as a line of its own."""
    data = samples.run_json()
    put(*EXTRA, "cell", value="a\n\u2028b")(data)
    drop(*MEASUREMENT, "flops")(data)

    assert refusal(written(tmp_path / "run.json", data)) == r"a\n\nb: flops is missing"
