"""How tests ended: what fails in the head alone is FAIL, and nothing that was left out passes."""

import json
from pathlib import Path

import pytest

from tests.experiment.scratch import (
    BENCHMARK,
    PROJECT,
    SETUP,
    SLOWER,
    STEP,
    commit,
    finished,
    git,
    out_of,
    strangers,
)

pytestmark = pytest.mark.usefixtures("few_plugins")

TWO = """
import pytest
from acclib import step


def test_step(benchmark):
    benchmark.pedantic(step, rounds=20)


def test_two(benchmark):
    benchmark.pedantic(step, rounds=20)
    assert step() == {total}
"""
TOTAL = sum(range(20_000))
GOOD = TWO.format(total=TOTAL)


@pytest.fixture
def project(alone: Path) -> Path:
    """A project with two benchmarks, one of which checks what it measured."""
    repo = strangers(alone / "flat")
    git(repo, "reset", "--quiet", "--hard", "HEAD~1")
    commit(repo, "two", {"benchmarks/test_step.py": GOOD})
    return repo


def outcomes(repo: Path) -> dict[str, tuple[str, str]]:
    """Return the outcome with its reasons by the name of the test."""
    data = json.loads((out_of(repo) / "verdicts.json").read_text())["verdicts"]
    return {v["cell_id"].rpartition("::")[2]: (v["outcome"], "; ".join(v["reasons"])) for v in data}


WRONG = {"acclib/__init__.py": STEP.replace("sum(range(20_000))", "sum(range(20_000)) + 1")}
RAISES = {"acclib/__init__.py": STEP.replace("return", "raise ValueError('no more')\n    return")}
EXCUSED = {
    **WRONG,
    "benchmarks/test_step.py": GOOD.replace(
        "def test_two", "@pytest.mark.xfail(reason='known')\ndef test_two"
    ),
}
TEARDOWN = {
    "benchmarks/conftest.py": "import pytest\n\n\n@pytest.fixture(autouse=True)\ndef tidy():\n"
    "    yield\n    raise OSError('disk')\n"
}


@pytest.mark.parametrize(
    ("files", "cell", "words"),
    [
        pytest.param(WRONG, "test_two", "fails in the head and not in the base", id="asserts"),
        pytest.param(EXCUSED, "test_two", "excused by xfail: assert ", id="xfail"),
        pytest.param(RAISES, "test_step", "ValueError: no more", id="raises"),
        pytest.param(TEARDOWN, "test_step", "raised: OSError: disk", id="teardown"),
    ],
)
def test_what_fails_in_the_head_alone_fails(
    project: Path, files: dict[str, str], cell: str, words: str
) -> None:
    """By its own words; what it said stays to be read."""
    commit(project, "breaks", files)

    code, output, _errors = finished(project, "--base", "HEAD~1", "--head", "HEAD")

    assert code == 1, output
    assert outcomes(project)[cell][0] == "fail"
    assert words in outcomes(project)[cell][1]
    assert (out_of(project) / "runs" / "01-head.log").is_file() or cell == "test_two"


def test_what_fails_on_both_sides_is_not_compared_where_nothing_was_measured(
    project: Path,
) -> None:
    """It is no fault of the head's, and no pass."""
    commit(project, "broken", RAISES)
    commit(project, "still broken", {"README.md": "x\n"})

    code, _output, _errors = finished(project, "--base", "HEAD~1", "--head", "HEAD")

    assert code == 4
    assert {outcome for outcome, _why in outcomes(project).values()} == {"not comparable"}


def test_what_the_head_skips_is_no_pass(project: Path) -> None:
    """With the reason it gives."""
    skips = GOOD.replace("def test_two", "@pytest.mark.skip(reason='too slow')\ndef test_two")
    commit(project, "skips", {"benchmarks/test_step.py": skips})

    code, _output, _errors = finished(project, "--base", "HEAD~1", "--head", "HEAD")

    assert code == 4
    outcome, why = outcomes(project)["test_two"]
    assert (outcome, "too slow" in why) == ("not comparable", True)


def test_what_the_head_removes_is_no_pass_and_what_it_adds_is_told(project: Path) -> None:
    """A new one alone leaves the exit code as it is."""
    commit(project, "one", {"benchmarks/test_step.py": BENCHMARK})

    assert finished(project, "--base", "HEAD~1", "--head", "HEAD")[0] == 4
    assert outcomes(project)["test_two"][1].startswith("gone")
    assert finished(project, "--base", "HEAD", "--head", "HEAD~1")[0] == 0
    assert outcomes(project)["test_two"][1].startswith("new")


def test_logs_go_only_where_all_went_well(project: Path) -> None:
    """They say what the page cannot."""
    assert finished(project, "--base", "HEAD")[0] == 0
    assert list((out_of(project) / "runs").glob("*.log")) == []
    commit(project, "breaks", WRONG)

    assert finished(project, "--base", "HEAD~1", "--head", "HEAD")[0] == 1

    log = out_of(project) / "runs" / "01-head.log"
    assert "assert 199990001 ==" in log.read_text()


PATTERNS = {
    "nothing": ('cells = ["benchmarks/*::test_tow"]', 2, "'benchmarks/*::test_tow' in cells"),
    "one": ('cells = ["*::test_two"]', 0, "1 PASS"),
    "an exact id": ('cells = ["benchmarks/test_step.py::test_step"]', 0, "1 PASS"),
    "one of two": ('cells = ["*::test_two", "*::test_three"]', 2, "names no cell of either side"),
}


@pytest.mark.parametrize(("line", "code", "words"), PATTERNS.values(), ids=PATTERNS)
def test_cells_of_the_policy(project: Path, line: str, code: int, words: str) -> None:
    """They choose among the tests of any project; a pattern without one is refused at once."""
    commit(project, "chooses", {"pyproject.toml": SETUP + PROJECT + line + "\n"})
    commit(project, "equal", {"README.md": "x\n"})

    found, output, errors = finished(project, "--base", "HEAD~1", "--head", "HEAD")

    assert found == code
    assert words in output + errors
    assert not list((out_of(project) / "runs").glob("*.partial"))


def test_an_entry_for_cells_that_are_not_there_is_said(project: Path) -> None:
    """A floor that holds for nothing protects nothing."""
    entry = '[[tool.efficarch.gate.cell]]\ncells = "*::test_tow"\nfloor = 0.95\nreason = "noisy"\n'
    commit(project, "chooses", {"pyproject.toml": SETUP + PROJECT + entry})
    commit(project, "equal", {"README.md": "x\n"})

    code, output, _errors = finished(project, "--base", "HEAD~1", "--head", "HEAD")

    assert code == 0
    assert "note: the policy names cells that there are not (*::test_tow)" in output


def test_tests_that_measure_nothing_are_not_run(project: Path) -> None:
    """Twice a pair, for minutes, as where the benchmarks lie among the unit tests."""
    unit = "import pathlib\n\n\ndef test_unit():\n    raise SystemExit('ran')\n"
    commit(project, "with unit tests", {"benchmarks/test_unit.py": unit})

    code, output, _errors = finished(project, "--base", "HEAD")

    assert (code, "2 PASS" in output) == (0, True)


NOTHING = {"benchmarks/test_step.py": "def test_unit():\n    pass\n"}


def test_without_a_benchmark_there_is_nothing_to_gate(project: Path) -> None:
    """It says what it looked for and where."""
    commit(project, "no benchmark", NOTHING)

    code, _output, errors = finished(project, "--base", "HEAD")

    assert code == 2
    assert "no test in benchmarks uses the fixture benchmark" in errors


CONFIGURATIONS = {
    "disabled": "--benchmark-disable",
    "skipped": "--benchmark-skip",
    "stops at the first": "-x",
    "compared": "--benchmark-autosave --benchmark-compare-fail=min:5%",
}


@pytest.mark.parametrize("options", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_a_projects_own_options_do_not_keep_a_gate_from_measuring(
    project: Path, options: str
) -> None:
    """What they do in its other runs is not what a gate is for."""
    commit(project, "options", {"pytest.ini": f"[pytest]\naddopts = {options}\n"})
    commit(project, "equal", {"README.md": "x\n"})

    code, output, errors = finished(project, "--base", "HEAD~1", "--head", "HEAD")

    assert (code, "2 PASS" in output) == (0, True), errors


def test_plugins_that_distribute_do_not(project: Path) -> None:
    """pytest-xdist would measure nothing at all."""
    pytest.importorskip("xdist", reason="pytest-xdist is not installed here")
    commit(project, "options", {"pytest.ini": "[pytest]\naddopts = -n 2 --dist loadscope\n"})
    commit(project, "equal", {"README.md": "x\n"})

    autoload = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": ""}
    assert finished(project, "--base", "HEAD~1", "--head", "HEAD", **autoload)[0] == 0


NESTED = """
import subprocess, sys


def test_nested(benchmark, tmp_path):
    (tmp_path / "test_inner.py").write_text("def test_inner(benchmark):\\n    benchmark(int)\\n")
    command = [sys.executable, "-m", "pytest", "-q", str(tmp_path)]
    done = benchmark.pedantic(lambda: subprocess.run(command, cwd=tmp_path), rounds=1)
    assert done.returncode == 0
"""


def test_pytest_inside_a_benchmark_does_not_take_itself_for_the_gates(project: Path) -> None:
    """It neither waits for a turn nor speaks for its parent."""
    commit(project, "nested", {"benchmarks/test_nested.py": NESTED})

    code, _output, errors = finished(project, "--base", "HEAD", "-k", "nested")

    assert code in (0, 3), errors
    assert outcomes(project).keys() == {"test_nested"}


TORCH = "import torch\n\n" + GOOD
LATE = GOOD.replace("def test_two(benchmark):\n", "def test_two(benchmark):\n    import torch\n")


@pytest.mark.parametrize("suite", [TORCH, LATE], ids=["imported first", "imported by a test"])
@pytest.mark.parametrize(
    ("arguments", "variables", "promise"),
    [
        (["--device", "cuda"], {}, "--device is cuda"),
        ([], {"EFFICARCH_REQUIRE_CUDA": "1"}, "EFFICARCH_REQUIRE_CUDA=1"),
    ],
)
def test_ordinary_benchmarks_without_the_gpu_that_was_promised(
    project: Path, suite: str, arguments: list[str], variables: dict[str, str], promise: str
) -> None:
    """A broken driver is no reason to measure the CPU and pass."""
    commit(project, "with torch", {"benchmarks/test_step.py": suite})

    code, _output, errors = finished(project, "--base", "HEAD", *arguments, **variables)

    assert code == 2
    assert f"{promise}, but torch sees no CUDA device in a process of the " in errors
    assert errors.count("\n") == 1
    assert not (out_of(project) / "verdicts.json").exists()


def test_options_of_tests_that_there_are_not(project: Path) -> None:
    """What the command line asks of efficarch's own tests is not silently dropped."""
    code, output, _errors = finished(project, "--base", "HEAD", "--dtype", "float16")

    assert code == 0
    assert "note: no measured test uses bench, and only those follow --dtype float16" in output


LATER = """
import pytest
from acclib import step


@pytest.fixture
def timed(request):
    return request.getfixturevalue("benchmark")


def test_later(timed):
    timed.pedantic(step, rounds=20)
"""


def test_a_benchmark_that_asks_for_the_fixture_later(project: Path) -> None:
    """By its name, through a fixture of the project's own."""
    commit(project, "base", {"benchmarks/test_later.py": LATER})
    commit(project, "slower", {"acclib/__init__.py": SLOWER})

    code, output, _errors = finished(project, "--base", "HEAD~1", "--head", "HEAD")

    assert code == 1
    assert "FAIL benchmarks/test_later.py::test_later" in output


PARTS = """
import unittest

import pytest
from acclib import step


def test_soft(benchmark, check):
    check(benchmark.pedantic(step, rounds=20) == {total}, "wrong sum")


def test_parts(benchmark, subtests):
    found = benchmark.pedantic(step, rounds=20)
    with subtests.test("sum"):
        assert found == {total}


class TestUnit(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def _benchmark(self, benchmark):
        self.benchmark = benchmark

    def test_unit(self):
        found = self.benchmark.pedantic(step, rounds=20)
        with self.subTest("sum"):
            self.assertEqual(found, {total})
"""
SOFT = """
import pytest

FOUND = []


@pytest.fixture
def check():
    FOUND.clear()
    return lambda fine, why: fine or FOUND.append(why)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if call.when == "call" and FOUND:
        report.outcome = "failed"
        report.longrepr = "; ".join(FOUND)
        FOUND.clear()
"""


def test_parts_of_a_test_and_what_a_plugin_makes_of_it(project: Path) -> None:
    """A subtest that fails, and a report that the project's own plugin turns into a failure."""
    files = {"benchmarks/test_parts.py": PARTS.format(total=TOTAL), "conftest.py": SOFT}
    commit(project, "base", files)
    commit(project, "wrong", WRONG)

    finished(project, "--base", "HEAD~1", "--head", "HEAD")

    found = outcomes(project)
    for name, words in (("test_soft", "wrong sum"), ("test_parts", "assert"), ("test_unit", "")):
        assert found[name][0] == "fail", name
        assert words in found[name][1]


PASSED_OVER = """
import pytest


def pytest_runtest_protocol(item):
    return True if item.name == "test_two" else None
"""


def test_a_benchmark_that_both_sides_pass_over(project: Path) -> None:
    """A session that has had enough: what did not run did not pass."""
    commit(project, "base", {"conftest.py": PASSED_OVER})
    commit(project, "next", {"x": ""})

    code, _output, _errors = finished(project, "--base", "HEAD~1", "--head", "HEAD")

    assert code == 4
    outcome, reason = outcomes(project)["test_two"]
    assert (outcome, outcomes(project)["test_step"][0]) == ("not comparable", "pass")
    assert "not run: the session passed it over" in reason


STOPS = """
def pytest_runtest_teardown(item):
    item.session.shouldstop = "the time of this job is up"
"""


def test_a_session_that_stops_itself(project: Path) -> None:
    """It is no head whose tests cannot be loaded, and nothing is judged."""
    commit(project, "base", {"conftest.py": STOPS})
    commit(project, "next", {"x": ""})

    code, _output, errors = finished(project, "--base", "HEAD~1", "--head", "HEAD")

    assert code == 2
    assert "measured nothing, or not all (pytest's exit code 2)" in errors


def test_tests_that_neither_side_can_load(project: Path) -> None:
    """Whichever ends first, that is no fault of the head's."""
    commit(project, "broken", {"benchmarks/test_new.py": "import nothing_there\n"})
    commit(project, "next", {"x": ""})

    code, _output, errors = finished(project, "--base", "HEAD~1", "--head", "HEAD")

    assert code == 2
    assert "the base" in errors
    assert "No module named 'nothing_there'; install it" in errors


@pytest.mark.parametrize("name", ["benchmarks/test_new.py", "benchmarks/test_step.py"])
def test_files_that_cannot_be_loaded_where_that_is_passed_over(project: Path, name: str) -> None:
    """The project's own options go on without them; they fail all the same."""
    options = '[tool.pytest.ini_options]\naddopts = "--continue-on-collection-errors"\n'
    settings = {"pyproject.toml": SETUP + PROJECT + options, "benchmarks/test_other.py": GOOD}
    commit(project, "options", settings)
    commit(project, "broken", {name: "import nothing_there\n"})

    code, output, _errors = finished(project, "--base", "HEAD~1", "--head", "HEAD")

    assert code == 1
    assert f"FAIL {name}: raised: ModuleNotFoundError: No module named 'nothing_there'" in output


def test_a_suite_of_quick_benchmarks(project: Path) -> None:
    """With the defaults of pytest-benchmark; their millions of rounds would fill the disk."""
    quick = "def test_quick(benchmark):\n    benchmark(int)\n"
    commit(project, "quick", {"benchmarks/test_step.py": quick})

    finished(project, "--base", "HEAD")

    runs = list((out_of(project) / "runs").glob("*-base.json"))
    assert runs
    stats = json.loads(runs[0].read_text())["benchmarks"][0]["stats"]
    assert stats["rounds"] > 10_000
    assert "data" not in stats


def test_plugins_that_are_named_one_by_one(project: Path) -> None:
    """The variable that keeps others from loading does not keep the gate from measuring."""
    code, output, _errors = finished(project, "--base", "HEAD", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")

    assert code == 0, output
