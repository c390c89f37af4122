"""Run files: what was measured comes back unchanged, from today's files and from the oldest."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from efficarch.errors import EfficarchError
from efficarch.record import (
    SCHEMA,
    Cell,
    CosSim,
    Estimate,
    Limits,
    Machine,
    Quality,
    Run,
    Saving,
    Status,
    Weights,
)
from efficarch.store import load_run, load_sample, plain
from tests import samples
from tests.store.cases import CELL, GPU, MEASUREMENT, Edit, drop, put, written

GOLDEN = Path(__file__).parents[1] / "golden" / "run-v1.json"
GOLDEN_2 = GOLDEN.with_name("run-v2.json")

GOLDEN_3 = GOLDEN.with_name("run-v3.json")
GOLDEN_4 = GOLDEN.with_name("run-v4.json")

SINCE_4 = {"conditions": None, "turn": None}
SINCE_3 = {"backend": None, "scaling": None, "saving": None, **SINCE_4}
LIMITS_SINCE_3 = dict.fromkeys(("cossim_p5", "bits_lost", "slope", "reference_slope"))


def renamed(measurement: dict[str, object]) -> dict[str, object]:
    """Return a stored measurement with the names that schema 5 gave to two of its fields."""
    names = {"reference_ms": "timed_reference_ms", "ratio": "timed_ratio"}
    return {names.get(name, name): value for name, value in measurement.items()}


RUNS = {
    "one cell": samples.run(),
    "no cell": replace(samples.run(), cells=()),
    "every status": samples.run(
        *(
            samples.line(samples.cell(status.name.lower()), status=status, message=f"why: {status}")
            for status in Status
        )
    ),
    "every kind of weights": samples.run(
        *(
            samples.line(
                samples.cell(weights.value),
                measured=samples.with_weights(samples.measurement(), weights),
            )
            for weights in Weights
        )
    ),
    "cell without keep": samples.run(samples.line(samples.cell(keep=None))),
    "scan": samples.run(
        samples.line(replace(samples.cell(), suite="selective_scan", keep=None, length=1024))
    ),
    "limits in milliseconds": samples.run(
        replace(samples.line(), limits=Limits(-1.0, None, 1.9, ("eins", "zwei: ü × –")))
    ),
    "every limit": samples.run(
        replace(
            samples.line(),
            limits=Limits(0.9, 0.8, None, ("why",), 0.8, -0.001, (0.9, 1.1), (1.85, 2.1)),
        )
    ),
    "scaling": samples.run(samples.line(measured=replace(samples.swept(), backend="cpp"))),
    "saving": samples.run(
        samples.line(measured=replace(samples.measurement(), saving=samples.saving()))
    ),
    "saving of a signal": samples.run(
        samples.line(
            measured=replace(
                samples.measurement(), saving=Saving(0.0, None, None, (), (), ()), backend="chunked"
            )
        )
    ),
    "subject alone": samples.run(samples.line(measured=samples.alone())),
    "gpu": samples.run(machine=GPU),
    "interrupted": samples.run(samples.line(status=Status.NOT_RUN), interrupted=True),
    "dirty tree": replace(samples.run(), dirty=True),
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS.keys())
def test_run_survives_its_file(tmp_path: Path, run: Run) -> None:
    """What is written is what is read: every field, to the last digit."""
    path = written(tmp_path / "run.json", samples.run_json(run))

    assert load_run(path) == run


def test_oldest_run_file_still_loads() -> None:
    """golden/run-v1.json is kept forever: whoever has runs of schema 1 can still report them.

    It was written by samples.run_json when schema 1 was the newest. It is never rewritten; a
    schema that cannot read it any more has to say how its runs are converted.
    """
    raw = json.loads(GOLDEN.read_text(encoding="utf-8"))

    run = load_run(GOLDEN)

    assert raw["efficarch"]["schema"] == 1
    assert replace(run, cells=()) == Run(
        machine=Machine(
            device="cpu",
            gpu_name=None,
            gpu_uuid=None,
            driver=None,
            cuda=None,
            power_limit_w=None,
            sm_clock_mhz=None,
            memory_clock_mhz=None,
            cpu_model="Sample CPU",
            cpu_cores=2,
            threads=2,
            python="3.11.7",
            torch="2.13.0",
            transformers="5.23.0",
        ),
        created="2026-11-22T20:00:00+00:00",
        commit="0123456789abcdef0123456789abcdef01234567",
        dirty=False,
        interrupted=False,
        clock_overhead_ms=0.001,
        cells=(),
    )
    measured, skipped = run.cells
    assert measured.cell == Cell(
        id="dinov2/dinov2-small/tome/keep=0.5/batch=8/float32/cpu",
        suite="dinov2",
        model="dinov2-small",
        method="tome",
        keep=0.5,
        length=None,
        batch=8,
        dtype="float32",
        device="cpu",
    )
    assert (measured.status, measured.message) == (Status.PASSED, "")
    assert measured.limits == Limits(0.9, 0.8, None, ("sample limit",))
    assert (skipped.cell.method, skipped.cell.keep) == ("norm", None)
    assert (skipped.status, skipped.message) == (Status.SKIPPED, "no weights of dinov2-small")
    assert skipped.measurement is None


def test_oldest_measurement_still_loads() -> None:
    """The numbers of golden/run-v1.json arrive as they are written there."""
    raw = json.loads(GOLDEN.read_text(encoding="utf-8"))
    (bench,) = raw["benchmarks"]
    stored = bench["extra_info"]["efficarch"]["measurement"]

    measurement = load_run(GOLDEN).cells[0].measurement

    assert measurement is not None
    # version 1 knew none of these
    later = {"cossim_items": [], "quality": plain(Quality()), "pairs_per_round": 1, **SINCE_3}
    assert plain(measurement) == renamed({**stored, **later})
    assert measurement.rounds_ms == tuple(stored["rounds_ms"])
    assert len(measurement.rounds_ms) == len(measurement.reference_rounds_ms) == 8
    assert measurement.ratio == Estimate(**stored["ratio"])
    assert measurement.ratio.value == pytest.approx(0.7)
    assert measurement.cossim == CosSim(**stored["cossim"])
    assert measurement.tokens == (257, 200, 129)
    assert (measurement.flops, measurement.reference_flops) == (50_000_000_000, 74_000_000_000)
    assert (measurement.peak_bytes, measurement.reference_peak_bytes) == (80_000_000, 100_000_000)
    assert (measurement.weights, measurement.seed) == (Weights.PRETRAINED, 0)


def test_run_file_of_schema_2_still_loads() -> None:
    """golden/run-v2.json was written by samples.run_json at the last commit of schema 2.

    It is kept as golden/run-v1.json is. Everything in it arrives as it is written there; what
    version 2 did not know is None.
    """
    raw = json.loads(GOLDEN_2.read_text(encoding="utf-8"))
    stored = [bench["extra_info"]["efficarch"]["measurement"] for bench in raw["benchmarks"]]

    run = load_run(GOLDEN_2)

    assert raw["efficarch"]["schema"] == 2
    assert [line.cell.suite for line in run.cells] == [
        "dinov2",
        "selective_scan",
        "qwen2_5_vl",
        "dinov2",
    ]
    measured = [line.measurement for line in run.cells if line.measurement is not None]
    assert [plain(item) for item in measured] == [renamed({**old, **SINCE_3}) for old in stored]
    assert measured[1].pairs_per_round == 9
    assert measured[2].quality.answer_nats == 0.25
    for line, written_ in zip(run.cells, raw["efficarch"]["cells"], strict=True):
        assert plain(line.limits) == {**written_["limits"], **LIMITS_SINCE_3}


def test_run_file_of_schema_3_still_loads() -> None:
    """golden/run-v3.json was written by samples.run_json at the last commit of schema 3."""
    raw = json.loads(GOLDEN_3.read_text(encoding="utf-8"))
    stored = [bench["extra_info"]["efficarch"]["measurement"] for bench in raw["benchmarks"]]

    run = load_run(GOLDEN_3)

    assert raw["efficarch"]["schema"] == 3
    measured = [line.measurement for line in run.cells if line.measurement is not None]
    assert [plain(item) for item in measured] == [renamed({**old, **SINCE_4}) for old in stored]
    machine = raw["machine_info"]["efficarch"]
    assert plain(run.machine) == {**machine, "persistence": None, "mig": None}


def test_run_file_of_schema_4_still_loads() -> None:
    """golden/run-v4.json was written by samples.run_json at the last commit of schema 4."""
    raw = json.loads(GOLDEN_4.read_text(encoding="utf-8"))
    stored = [bench["extra_info"]["efficarch"]["measurement"] for bench in raw["benchmarks"]]

    run = load_run(GOLDEN_4)

    assert raw["efficarch"]["schema"] == 4
    measured = [line.measurement for line in run.cells if line.measurement is not None]
    assert [plain(item) for item in measured] == [renamed(old) for old in stored]
    assert [item.turn for item in measured] == [1, 0, None]
    assert plain(run.machine) == raw["machine_info"]["efficarch"]


def test_a_sample_knows_the_schema_of_its_file(tmp_path: Path) -> None:
    """The gate asks whether both sides write the same; another project's files have none."""
    assert load_sample(GOLDEN_4).schema == 4
    assert load_sample(written(tmp_path / "run.json", samples.run_json())).schema == SCHEMA

    plain_file = {"machine_info": {}, "datetime": "2026-01-01T00:00:00", "benchmarks": []}
    assert load_sample(written(tmp_path / "plain.json", plain_file)).schema is None


def test_a_run_that_timed_no_references_says_so_where_they_are_asked_for() -> None:
    """Later pairs of a gate do not; what needs a reference gets a sentence."""
    (line,) = RUNS["subject alone"].cells

    assert line.measurement is not None
    for name in ("reference_ms", "ratio"):
        with pytest.raises(EfficarchError, match=r"timed no references: .* pass a bench run"):
            getattr(line.measurement, name)


def test_other_benchmarks_of_the_session_are_ignored(tmp_path: Path) -> None:
    """A benchmark of the user's own, beside the cells, changes nothing."""
    data = samples.run_json()
    data["benchmarks"].insert(0, {"name": "theirs", "extra_info": {}, "stats": {"min": 1.0}})
    data["benchmarks"].append({"name": "also theirs", "extra_info": {"cell": CELL}})

    assert load_run(written(tmp_path / "run.json", data)) == samples.run()


def test_whole_numbers_are_read_where_floats_belong(tmp_path: Path) -> None:
    """JSON does not tell 100 from 100.0, so neither does the reader."""
    data = samples.run_json()
    put(*MEASUREMENT, "reference_rounds_ms", 0, value=100)(data)

    measurement = load_run(written(tmp_path / "run.json", data)).cells[0].measurement

    assert measurement is not None
    assert type(measurement.reference_rounds_ms[0]) is float


@pytest.mark.parametrize(
    "edit",
    [
        put("commit_info", value=None),
        drop("commit_info"),
        put("commit_info", value={}),
        put("commit_info", value={"time": None, "error": "no git", "project": "p"}),
        put("commit_info", value={"id": "", "dirty": False}),
    ],
    ids=["null", "missing", "empty", "without id", "empty id"],
)
def test_run_outside_a_repository_has_no_commit(tmp_path: Path, edit: Edit) -> None:
    """Without version control the commit is unknown and the run still counts."""
    data = samples.run_json()
    edit(data)

    run = load_run(written(tmp_path / "run.json", data))

    assert (run.commit, run.dirty) == ("unknown", False)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T20:00:00",
        "2026-11-22 20:00",
        "2026-11-22T20:00:00Z",
        "2026-11-22T20:00:00.123456+00:00",
        "2024-02-29T23:59:59-0330",
    ],
)
def test_every_date_and_time_of_pytest_benchmark_is_read(tmp_path: Path, text: str) -> None:
    """Its versions write microseconds, an offset, both or neither."""
    data = samples.run_json()
    put("datetime", value=text)(data)

    assert load_run(written(tmp_path / "run.json", data)).created == text
