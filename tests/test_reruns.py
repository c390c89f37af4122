"""Cells whose tests run more than once, as other plugins make them, and cells in trouble."""

import json
from typing import Any

import pytest

from efficarch.models import MODELS, ModelRow
from efficarch.record import CellRun, Status
from efficarch.store import load_run
from tests import inner

# every try has a clock of its own, in whose unit its latency can be told from others
CLOCKS = """
TRIES = []


@pytest.fixture
def efficarch_clock(request):
    TRIES.append(request.node.name)
    unit = TRIES.count(request.node.name)

    class Slower(WorkClock):
        def time_ms(self, call):
            return 1e6 * unit + super().time_ms(call)

    return Slower()
"""

# what pytest-rerunfailures does to a test that fails, with two more tries
RERUNS = """
from _pytest.runner import runtestprotocol


def pytest_runtest_protocol(item, nextitem):
    where = {"nodeid": item.nodeid, "location": item.location}
    for left in (2, 1, 0):
        item.ihook.pytest_runtest_logstart(**where)
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        again = left and any(report.failed for report in reports)
        for report in reports:
            report.outcome = "rerun" if again and report.failed else report.outcome
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(**where)
        if not again:
            return True
        item._initrequest()
"""

# what pytest-repeat does to every test
REPEATS = """
@pytest.fixture
def __pytest_repeat_step_number(request):
    return request.param


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc):
    metafunc.fixturenames.append("__pytest_repeat_step_number")
    metafunc.parametrize(
        "__pytest_repeat_step_number", range(3), indirect=True, ids="{0}-3".format
    )
"""

SUITE = """
import pytest
from efficarch.reducers import REDUCERS

SEEN = []
CASES = [(REDUCERS["none"], None), pytest.param(REDUCERS["random"], 0.5, marks=[{marks}])]


@pytest.mark.parametrize(("reducer", "keep"), CASES)
@pytest.mark.parametrize("model", ["tiny"])
def test_tiny(bench, images, model, reducer, keep):
    if keep:
        SEEN.append(keep)
        {before}
    bench(model=model, reducer=reducer(keep), inputs=images, batch=2)
    if keep:
        {after}
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """An inner suites folder of two cells of a tiny model."""
    monkeypatch.delenv("EFFICARCH_REQUIRE_CUDA", raising=False)
    monkeypatch.setitem(MODELS, "tiny", ModelRow("tiny", "tests.inner", "tiny", "--dinov2-path"))
    pytester.path.joinpath("budgets.toml").write_text(inner.BUDGETS)
    return pytester


def run(suite: pytest.Pytester, plugin: str, **suited: str) -> pytest.RunResult:
    """Run it under a plugin; one of its cells has marks, or does more before or after measuring."""
    suite.makeconftest(inner.CONFTEST + CLOCKS + plugin)
    filled = {"before": "pass", "after": "pass", "marks": "", **suited}
    suite.makepyfile(test_tiny=SUITE.format(**filled))
    return suite.runpytest_inprocess(
        "-p", "efficarch.plugin", "--benchmark-json=run.json", "--efficarch-device=cpu"
    )


def told(suite: pytest.Pytester) -> CellRun:
    """Return what the run says of that cell; of the other, that it is as ever."""
    record = load_run(suite.path / "run.json")
    plain, cell = record.cells
    assert (plain.status, plain.cell.method) == (Status.PASSED, "none")
    assert plain.measurement is not None
    assert not record.interrupted
    return cell


def unit(cell: CellRun) -> int:
    """Return which try a measurement is of."""
    assert cell.measurement is not None
    return round(cell.measurement.latency_ms.value / 1e6)


def entries(suite: pytest.Pytester) -> list[Any]:
    """Return the benchmarks of the file."""
    return list(json.loads((suite.path / "run.json").read_text())["benchmarks"])


@pytest.mark.parametrize(("passes_at", "status"), [(2, "passed"), (3, "passed"), (9, "failed")])
def test_the_last_try_counts(suite: pytest.Pytester, passes_at: int, status: str) -> None:
    """It is the one that was judged; the file holds each cell once."""
    result = run(suite, RERUNS, after=f"assert len(SEEN) >= {passes_at}, 'too early'")

    assert result.parseoutcomes()["rerun"] == min(passes_at, 3) - 1
    cell = told(suite)
    assert (cell.status.value, unit(cell)) == (status, min(passes_at, 3))
    assert len(entries(suite)) == 2


@pytest.mark.parametrize(
    "trouble", ["raise OSError('no')", "pytest.skip('no')"], ids=["raises", "skips"]
)
def test_a_try_that_was_judged_outlives_one_that_was_not(
    suite: pytest.Pytester, trouble: str
) -> None:
    """What fails its limits is not let off because it then raises or skips."""
    run(
        suite,
        RERUNS,
        before=f"if len(SEEN) > 1: {trouble}",
        after="assert len(SEEN) > 1, 'too slow'",
    )

    cell = told(suite)
    assert (cell.status, cell.message, unit(cell)) == (Status.FAILED, "too slow", 1)
    assert len(entries(suite)) == 2


FALLS_APART = """
@pytest.fixture(autouse=True)
def falls_apart(request):
    yield
    if "0.5" in request.node.name:
        raise OSError("late")
"""


def test_if_no_try_was_judged_the_cell_has_no_figures(suite: pytest.Pytester) -> None:
    """It is an error, and its run is a run like any other."""
    run(suite, RERUNS + FALLS_APART)

    cell = told(suite)
    assert (cell.status, cell.message) == (Status.ERROR, "OSError: late")
    assert cell.measurement is None
    assert [len(entry["extra_info"]) for entry in entries(suite)] == [1, 0]


@pytest.mark.parametrize(
    ("after", "status"),
    [("pass", "passed"), ("assert len(SEEN) == 2", "failed"), ("assert len(SEEN) > 1", "passed")],
)
def test_repeated_tests_are_one_cell(suite: pytest.Pytester, after: str, status: str) -> None:
    """Of which the last time counts; the plugin's own parameter is no part of its name."""
    result = run(suite, REPEATS, after=after)

    assert sum(result.parseoutcomes().values()) >= 6
    cell = told(suite)
    assert cell.cell.id == "tiny/tiny/random/keep=0.5/float32/cpu"
    assert cell.status.value == status
    assert len(entries(suite)) == 2


def test_an_error_is_not_hidden_by_an_earlier_pass(suite: pytest.Pytester) -> None:
    """A test that breaks when it is repeated is broken."""
    run(suite, REPEATS, before="if len(SEEN) > 2: raise OSError('worn out')")

    cell = told(suite)
    assert (cell.status, cell.message) == (Status.ERROR, "OSError: worn out")
    assert cell.measurement is None


def test_repeated_tests_of_two_values_are_still_two(suite: pytest.Pytester) -> None:
    """That one is repeated does not make another the same."""
    suite.makeconftest(inner.CONFTEST + REPEATS)
    budgets = suite.path / "budgets.toml"
    budgets.write_text(inner.BUDGETS.replace("tiny/tiny/none/*", "tiny/*"))
    suite.makepyfile(
        test_tiny="import pytest\n\n@pytest.mark.parametrize('n', [1, '1'])\n"
        "def test_tiny(bench, n):\n    pass\n"
    )

    result = suite.runpytest_inprocess("-p", "efficarch.plugin", "--efficarch-device=cpu")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*are both cell 'tiny/none/n=1/float32/cpu'*"])


def test_a_test_that_passes_without_measuring_does_not_cost_the_run(
    suite: pytest.Pytester,
) -> None:
    """It is an error that says so."""
    run(suite, "", before="return")

    cell = told(suite)
    assert (cell.status, cell.measurement) == (Status.ERROR, None)
    assert cell.message == "its test passed without measuring anything; let it call bench"


@pytest.mark.parametrize(
    ("strict", "after", "expected"),
    [
        ("False", "assert not keep", (Status.SKIPPED, "slow yet")),
        ("True", "pass", (Status.FAILED, "[XPASS(strict)] slow yet")),
    ],
    ids=["fails", "passes"],
)
def test_a_failure_that_was_expected_says_why(
    suite: pytest.Pytester, strict: str, after: str, expected: tuple[Status, str]
) -> None:
    """Its reason is the cell's, and the others are measured."""
    run(suite, "", marks=f"pytest.mark.xfail(strict={strict}, reason='slow yet')", after=after)

    cell = told(suite)
    assert (cell.status, cell.message) == expected
