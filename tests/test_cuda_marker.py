"""The marker ``cuda``: of cells and of this repository's own tests, and of nobody else's."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

MARKED = """
import sys

import pytest


@pytest.mark.cuda
def test_gpu():
    assert "torch" not in sys.modules
"""

CELLS = """
import pytest

from efficarch.scan import BACKENDS, synthetic_inputs


@pytest.mark.parametrize("length", [16, pytest.param(32, marks=pytest.mark.cuda)])
@pytest.mark.parametrize("backend", [BACKENDS["naive"]], ids=["naive"])
def test_scan(bench, backend, length):
    bench.scan(
        backend=backend,
        inputs=synthetic_inputs(
            batch=1,
            channels=64,
            state=4,
            length=length,
            seed=0,
            device=bench.device,
            dtype=bench.dtype,
        ),
    )
"""

BUDGETS = '[[limit]]\ncells = "*"\nlatency_ratio = 1e6\ncossim = 0.9\nreason = "any"\n'


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has a GPU here, and nobody promised one."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("EFFICARCH_REQUIRE_CUDA", raising=False)


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Run the plugin in a process of its own: the markers of this one are known already."""
    return pytester.runpytest_subprocess("-p", "efficarch.plugin", "--strict-markers", *arguments)


@pytest.mark.parametrize("promised", ["0", "1"])
def test_another_projects_marker_is_its_own(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, promised: str
) -> None:
    """Its tests run, whatever our variable says, and nobody imports torch to decide."""
    monkeypatch.setenv("EFFICARCH_REQUIRE_CUDA", promised)
    pytester.makepyfile(MARKED)
    pytester.makeini("[pytest]\nmarkers =\n    cuda: of this project\n")

    run(pytester).assert_outcomes(passed=1)


def test_another_project_has_to_register_it(pytester: pytest.Pytester) -> None:
    """What --strict-markers would find without the plugin it finds with it."""
    pytester.makepyfile(MARKED)

    result = run(pytester)

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*'cuda' not found in `markers` configuration option*"])


def test_a_cell_that_needs_cuda_is_skipped(pytester: pytest.Pytester) -> None:
    """With the reason, the cell beside it is measured, and suites need not register anything."""
    pytester.makepyfile(test_mine=CELLS)
    (pytester.path / "budgets.toml").write_text(BUDGETS)

    result = run(pytester, "-rs")

    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*needs CUDA; this machine has none*"])


def test_a_promise_of_cuda_refuses_cells_without(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU runner a cell is neither skipped nor measured on the CPU."""
    monkeypatch.setenv("EFFICARCH_REQUIRE_CUDA", "1")
    pytester.makepyfile(test_mine=CELLS)
    (pytester.path / "budgets.toml").write_text(BUDGETS)

    result = run(pytester)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*EFFICARCH_REQUIRE_CUDA=1, but torch sees no CUDA device*"])


def test_this_repositorys_tests_skip_or_fail_where_promised(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its own conftest: skipped with the reason, or failed if the environment promised CUDA."""
    pytester.makeconftest((ROOT / "conftest.py").read_text())
    pytester.makepyfile(MARKED)

    skipped = run(pytester, "-rs")

    skipped.assert_outcomes(skipped=1)
    skipped.stdout.fnmatch_lines(["*needs CUDA; this machine has none*"])
    monkeypatch.setenv("EFFICARCH_REQUIRE_CUDA", "1")

    failed = run(pytester)

    assert failed.ret == pytest.ExitCode.TESTS_FAILED
    failed.stdout.fnmatch_lines(["*EFFICARCH_REQUIRE_CUDA=1, but torch sees no CUDA device*"])
