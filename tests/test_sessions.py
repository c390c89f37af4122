"""Sessions as people run them: with other plugins, without some, with options of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from efficarch.models import MODELS, ModelRow
from efficarch.record import Status
from efficarch.store import load_run
from tests import inner

ROOT = Path(__file__).parent.parent
ARGUMENTS = ("-p", "efficarch.plugin", "--efficarch-device=cpu", "--benchmark-json=run.json")


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """An inner suites folder of two cells of a tiny model, in a project that allows no warning."""
    monkeypatch.delenv("EFFICARCH_REQUIRE_CUDA", raising=False)
    monkeypatch.setitem(MODELS, "tiny", ModelRow("tiny", "tests.inner", "tiny", "--dinov2-path"))
    pytester.makeini(
        "[pytest]\nfilterwarnings =\n    error\n    default:Not saving anything\n"
        "    default:Benchmarks are automatically disabled\n"
    )
    pytester.makeconftest(inner.CONFTEST)
    pytester.makepyfile(test_tiny=inner.SUITE)
    pytester.path.joinpath("budgets.toml").write_text(inner.BUDGETS)
    return pytester


def run(suite: pytest.Pytester, *options: str) -> pytest.RunResult:
    """Run it in this process."""
    return suite.runpytest_inprocess(*ARGUMENTS, *options)


@pytest.mark.parametrize(
    ("options", "outcomes"),
    [
        (["--benchmark-disable"], {"skipped": 2}),
        (["--benchmark-skip"], {"skipped": 2}),
        (["--benchmark-only"], {"passed": 2, "skipped": 1}),
        (["--benchmark-disable", "--benchmark-enable"], {"passed": 3}),
        (["-n", "1"], {"skipped": 2}),
        (["-n", "0"], {"passed": 3}),
        (["-p", "no:assertion"], {"passed": 3}),
    ],
    ids=lambda value: " ".join(value),
)
def test_options_of_others_do_as_ever(
    suite: pytest.Pytester, options: list[str], outcomes: dict[str, int]
) -> None:
    """Cells that are not to be measured are skipped, without a warning; other tests run."""
    suite.makepyfile(test_plain="def test_plain():\n    pass\n")
    passed = {"passed": 1} if "passed" not in outcomes else {}

    result = run(suite, "-rs", *options)

    result.assert_outcomes(**outcomes, **passed)
    if options in (["--benchmark-disable"], ["-n", "1"]):
        result.stdout.fnmatch_lines(["SKIPPED*benchmarks are disabled in this session*"])


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["-k", "nothing"], pytest.ExitCode.NO_TESTS_COLLECTED),
        (["--collect-only"], pytest.ExitCode.OK),
        (["--setup-plan"], pytest.ExitCode.OK),
        (["--fixtures"], pytest.ExitCode.OK),
        (["--markers"], pytest.ExitCode.OK),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_session_that_measures_nothing_writes_nothing(
    suite: pytest.Pytester, options: list[str], code: pytest.ExitCode
) -> None:
    """And ends as pytest ends it."""
    assert run(suite, *options).ret == code
    assert not (suite.path / "run.json").exists()


def test_without_pytest_benchmark_cells_are_refused_in_a_sentence(suite: pytest.Pytester) -> None:
    """And a session without cells needs none."""
    without = ("-p", "efficarch.plugin", "-p", "no:benchmark", "--efficarch-device=cpu")

    refused = suite.runpytest_inprocess(*without)

    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    assert refused.errlines[0] == (
        "ERROR: bench needs pytest-benchmark, which is not loaded; "
        "install it or leave out -p no:benchmark"
    )
    suite.makepyfile(test_tiny="def test_plain(efficarch_images):\n    pass\n")
    suite.runpytest_inprocess(*without).assert_outcomes(passed=1)


def test_without_a_terminal_the_run_is_written(suite: pytest.Pytester) -> None:
    """Nothing that is measured is only said."""
    assert run(suite, "-p", "no:terminal").ret == 0
    assert [line.status for line in load_run(suite.path / "run.json").cells] == 2 * [Status.PASSED]


def test_two_folders_in_one_run_have_limits_of_their_own(suite: pytest.Pytester) -> None:
    """Each from the file beside it."""
    for name, floor in (("one", 0.5), ("other", 1.0)):
        suite.mkdir(name)
        (suite.path / name / f"test_{name}.py").write_text(inner.SUITE)
        (suite.path / name / "budgets.toml").write_text(
            inner.BUDGETS.replace("tiny/tiny", f"{name}/tiny").replace("0.5", str(floor))
        )

    run(suite, "one", "other").assert_outcomes(passed=3, failed=1)

    failed = [c for c in load_run(suite.path / "run.json").cells if c.status is Status.FAILED]
    assert [line.cell.id for line in failed] == ["other/tiny/random/keep=0.5/batch=2/float32/cpu"]


def test_a_folder_without_limits_is_refused_in_a_sentence(suite: pytest.Pytester) -> None:
    """Nothing is measured that nothing limits, of this folder or another."""
    suite.mkdir("bare")
    (suite.path / "bare" / "test_bare.py").write_text(inner.SUITE)

    result = run(suite)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *bare/budgets.toml: No such file*needs a budgets.toml"])


def test_only_who_measures_is_a_cell(suite: pytest.Pytester) -> None:
    """A test of a clock is none; one that gets bench from a fixture of its project is."""
    suite.makeconftest(
        inner.CONFTEST
        + "\n\n@pytest.fixture\ndef bench(bench):\n    return bench\n"
        + "\n\n@pytest.fixture\ndef measured(bench):\n    return bench\n"
    )
    suite.makepyfile(
        test_clock="def test_clock(efficarch_clock):\n    assert efficarch_clock.time_ms(int) > 0\n"
    )
    text = (suite.path / "test_tiny.py").read_text()
    (suite.path / "test_tiny.py").write_text(
        text.replace("test_tiny(bench,", "test_tiny(measured,").replace("= bench(", "= measured(")
    )

    run(suite).assert_outcomes(passed=3)

    assert len(load_run(suite.path / "run.json").cells) == 2


ITEMS = """
import pytest


class Line(pytest.Item):
    fixturenames = ("bench", "benchmark")

    def runtest(self):
        pass


def pytest_collect_file(file_path, parent):
    if file_path.suffix == ".lines":
        return Lines.from_parent(parent, path=file_path)


class Lines(pytest.File):
    def collect(self):
        yield Line.from_parent(self, name="line")
"""


def test_tests_of_another_kind_are_left_alone(pytester: pytest.Pytester) -> None:
    """Whatever another plugin says that they ask for."""
    pytester.makeconftest(ITEMS)
    pytester.makefile(".lines", own="")

    pytester.runpytest_inprocess("-p", "efficarch.plugin").assert_outcomes(passed=1)


def test_bench_is_no_fixture_to_ask_for_on_the_way(suite: pytest.Pytester) -> None:
    """Its cell would be unknown at collection; the test fails with a sentence."""
    suite.makepyfile(test_tiny="def test_late(request):\n    request.getfixturevalue('bench')\n")

    result = run(suite)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["bench has to be an argument of the test, not asked for by it"])


def test_a_cell_tells_other_plugins_its_id(suite: pytest.Pytester) -> None:
    """In an attribute of the test, a text; other tests have none."""
    suite.makepyfile(test_plain="def test_plain():\n    pass\n")
    suite.makeconftest(
        inner.CONFTEST + "\n\ndef pytest_runtest_setup(item):\n"
        "    print('told', getattr(item, 'efficarch_cell', None))\n"
    )

    result = run(suite, "-s")

    assert [line.rpartition("told ")[2] for line in result.outlines if "told " in line] == [
        "None",
        "tiny/tiny/none/batch=2/float32/cpu",
        "tiny/tiny/random/keep=0.5/batch=2/float32/cpu",
    ]


@pytest.mark.parametrize("ratio", ["0.85", "0.01"], ids=["within", "beyond"])
def test_without_assertions_of_python_those_of_pytest_still_hold(
    suite: pytest.Pytester, ratio: str
) -> None:
    """Under ``python -O`` a broken limit fails its cell."""
    register = (
        "import pytest\nfrom efficarch.models import MODELS, ModelRow\n"
        "MODELS['tiny'] = ModelRow('tiny', 'tests.inner', 'tiny', '--dinov2-path')\n"
    )
    suite.makeconftest(inner.CONFTEST.replace("import pytest", register))
    (suite.path / "budgets.toml").write_text(inner.BUDGETS.replace("0.85", ratio))
    # pytest itself warns of -O
    (suite.path / "tox.ini").unlink()

    done = subprocess.run(
        [sys.executable, "-O", "-m", "pytest", *ARGUMENTS],
        cwd=suite.path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == (0 if ratio == "0.85" else 1), done.stdout + done.stderr
