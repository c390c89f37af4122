"""The command line, in this process where nothing is measured and in its own where it is."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from efficarch.cli import main
from efficarch.models import MODELS
from efficarch.record import Status
from efficarch.store import load_run
from tests import inner, samples

ROOT = Path(__file__).parents[1]

REGISTER = """
from efficarch.models import MODELS, ModelRow

MODELS["tiny"] = ModelRow("tiny", "tests.inner", "tiny", "--dinov2-path")
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with a suites folder of two cells of a tiny model."""
    suites = tmp_path / "suites"
    suites.mkdir()
    (suites / "conftest.py").write_text(REGISTER + inner.CONFTEST)
    (suites / "test_tiny.py").write_text(inner.SUITE)
    (suites / "budgets.toml").write_text(inner.BUDGETS)
    return tmp_path


def command(checkout: Path, *arguments: str) -> list[str]:
    """Return the bench command for a checkout."""
    return [sys.executable, "-m", "efficarch", "bench", "--device=cpu", "--short", *arguments]


def environment() -> dict[str, str]:
    """Return an environment in which this checkout is imported and CUDA is not promised."""
    kept = {name: value for name, value in os.environ.items() if name != "EFFICARCH_REQUIRE_CUDA"}
    return {**kept, "PYTHONPATH": str(ROOT)}


def bench(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``efficarch bench`` in a process of its own."""
    return subprocess.run(
        command(checkout, *arguments),
        cwd=checkout,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def slowed(run_file: Path, factor: float) -> None:
    """Rewrite a run file as if its reduced model had been ``factor`` times as fast."""
    data = json.loads(run_file.read_text())
    for entry in data["benchmarks"]:
        measurement = entry["extra_info"]["efficarch"]["measurement"]
        measurement["rounds_ms"] = [value / factor for value in measurement["rounds_ms"]]
        for figure in (measurement["latency_ms"], measurement["timed_ratio"]):
            figure.update({name: value / factor for name, value in figure.items()})
        measurement["throughput_per_s"] *= factor
    run_file.write_text(json.dumps(data))


def test_bench_baseline_and_regression(checkout: Path) -> None:
    """A first run says there is no baseline, stores one; a slower run than it fails and says so."""
    first = bench(checkout, "--save-baseline")

    assert first.returncode == 0, first.stdout + first.stderr
    out = checkout / "reports/out"
    files = [".gitignore", "index.html", "run.json", "summary.md"]
    assert sorted(path.name for path in out.iterdir()) == files
    assert "does not exist; store one with --save-baseline" in (out / "summary.md").read_text()
    assert "ratio 0." in first.stdout
    [baseline] = (checkout / "suites/baselines").glob("*.json")
    assert load_run(baseline) == load_run(out / "run.json")

    slowed(baseline, 1.4)
    second = bench(checkout)

    assert second.returncode == 1, second.stdout + second.stderr
    assert "+40.0" in (out / "index.html").read_text()
    assert "against the baseline" in (out / "summary.md").read_text()


def test_broken_limit_is_red_and_cannot_become_a_baseline(checkout: Path) -> None:
    """A run that breaks a limit exits 1, is reported, and is not stored as a baseline."""
    budgets = checkout / "suites/budgets.toml"
    budgets.write_text(inner.BUDGETS.replace("latency_ratio = 0.85", "latency_ratio = 0.5"))

    result = bench(checkout, "--save-baseline")

    assert result.returncode == 2
    assert "cannot become a baseline" in result.stderr
    assert not (checkout / "suites/baselines").exists()
    assert "above its budget 0.500" in (checkout / "reports/out/index.html").read_text()


def test_nothing_measured_leaves_the_earlier_run(checkout: Path) -> None:
    """When no cell is measured the command says so, and the files of the run before stay."""
    out = checkout / "reports/out"
    out.mkdir(parents=True)
    earlier = json.dumps(samples.run_json())
    (out / "run.json").write_text(earlier)
    suite = checkout / "suites/test_tiny.py"
    suite.write_text(inner.SUITE.replace("    result =", "    raise OSError\n    result ="))

    result = bench(checkout)

    assert result.returncode == 2
    assert "no cell was measured" in result.stderr
    assert [path.name for path in out.iterdir()] == ["run.json"]
    assert (out / "run.json").read_text() == earlier


def test_bad_budgets_exit_2(checkout: Path) -> None:
    """A budgets file with a typo ends in pytest's sentence and exit code 2, nothing written."""
    budgets = checkout / "suites/budgets.toml"
    budgets.write_text(inner.BUDGETS.replace("cossim", "cosim"))

    result = bench(checkout)

    assert result.returncode == 2
    assert "did you mean 'cossim'?" in result.stderr
    assert [path.name for path in (checkout / "reports/out").iterdir()] == [".gitignore"]


def test_ctrl_c_reports_what_was_measured(checkout: Path) -> None:
    """SIGINT in the second cell: exit code 2, the first is kept, the report names the missing."""
    started = checkout / "started"
    body = f"open({str(started)!r}, 'w').close(); import time; time.sleep(60)"
    wait = f"    if keep:\n        {body}\n"
    suite = checkout / "suites/test_tiny.py"
    suite.write_text(inner.SUITE.replace("    result =", f"{wait}    result ="))

    process = subprocess.Popen(
        command(checkout),
        cwd=checkout,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # a shell starts background jobs with SIGINT ignored, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not started.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)

    assert process.returncode == 2, output
    assert "interrupted: 1 of 2 cells were not run" in output
    run = load_run(checkout / "reports/out/run.json")
    assert [line.status for line in run.cells] == [Status.PASSED, Status.NOT_RUN]
    assert "not run" in (checkout / "reports/out/index.html").read_text()


def test_a_reader_that_leaves_costs_no_measurement(checkout: Path) -> None:
    """pytest goes on writing to a pipe that nobody reads; the run is kept and judged."""
    reading, writing = os.pipe()
    os.close(reading)

    done = subprocess.run(
        command(checkout),
        cwd=checkout,
        env=environment(),
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )

    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
    run = load_run(checkout / "reports/out/run.json")
    assert [line.status for line in run.cells] == [Status.PASSED, Status.PASSED]
    assert (checkout / "reports/out/index.html").is_file()


def test_unwritable_folder_is_found_before_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An output folder that cannot be made ends the command before pytest starts."""
    monkeypatch.setattr(pytest, "main", lambda *_, **__: pytest.fail("measured anyway"))
    (tmp_path / "file").write_text("")

    assert main(["bench", "--out", str(tmp_path / "file/out"), "--suites", str(tmp_path)]) == 2

    assert "cannot write" in capsys.readouterr().err


def test_options_reach_pytest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every option that names weights or images is handed on under the name pytest knows it by."""
    handed: list[str] = []
    monkeypatch.setattr(pytest, "main", lambda arguments, **_: handed.extend(arguments) or 2)
    named = [f"{row.option}=some/{row.name}" for row in MODELS.values() if row.option]

    code = main(
        ["bench", f"--suites={tmp_path}", f"--out={tmp_path}", "--images=my/photos", *named]
    )

    assert code == 2
    assert "no cell was measured" in capsys.readouterr().err
    renamed = {each.replace("--", "--efficarch-", 1) for each in named}
    assert {*renamed, "--efficarch-images=my/photos"} <= set(handed)
    assert not set(named) & set(handed)


def test_missing_images_exit_2(checkout: Path) -> None:
    """An images folder that is not there ends in one sentence and exit code 2."""
    result = bench(checkout, "--images=nowhere")

    assert result.returncode == 2
    assert "no images folder 'nowhere'; it needs one subfolder a class" in result.stderr
    assert [path.name for path in (checkout / "reports/out").iterdir()] == [".gitignore"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["bench", "--suites", "nowhere"], "no suites folder 'nowhere'"),
        (["report", "nowhere.json"], "nowhere.json: No such file or directory"),
        (["report", "empty.json"], "empty.json: is empty; the run that wrote it did not finish"),
        (["report", "truncated.json"], "truncated.json: not complete JSON"),
        (["report", "good.json", "--baseline", "empty.json"], "empty.json: is empty"),
    ],
    ids=["suites", "missing", "empty", "truncated", "baseline"],
)
def test_bad_input_is_one_sentence_and_exit_2(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Unreadable input gives one sentence on stderr, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    text = json.dumps(samples.run_json())
    (tmp_path / "good.json").write_text(text)
    (tmp_path / "empty.json").write_text("")
    (tmp_path / "truncated.json").write_text(text[:-20])

    assert main(arguments) == 2

    error = capsys.readouterr().err
    assert error.startswith("efficarch: ")
    assert sentence in error
    assert error.count("\n") == 1
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize(
    ("status", "code"),
    [(Status.PASSED, 0), (Status.FAILED, 1), (Status.ERROR, 1), (Status.SKIPPED, 4)],
    ids=lambda value: value.value if isinstance(value, Status) else str(value),
)
def test_report_exits_with_the_verdict(status: Status, code: int, tmp_path: Path) -> None:
    """The report of a file alone carries its verdict in the exit code: 0, 1, or 4 for nothing."""
    run_file = tmp_path / "run.json"
    run = samples.run(samples.line(status=status, message="why"))
    run_file.write_text(json.dumps(samples.run_json(run)))

    assert main(["report", str(run_file), "--out", str(tmp_path / "out")]) == code

    assert (tmp_path / "out/index.html").is_file()
    assert (tmp_path / "out/summary.md").is_file()


def test_unknown_command_and_option_exit_2() -> None:
    """argparse refuses what it does not know with exit code 2."""
    for arguments in (["bnech"], ["bench", "--roudns", "7"], ["bench", "--device", "tpu"], []):
        with pytest.raises(SystemExit) as exited:
            main(arguments)
        assert exited.value.code == 2


def test_doctor_names_a_fix_for_everything_missing(capsys: pytest.CaptureFixture[str]) -> None:
    """Every line of the doctor says what is there or what to do."""
    assert main(["doctor"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].split("  ")[-1].strip() for line in lines] == [
        "torch",
        "CUDA",
        "nvidia-ml-py",
        "scan backend cpp",
        "scan backend triton",
        "scan backend mamba_ssm",
        "causal_conv1d",
        "dinov2-small weights",
        "clip-vit-b16 weights",
        "siglip-base-p16 weights",
        "vit-b16 weights",
        "qwen2.5-vl-3b weights",
        "qwen2.5-vl-7b weights",
        "mamba-130m weights",
        "mamba2-130m weights",
        "baseline",
    ]
    for line in lines:
        assert line.startswith("ok") or any(
            hint in line
            for hint in (
                "pip install",
                "install g++",
                "--",
                "needs a CUDA torch",
                "TRITON_INTERPRET",
            )
        )


def test_doctor_without_torch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without torch the doctor says how to get it and that reports do without."""
    monkeypatch.setattr("efficarch.doctor.find_spec", lambda _name: None)

    assert main(["doctor"]) == 0

    assert "pip install 'efficarch[models]'" in capsys.readouterr().out


def test_readme_holds_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    """The README's tables of methods, models and backends are those of the code."""
    assert main(["list"]) == 0

    assert capsys.readouterr().out.strip() in (ROOT / "README.md").read_text()
