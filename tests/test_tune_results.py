"""Claims about what a search leaves behind: comparisons by hand, files that read back."""

import csv
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest

from efficarch.budgets import limits_of, load_budgets
from efficarch.gate import Outcome as Verdict
from efficarch.gate import check_limits
from efficarch.record import CosSim, Estimate
from efficarch.tune import Found, Goal, Outcome
from efficarch.tune_results import (
    HEADINGS,
    Result,
    as_csv,
    as_run,
    budget_text,
    results,
    table,
)
from efficarch.tuned import Tuned
from reports import write_report
from tests import samples

GOAL = Goal("dinov2-small", 0.57, batch=8, trials=4)


def outcome(method: str, items: list[float], ratio: float = 0.56) -> Outcome:
    """Return an outcome of known CosSim of each image."""
    measured = replace(
        samples.measurement(),
        timed_ratio=Estimate(ratio, ratio - 0.01, ratio + 0.01),
        cossim=CosSim(sum(items) / len(items), min(items), min(items), len(items)),
        cossim_items=tuple(items),
    )
    tuned = Tuned("dinov2-small", method, 0.57, 0.4, {"after": (1, 4)})
    return Outcome(tuned.name, Found(tuned, measured))


RANDOM = [0.90, 0.92, 0.94, 0.96, 0.90, 0.92, 0.94, 0.96]
OUTCOMES = [
    outcome("random+exact-tail", RANDOM),
    outcome("better", [value + 0.03 for value in RANDOM], ratio=0.55),
    outcome("worse", [value - 0.03 for value in RANDOM]),
    outcome("other", [value + 0.02 * (-1) ** i for i, value in enumerate(RANDOM)], ratio=0.54),
    Outcome("slow", None, "too slow"),
]


def by_name() -> dict[str, Result]:
    """Return the results by method."""
    return {result.method: result for result in results(OUTCOMES)}


def test_methods_stand_beside_random_image_by_image() -> None:
    """An interval of the paired gap above, below or around zero decides the words."""
    found = by_name()

    assert found["better@0.57"].verdict == "beats random"
    assert found["worse@0.57"].verdict == "does not beat random"
    assert found["other@0.57"].verdict == "cannot be told from random"
    assert found["random+exact-tail@0.57"].verdict == ""
    gap = found["better@0.57"].gap
    assert gap is not None
    assert gap.value == pytest.approx(0.03)


def test_the_best_comes_first_and_what_was_not_found_not_at_all() -> None:
    """Results are ordered by CosSim; a method without a schedule has no figures."""
    names = [result.method for result in results(OUTCOMES)]

    assert names[0] == "better@0.57"
    assert names[-1] == "worse@0.57"
    assert "slow" not in names


def test_the_front_holds_what_nothing_dominates() -> None:
    """Faster and closer beats; slower and further does not stand on it."""
    on_front = {name for name, result in by_name().items() if result.on_front}

    assert on_front == {"better@0.57", "other@0.57"}


def test_without_random_there_is_nothing_to_beat() -> None:
    """No control, no verdict."""
    (result,) = results([OUTCOMES[1]])

    assert (result.gap, result.verdict) == (None, "")


def test_the_csv_has_a_row_for_each() -> None:
    """Every heading has its value, and numbers read back."""
    rows = list(csv.DictReader(StringIO(as_csv(results(OUTCOMES)))))

    assert tuple(rows[0]) == HEADINGS
    assert [row["method"] for row in rows] == [result.method for result in results(OUTCOMES)]
    assert float(rows[0]["cossim_mean"]) == pytest.approx(0.96)
    assert float(rows[0]["latency_ratio"]) == 0.55
    assert rows[0]["options"] == "after=(1, 4)"
    assert [row["on_pareto_front"] for row in rows].count("True") == 2


def test_the_table_is_markdown() -> None:
    """One line each, with the verdict in words."""
    lines = table(results(OUTCOMES))

    assert len(lines) == 2 + 4
    assert lines[2].startswith("| `better@0.57` | 0.400 | 0.550 [0.540, 0.560] | 0.9600 / 0.9300")
    assert lines[2].endswith("| beats random |")


def test_the_run_makes_a_report(tmp_path: Path) -> None:
    """The generator draws the results, the Pareto front among them, and nothing is broken."""
    run = as_run(
        results(OUTCOMES),
        GOAL,
        machine=samples.MACHINE,
        dtype="float32",
        created="2026-11-22T20:00:00+00:00",
    )
    write_report(run, tmp_path / "index.html")

    page = (tmp_path / "index.html").read_text()
    assert "Pareto front" in page
    assert "better+exact" not in page
    assert all(verdict.outcome is Verdict.PASS for verdict in check_limits(run))


def test_budget_entries_are_ready(tmp_path: Path) -> None:
    """The entries load, match their cell, and hold the figures they came from."""
    path = tmp_path / "budgets.toml"
    path.write_text(budget_text(results(OUTCOMES), "dinov2"))
    cell = replace(
        samples.cell("better@0.57"),
        id="dinov2/dinov2-small/better@0.57/keep=0.4/batch=8/float32/cpu",
    )

    limits = limits_of(cell, load_budgets(path), device_name="Sample CPU", weights="pretrained")

    assert limits.latency_ratio == 0.57
    assert limits.cossim == pytest.approx(0.955)
    assert limits.reasons == ("tuned to 0.57 of the dense latency; beats random",)
