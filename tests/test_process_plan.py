"""Claims about the plan that a gate gives to each of its processes."""

import json
import re
from pathlib import Path

import pytest

from efficarch.errors import EfficarchError
from efficarch.process_plan import VARIABLE, ProcessPlan, current, measured_ms
from tests import inner

CELLS = ("tiny/tiny/none/batch=2/float32/cpu", "tiny/tiny/random/keep=0.5/batch=2/float32/cpu")


def test_a_plan_is_read_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And there is none where nobody gave one."""
    plan = ProcessPlan(("a", "b"), 3, True, subject_alone=True)
    plan.write(tmp_path / "plan")
    monkeypatch.delenv(VARIABLE, raising=False)
    assert current() is None

    monkeypatch.setenv(VARIABLE, str(tmp_path / "plan"))

    assert current() == plan


@pytest.mark.parametrize("text", ["", "[]", '{"cells": 3, "seed": 0, "timing_only": true}', "{}"])
def test_what_is_no_plan_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """In a sentence with the variable."""
    (tmp_path / "plan").write_text(text)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "plan"))

    with pytest.raises(EfficarchError, match=f"{VARIABLE} names .* no plan of a gate; unset it"):
        current()


def test_the_order_depends_on_the_seed_alone() -> None:
    """Not on which other cells there are."""
    cells = [f"cell {n}" for n in range(20)]
    orders = [sorted(cells, key=ProcessPlan(None, seed, False).place) for seed in (0, 0, 1, 2)]

    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders}) == 3
    assert [c for c in orders[0] if c != "cell 3"] == sorted(
        (c for c in cells if c != "cell 3"), key=ProcessPlan(None, 0, False).place
    )


def test_cells_of_a_model_stay_together() -> None:
    """So that it is loaded once, and in another order under another seed."""
    cells = [f"suite/model-{n % 4}/method-{n}/float32/cpu" for n in range(20)]

    orders = [sorted(cells, key=ProcessPlan(None, seed, False).place) for seed in range(6)]

    models = [[cell.split("/")[1] for cell in order] for order in orders]
    assert all(len({*m[i : i + 5]}) == 1 for m in models for i in range(0, 20, 5))
    assert len({tuple(m) for m in models}) > 1
    assert len({tuple(c for c in order if "model-0" in c) for order in orders}) > 1


def test_cells_are_selected_by_id_or_glob() -> None:
    """An id that reads as a glob still selects itself."""
    plan = ProcessPlan(("a/*/cpu", "b/sizes=[1, 2]/cpu"), 0, False)

    assert plan.selects("a/model/tome/cpu")
    assert plan.selects("b/sizes=[1, 2]/cpu")
    assert not plan.selects("c/model/cpu")


@pytest.mark.parametrize(
    ("cells", "each_ms"), [(0, 3000), (1, 3000), (5, 2400), (24, 1000), (101, 1000)]
)
def test_few_cells_are_measured_for_longer(cells: int, each_ms: float) -> None:
    """They share what a process has; a bound either way."""
    assert measured_ms(cells) == each_ms


def run(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, plan: ProcessPlan | None
) -> dict[str, dict[str, object]]:
    """Run the inner suite under a plan and return its measurements, in the order they were made."""
    pytester.makeconftest(inner.CONFTEST)
    pytester.makepyfile(test_tiny=inner.SUITE)
    pytester.path.joinpath("budgets.toml").write_text(inner.BUDGETS)
    if plan is not None:
        plan.write(pytester.path / "plan")
        monkeypatch.setenv(VARIABLE, str(pytester.path / "plan"))
    result = pytester.runpytest_inprocess(
        "-p", "efficarch.plugin", "--efficarch-device=cpu", "--benchmark-json=out.json"
    )
    assert result.ret == 0
    data = json.loads(pytester.path.joinpath("out.json").read_text())
    return {
        bench["extra_info"]["efficarch"]["cell"]: bench["extra_info"]["efficarch"]["measurement"]
        for bench in data["benchmarks"]
    }


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the tiny model into the table."""
    from efficarch.models import MODELS, ModelRow

    monkeypatch.setitem(MODELS, "tiny", ModelRow("tiny", "tests.inner", "tiny", "--dinov2-path"))


def test_only_the_cells_of_the_plan_are_measured(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are as if nobody had asked for them."""
    found = run(pytester, monkeypatch, ProcessPlan((CELLS[1],), 0, False))

    assert list(found) == [CELLS[1]]
    stored = json.loads(pytester.path.joinpath("out.json").read_text())["efficarch"]
    assert [line["cell"]["id"] for line in stored["cells"]] == [CELLS[1]]
    assert stored["interrupted"] is False


@pytest.mark.parametrize("seed", range(4))
def test_cells_are_measured_in_the_order_of_the_plan(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """All of them."""
    plan = ProcessPlan(None, seed, True)

    found = run(pytester, monkeypatch, plan)

    assert list(found) == sorted(CELLS, key=plan.place)


def test_a_process_that_only_times_scores_what_it_times(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the images of one call, without companions; the source stays what it is."""
    full = run(pytester, monkeypatch, None)[CELLS[1]]
    timed = run(pytester, monkeypatch, ProcessPlan(None, 0, True))[CELLS[1]]

    assert (full["cossim"]["items"], timed["cossim"]["items"]) == (4, 2)  # type: ignore[index]
    assert timed["cossim_items"] == full["cossim_items"][:2]  # type: ignore[index]
    assert set(timed["quality"].values()) == {None}  # type: ignore[attr-defined]
    assert timed["source"] == full["source"]
    assert re.search("4 images", str(timed["source"]))


def test_a_process_of_a_gate_measures_for_longer(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More rounds than a run by itself, where six are over in no time."""
    bounds = "efficarch.process_plan"
    for name, value in (("LEAST_MS", 60_000.0), ("MOST_MS", 60_000.0)):
        monkeypatch.setattr(f"{bounds}.{name}", value)

    alone = run(pytester, monkeypatch, None)[CELLS[0]]
    timed = run(pytester, monkeypatch, ProcessPlan(None, 0, True))[CELLS[0]]

    assert len(timed["rounds_ms"]) > len(alone["rounds_ms"])  # type: ignore[arg-type]
    assert len(timed["reference_rounds_ms"]) == len(timed["rounds_ms"])  # type: ignore[arg-type]

    plan = ProcessPlan(None, 0, True, subject_alone=True)
    subject = run(pytester, monkeypatch, plan)[CELLS[0]]

    assert subject["reference_rounds_ms"] == []
    assert subject["timed_ratio"] is subject["timed_reference_ms"] is None
    assert len(subject["rounds_ms"]) > 6  # type: ignore[arg-type]
