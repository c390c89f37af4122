"""Who judges: the base's rules and the gate's own eyes; what the head changed of them is said."""

import json
from html import unescape
from pathlib import Path

import pytest

from tests.experiment.scratch import (
    BENCHMARK,
    PROJECT,
    SETUP,
    SLOWER,
    commit,
    finished,
    git,
    out_of,
    strangers,
)

pytestmark = pytest.mark.usefixtures("few_plugins")

LOOSE = PROJECT.replace("floor = 0.9", "floor = 0.99").replace("null = 0.5", "null = 0.98")


def data(repo: Path) -> dict[str, object]:
    """Return what a gate wrote for programs."""
    found: dict[str, object] = json.loads((out_of(repo) / "verdicts.json").read_text())
    return found


@pytest.fixture
def project(alone: Path) -> Path:
    """A project whose last commit is as fast as the one before it, and slower by nothing."""
    repo = strangers(alone / "flat")
    git(repo, "reset", "--quiet", "--hard", "HEAD~1")
    return repo


def test_the_policy_is_the_bases(project: Path) -> None:
    """A head that forgives itself a slowdown of nearly anything fails, and it is said first."""
    impossible = (
        PROJECT.replace("floor = 0.9", "floor = 0.999")
        .replace("null = 0.5", "null = 0.998")
        .replace("pairs = [2, 4]", "pairs = [2]")
    )
    half = SLOWER.replace("160_000", "32_000")
    commit(project, "forgives", {"pyproject.toml": SETUP + impossible, "acclib/__init__.py": half})
    commit(project, "stays", {})
    tight = PROJECT.replace("floor = 0.9", "floor = 0.3").replace("null = 0.5", "null = 0.1")
    git(project, "checkout", "--quiet", "-b", "tight", "HEAD~2")
    base = commit(project, "tight", {"pyproject.toml": SETUP + tight})

    code, output, errors = finished(project, "--base", base, "--head", "main")

    assert (code, errors) == (1, "")
    first = output.splitlines()[0]
    assert first.startswith("note: the head changes the policy (floor 0.3 -> 0.999")
    assert first.endswith("; judged by the base's")
    summary = (out_of(project) / "summary.md").read_text()
    assert "the head changes the policy" in summary.partition("| verdict |")[0]

    code, output, _errors = finished(project, "--base", base, "--head", "main", "--trust-head")
    assert code != 1
    assert "policy and limits are the head's own (--trust-head)" in output


EMPTIED = """
def test_step(benchmark):
    benchmark.pedantic(int, rounds=20)
"""


def test_an_emptied_benchmark_is_no_gain(project: Path) -> None:
    """Faster, but by another test; and where only the tests changed at all."""
    slower = {"acclib/__init__.py": SLOWER, "benchmarks/test_step.py": EMPTIED}
    commit(project, "slower, and nobody sees it", slower)

    code, output, _errors = finished(project, "--base", "HEAD~1", "--head", "HEAD")

    assert code == 3
    assert "note: the head changes what measures it: benchmarks/test_step.py" in output
    assert "faster, but the test itself changed: look whether it still measures the same" in output


def test_a_gain_without_a_change_of_code_is_no_gain(project: Path) -> None:
    """The test is the same, what it is given is not."""
    conftest = "import acclib\n\nacclib.step = int\n"
    commit(project, "a stand-in", {"benchmarks/conftest.py": conftest, "README.md": "faster!\n"})

    code, output, _errors = finished(project, "--base", "HEAD~1", "--head", "HEAD")

    assert code == 3
    assert "note: the head changes what measures it: benchmarks/conftest.py" in output
    assert "faster, but no code changed that explains it" in output


def test_a_gain_by_code_is_one(project: Path) -> None:
    """As ever."""
    commit(project, "slower", {"acclib/__init__.py": SLOWER})

    code, output, _errors = finished(project, "--base", "HEAD", "--head", "HEAD~1")

    assert (code, "note:" in output) == (0, False)


STILL = """
def still():
    still.now += 1e-9
    return still.now


still.now = 0.0
"""

TIMERS = {
    "an option of the project": {
        "pytest.ini": "[pytest]\naddopts = --benchmark-timer=acclib.still\n",
        "acclib/__init__.py": SLOWER + STILL,
    },
    "a marker": {
        "benchmarks/test_step.py": STILL + "import pytest\nfrom acclib import step\n\n\n"
        "@pytest.mark.benchmark(timer=still)\n"
        "def test_step(benchmark):\n    benchmark.pedantic(step, rounds=20)\n",
    },
    "a fixture": {
        "conftest.py": STILL + "import pytest\n\n\n@pytest.fixture\ndef benchmark(benchmark):\n"
        "    benchmark._timer = still\n    return benchmark\n",
        "acclib/__init__.py": SLOWER,
    },
    "a clock": {
        "conftest.py": "import time\n\ntrue = time.perf_counter\n"
        "def slow():\n    return true() / 100\n\n\ntime.perf_counter = slow\n",
        "acclib/__init__.py": SLOWER,
    },
}


@pytest.mark.parametrize("files", TIMERS.values(), ids=TIMERS)
def test_another_timer_is_not_compared(project: Path, files: dict[str, str]) -> None:
    """Whatever brings it in."""
    commit(project, "times itself", files)

    code, output, errors = finished(project, "--base", "HEAD~1", "--head", "HEAD")

    assert code == 4, errors
    assert "NOT COMPARABLE benchmarks/test_step.py::test_step: " in output
    assert " in the base and " in output


def test_modules_that_stand_in_for_pythons_are_said(project: Path) -> None:
    """A file of the head that takes the place of a module everybody imports."""
    module = "from _statistics import *  # a shorter one\n"
    commit(
        project,
        "stands in",
        {"colorsys.py": module, "acclib/__init__.py": "import colorsys\n" + SLOWER},
    )

    _code, output, _errors = finished(project, "--base", "HEAD~1", "--head", "HEAD")

    assert "note: the head's tree replaces modules of Python or packages (colorsys)" in output


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"pytest.ini": "[pytest]\nxfail_strict = true\n"}, "pytest.ini (pytest's configuration)"),
        ({"tox.ini": "[pytest]\nxfail_strict = true\n"}, "tox.ini (pytest's configuration)"),
        ({"deep/conftest.py": ""}, "deep/conftest.py"),
        ({"sitecustomize.py": ""}, "sitecustomize.py"),
        (
            {
                "pyproject.toml": SETUP
                + PROJECT
                + "[tool.pytest.ini_options]\nxfail_strict = true\n"
            },
            "pyproject.toml (pytest's configuration)",
        ),
    ],
)
def test_what_measures_the_head_is_said_where_the_head_changes_it(
    project: Path, files: dict[str, str], named: str
) -> None:
    """In the first lines, in the page and for programs."""
    commit(project, "harmless", files)

    code, output, _errors = finished(project, "--base", "HEAD~1", "--head", "HEAD")

    assert code == 0, output
    assert output.splitlines()[0] == f"note: the head changes what measures it: {named}"
    assert data(project)["notices"] == [f"the head changes what measures it: {named}"]
    assert named in unescape((out_of(project) / "index.html").read_text())


@pytest.mark.parametrize("name", ["tox.ini", "pyproject.toml"])
def test_settings_of_other_tools_are_not(project: Path, name: str) -> None:
    """Nobody reads a note that is always there."""
    texts = {"tox.ini": "[tox]\nenv_list = a\n", "pyproject.toml": SETUP + PROJECT + "[tool.b]\n"}
    commit(project, "harmless", {name: texts[name]})

    code, output, _errors = finished(project, "--base", "HEAD~1", "--head", "HEAD")

    assert (code, "note:" in output) == (0, False)


def test_where_the_benchmarks_are_the_base_says(project: Path) -> None:
    """A head that points elsewhere would have nothing measured of what was."""
    elsewhere = "def test_step(benchmark):\n    benchmark.pedantic(int, rounds=20)\n"
    files = {
        "acclib/__init__.py": SLOWER,
        "elsewhere/test_step.py": elsewhere,
        "pytest.ini": "[pytest]\ntestpaths = elsewhere\n",
    }
    commit(project, "points elsewhere", files)

    code, output, _errors = finished(project, "--base", "HEAD~1", "--head", "HEAD")

    assert code == 1
    assert "note: the head has its benchmarks in elsewhere" in output
    git(project, "rm", "-rq", "benchmarks")
    commit(project, "without them")
    code, _output, errors = finished(project, "--base", "HEAD~2", "--head", "HEAD")
    assert code == 2
    assert "the head has no 'benchmarks', so there is nothing to compare" in errors


def test_files_of_a_pull_request_are_not_taken_for_the_gates(project: Path) -> None:
    """Somebody committed a whole folder of equal measurements where the gate writes."""
    assert finished(project, "--base", "HEAD")[0] == 0
    (out_of(project) / ".gitignore").unlink()
    text = (out_of(project) / "experiment.json").read_text()
    (out_of(project) / "experiment.json").write_text(text.replace("true", "false"))
    commit(project, "slower, with its own evidence", {"acclib/__init__.py": SLOWER})

    code, _output, errors = finished(project, "--base", "HEAD~1", "--head", "HEAD")

    assert code == 2
    assert "holds files that git tracks" in errors


def test_options_of_the_environment_are_left_out(project: Path) -> None:
    """Half of the benchmarks would go ungated, and nobody would know."""
    more = BENCHMARK + "\n\ndef test_two(benchmark):\n    benchmark.pedantic(step, rounds=20)\n"
    base = commit(project, "two", {"benchmarks/test_step.py": more})
    commit(project, "slower", {"acclib/__init__.py": SLOWER})

    code, output, _errors = finished(
        project, "--base", base, "--head", "HEAD", PYTEST_ADDOPTS="-k two"
    )

    assert code == 1
    assert "test_step.py::test_step" in output
    assert output.splitlines()[0] == "note: PYTEST_ADDOPTS is left out ('-k two')"


PLUGIN = "def pytest_benchmark_update_json(output_json):\n    pass\n"
CLOCK = "import time\n\n\ndef clock():\n    return time.perf_counter()\n"
TIMED = """
import pytest
from acclib import step
from tools.clock import clock


@pytest.mark.benchmark(timer=clock)
def test_step(benchmark):
    benchmark.pedantic(step, rounds=20)
"""


@pytest.mark.parametrize(
    ("files", "changed"),
    [
        ({"conftest.py": 'pytest_plugins = ["tools.plugin"]\n'}, "tools/plugin.py"),
        ({"benchmarks/test_step.py": TIMED}, "tools/clock.py"),
        ({}, "benchmarks/deeper/pytest.ini"),
    ],
    ids=["plugin", "timer", "settings"],
)
def test_what_measures_beside_the_suites_is_said(
    project: Path, files: dict[str, str], changed: str
) -> None:
    """Plugins, timers and settings wherever they lie; a gain by them alone is none."""
    more = {"tools/plugin.py": PLUGIN, "tools/clock.py": CLOCK, "benchmarks/deeper/pytest.ini": ""}
    tests = {"benchmarks/deeper/test_deeper.py": BENCHMARK, "tools/__init__.py": ""}
    commit(project, "base", {**more, **tests, **files})
    text = "[pytest]\n" if changed.endswith(".ini") else more[changed] + "\nMORE = 1\n"
    commit(project, "measures otherwise", {changed: text})

    suites = ("--suites", "benchmarks/deeper") if "deeper" in changed else ()
    code, output, _errors = finished(project, "--base", "HEAD~1", "--head", "HEAD", *suites)

    assert code == 0
    assert f"note: the head also changes what measures it: {changed}" in output or (
        f"note: the head changes what measures it: {changed}" in output
    )


def test_another_clock_of_pythons_is_not_compared(project: Path) -> None:
    """One built-in function in the place of another."""
    sets = "import time\n\ntime.process_time = time.thread_time\n"
    commit(project, "waits", {"conftest.py": sets})

    code, output, _errors = finished(project, "--base", "HEAD~1", "--head", "HEAD")

    assert code == 4
    assert "time.process_time is \"Python's\" in the base and 'replaced' in the head" in output
