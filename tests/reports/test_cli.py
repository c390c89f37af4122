"""``python -m reports`` and the function that the efficarch command calls."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import reports
from reports.__main__ import main
from tests import samples
from tests.reports import cases

ROOT = Path(reports.__file__).parents[1]

WITHOUT_TORCH = """
import runpy, sys
sys.modules["torch"] = None
sys.argv = ["reports", *sys.argv[1:]]
runpy.run_module("reports", run_name="__main__", alter_sys=True)
"""

AS_IN_THE_WHEEL = """
import importlib.util, sys
from pathlib import Path
sys.modules["torch"] = None
folder = Path("reports")
spec = importlib.util.spec_from_file_location(
    "efficarch.reports", folder / "__init__.py", submodule_search_locations=[str(folder)]
)
package = importlib.util.module_from_spec(spec)
sys.modules["efficarch.reports"] = package
spec.loader.exec_module(package)
from efficarch.store import load_run
package.write_report(load_run(Path(sys.argv[1])), Path(sys.argv[2]))
assert "reports" not in sys.modules
"""


@pytest.fixture(name="run_file")
def fixture_run_file(tmp_path: Path) -> Path:
    """A complete run file."""
    path = tmp_path / "run.json"
    path.write_text(json.dumps(samples.run_json(cases.every_state())), encoding="utf-8")
    return path


def _python(code: str, *arguments: Path | str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_report_needs_no_torch(run_file: Path, tmp_path: Path) -> None:
    """The whole command works where torch cannot be imported."""
    out, summary = tmp_path / "new" / "index.html", tmp_path / "summary.md"
    done = _python(WITHOUT_TORCH, run_file, "-o", out, "--summary", summary)
    assert (done.returncode, done.stderr) == (0, "")
    assert out.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert summary.read_text(encoding="utf-8").startswith("## ✕ FAIL: ")


def test_both_package_names_write_the_same_page(run_file: Path, tmp_path: Path) -> None:
    """efficarch.reports of the wheel and reports of a checkout are one package."""
    done = _python(AS_IN_THE_WHEEL, run_file, tmp_path / "wheel.html")
    assert (done.returncode, done.stderr) == (0, "")
    assert main([str(run_file), "-o", str(tmp_path / "checkout.html")]) == 0
    assert (tmp_path / "wheel.html").read_bytes() == (tmp_path / "checkout.html").read_bytes()


def test_no_summary_is_written_unless_asked(run_file: Path, tmp_path: Path) -> None:
    """The page stands alone: nothing but it is written."""
    out = tmp_path / "out" / "index.html"
    assert main([str(run_file), "-o", str(out)]) == 0
    assert [path.name for path in out.parent.iterdir()] == ["index.html"]


def test_baseline_is_read(run_file: Path, tmp_path: Path) -> None:
    """A baseline file ends up in the baseline sentence."""
    out = tmp_path / "index.html"
    assert main([str(run_file), "-o", str(out), "--baseline", str(run_file)]) == 0
    assert "Against baseline 0123456789ab of 2026-11-22" in out.read_text(encoding="utf-8")


@pytest.mark.parametrize("which", ["run", "baseline"])
def test_truncated_file_is_one_sentence(
    which: str, run_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half a JSON file ends with exit code 2, one sentence and no page."""
    broken, out = tmp_path / "broken.json", tmp_path / "index.html"
    broken.write_text(run_file.read_text(encoding="utf-8")[:-40], encoding="utf-8")
    files = [str(broken)] if which == "run" else [str(run_file), "--baseline", str(broken)]
    assert main([*files, "-o", str(out)]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"efficarch: {broken}: not complete JSON")
    assert message.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize("option", ["-o", "--summary"])
def test_unwritable_folder_is_one_sentence(
    option: str, run_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An output below a regular file ends with exit code 2 and one sentence."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    outputs = {"-o": str(tmp_path / "index.html"), option: str(tmp_path / "file" / "out")}
    code = main([str(run_file), *[word for pair in outputs.items() for word in pair]])
    message = capsys.readouterr().err
    assert code == 2
    assert message.startswith("efficarch: cannot write ")
    assert message.count("\n") == 1
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("option", ["-o", "--summary"])
def test_files_of_others_are_not_overwritten(
    option: str, run_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither by the page nor by the summary; those of an earlier report are."""
    page, foreign = tmp_path / "page.html", tmp_path / "notes"
    foreign.write_text("mine", encoding="utf-8")
    for _time in range(2):
        assert main([str(run_file), "-o", str(page), "--summary", str(tmp_path / "s.md")]) == 0

    assert main([str(run_file), "-o", str(page), option, str(foreign)]) == 2

    assert f"{foreign} was not written by efficarch; choose" in capsys.readouterr().err
    assert foreign.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("name", ["run-v1.json", "run-v2.json"])
def test_files_of_older_schemas_still_make_a_report(tmp_path: Path, name: str) -> None:
    """They know of no sweep and no saving, and their page shows neither section."""
    page = tmp_path / "index.html"

    assert main([str(ROOT / "tests" / "golden" / name), "-o", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert 'id="facts"' in text
    assert 'id="growth"' not in text
    assert 'id="savings"' not in text
