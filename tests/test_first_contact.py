"""What somebody meets who tries efficarch in a project of their own, with or without torch."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from efficarch.bench_command import _suites
from efficarch.budgets import load_budgets
from efficarch.cli import main
from efficarch.errors import EfficarchError
from efficarch.prospect import SMALLEST_BUDGETS
from tests.processes import EFFICARCH, ROOT, run, without
from tests.test_console import one_sentence, run_file

ORDINARY = """
from pathlib import Path

def test_sum(benchmark):
    Path("measured").touch()
    benchmark(sum, [1, 2])

def test_plain():
    Path("measured").touch()
"""

CELL = """
import pytest

@pytest.mark.parametrize(("model", "reducer", "keep", "batch"), [("tiny", "none", None, 1)])
def test_cell(bench, model, reducer, keep, batch):
    raise AssertionError("measured anyway")
"""


def project(folder: Path, **files: str) -> Path:
    """Write files of a project; their names have __ for a slash."""
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text, encoding="utf-8")
    return folder


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """Return the sentence that a command ended in."""
    assert done.returncode == 2, done.stdout + done.stderr
    return one_sentence(done.stderr)


@pytest.mark.parametrize("torch", [True, False], ids=["torch", "no torch"])
def test_ordinary_benchmarks_are_not_measured_and_then_refused(tmp_path: Path, torch: bool) -> None:
    """They hold no cells, which is said before any of them runs, with what does compare them."""
    project(tmp_path, tests__test_it=ORDINARY)
    environment = {} if torch else without(tmp_path / "site", "torch")

    said = refusal(run([*EFFICARCH, "bench"], tmp_path, environment=environment))

    assert "the tests found here (2) measure no cell" in said
    assert "efficarch gate --base REF" in said
    assert "efficarch compare --base OLD.json --head NEW.json" in said
    assert not (tmp_path / "measured").exists()


def test_a_selection_without_cells_is_not_measured_either(tmp_path: Path) -> None:
    """Whatever else the project holds."""
    project(tmp_path, suites__test_it=ORDINARY + CELL)
    (tmp_path / "suites" / "budgets.toml").write_text(SMALLEST_BUDGETS, encoding="utf-8")

    said = refusal(run([*EFFICARCH, "bench", "-k", "test_sum"], tmp_path))

    assert "the tests found here (1) measure no cell" in said
    assert not (tmp_path / "measured").exists()


def test_a_cell_without_budgets_is_told_the_smallest_useful_one(tmp_path: Path) -> None:
    """It can be copied as it stands, and it is read."""
    project(tmp_path, suites__test_it=CELL)

    said = refusal(run([*EFFICARCH, "bench"], tmp_path))

    assert "suites/budgets.toml does not exist" in said
    assert said.endswith(SMALLEST_BUDGETS)
    (tmp_path / "budgets.toml").write_text(said.partition("file is: ")[2], encoding="utf-8")
    (limit,) = load_budgets(tmp_path / "budgets.toml")
    assert (limit.cells, limit.latency_ratio, limit.cossim) == ("*", 1.0, 0.9)


@pytest.mark.parametrize("budgets", [True, False])
def test_cells_without_torch_name_the_extra(tmp_path: Path, budgets: bool) -> None:
    """In one sentence, whether pytest had to find them or their budgets already tell."""
    project(tmp_path, suites__test_it=CELL)
    if budgets:
        (tmp_path / "suites" / "budgets.toml").write_text(SMALLEST_BUDGETS, encoding="utf-8")

    environment = without(tmp_path / "site", "torch")

    said = refusal(run([*EFFICARCH, "bench"], tmp_path, environment=environment))
    assert said == "efficarch: torch is not installed; run: pip install 'efficarch[models]'"


def test_tune_doctor_and_list_without_torch(tmp_path: Path) -> None:
    """Each says what is missing and what brings it; what needs no torch is there."""
    environment = without(tmp_path / "site", "torch", "optuna")
    tuning = ["tune", "--model", "dinov2-small", "--latency-ratio", "0.5"]

    tuned = run([*EFFICARCH, *tuning], tmp_path, environment=environment)
    doctor = run([*EFFICARCH, "doctor"], tmp_path, environment=environment)
    listed = run([*EFFICARCH, "list"], tmp_path, environment=environment)

    said = "a search needs torch and optuna; run: pip install 'efficarch[models,tune]'"
    assert said in refusal(tuned)
    assert (doctor.returncode, listed.returncode) == (0, 0)
    assert "torch is not installed; run: pip install 'efficarch[models]'" in doctor.stdout
    assert "| `tome` | Token Merging" in listed.stdout
    assert "| `dinov2-small` |" in listed.stdout
    said = "Scans: torch is not installed; run: pip install 'efficarch[models]'\n"
    assert listed.stdout.endswith(said)


def test_doctor_with_half_of_an_extra(tmp_path: Path) -> None:
    """It looks at the rest and says what is missing of each."""
    environment = without(tmp_path / "site", "huggingface_hub", "onnx", "transformers")

    done = run([*EFFICARCH, "doctor"], tmp_path, environment=environment)

    assert (done.returncode, done.stderr) == (0, "")
    assert "huggingface_hub is not installed; run: pip install" in done.stdout


def test_nothing_to_measure_is_said_with_both_ways_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Our own suites are never measured unasked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pytest, "main", lambda *_, **__: pytest.fail("measured"))

    assert main(["bench"]) == 2

    said = capsys.readouterr().err
    assert "--suites FOLDER" in said
    assert "--suites packaged" in said
    assert list(tmp_path.iterdir()) == []


def test_suites_are_those_of_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or those asked for; ``packaged`` are efficarch's own, which its checkout has as ./suites."""
    monkeypatch.chdir(project(tmp_path, bench__test_a="", tests__test_b=""))
    assert _suites(None) == (Path("bench"),)
    assert _suites("tests") == (Path("tests"),)
    assert (_suites("packaged")[0] / "test_dinov2.py").is_file()
    with pytest.raises(EfficarchError, match="no suites folder 'suites'"):
        _suites("suites")

    monkeypatch.chdir(ROOT)
    assert _suites(None) == (Path("suites"),)


BARE = """
import sys
sys.meta_path = [each for each in sys.meta_path if "editable" not in repr(each).lower()]
from efficarch.cli import main
sys.exit(main())
"""
"""The command line of the efficarch that lies on the path, not of the one that is installed."""

FOREIGN = "from pathlib import Path\nPath('foreign').touch()\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Copy the package, without its reports, to where a test may choose its neighbours."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "efficarch", tmp_path / "site" / "efficarch", ignore=ignored)
    return tmp_path / "site"


def report(site: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Write a report in a project that has a package ``reports`` of its own."""
    project(folder, reports____init__=FOREIGN, reports__render=FOREIGN)
    command = [sys.executable, "-c", BARE, "report", run_file(folder), "--out=out"]
    return run(command, folder, environment={"PYTHONPATH": str(site)})


def test_the_report_generator_is_the_one_beside_efficarch(tmp_path: Path, site: Path) -> None:
    """A folder of the same name where one works is left alone."""
    ignored = shutil.ignore_patterns("__pycache__", "out")
    shutil.copytree(ROOT / "reports", site / "reports", ignore=ignored)

    done = report(site, tmp_path / "work")

    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "work" / "out" / "index.html").is_file()
    assert not (tmp_path / "work" / "foreign").exists()


def test_an_installation_without_the_generator_says_so(tmp_path: Path, site: Path) -> None:
    """It takes no other package for it, not even one beside itself."""
    project(site, reports____init__=FOREIGN)

    done = report(site, tmp_path / "work")

    assert "lacks the report generator" in refusal(done)
    assert not (tmp_path / "work" / "foreign").exists()


def test_git_sees_nothing_of_a_report(tmp_path: Path) -> None:
    """A folder that efficarch made hides itself."""
    run_file(tmp_path)
    for command in (["git", "init", "-q"], ["git", "add", "run.json"]):
        assert run(command, tmp_path).returncode == 0

    assert run([*EFFICARCH, "report", "run.json"], tmp_path).returncode == 0

    status = run(["git", "status", "--porcelain", "--ignored=no"], tmp_path)
    assert status.stdout == "A  run.json\n"
    assert (tmp_path / "reports" / "out" / "index.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["report", "run.json"], "index.html"),
        (["report", "run.json"], "summary.md"),
        (["bench", "--suites", "tests"], "index.html"),
        (["bench", "--suites", "tests"], "run.json"),
    ],
)
def test_files_of_others_are_not_overwritten(
    arguments: list[str],
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The first of them ends the command before it measures or writes anything."""
    monkeypatch.chdir(project(tmp_path, tests__test_it=ORDINARY))
    monkeypatch.setattr(pytest, "main", lambda *_, **__: pytest.fail("measured"))
    run_file(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / name).write_text("<title>Ours</title>", encoding="utf-8")

    assert main([*arguments, "--out", "docs"]) == 2

    said = one_sentence(capsys.readouterr().err)
    assert said == f"efficarch: docs/{name} was not written by efficarch; choose another --out"
    assert [path.name for path in (tmp_path / "docs").iterdir()] == [name]
    assert (tmp_path / "docs" / name).read_text(encoding="utf-8") == "<title>Ours</title>"
