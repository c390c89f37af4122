"""Claims about what judges a gate, and what is said of what the head changed of it."""

from dataclasses import replace

import pytest

from efficarch.gate import Outcome, Verdict
from efficarch.observation import Observation, Sample
from efficarch.policy import Override, Policy
from efficarch.process_record import CellFacts, Ending, ProcessRecord
from efficarch.record import Estimate, Limits, Status
from efficarch.trust import (
    doubted,
    explains_a_gain,
    failing_notices,
    judging_files,
    limits_in_force,
    limits_notice,
    listed,
    policy_notice,
    record_notices,
    recorded_judges,
    unmatched_notice,
    unused_notice,
)

TIGHT = Limits(0.9, 0.5, None, ("why",))
LOOSE = replace(TIGHT, cossim=0.1, latency_ratio=5.0)


def side(cells: dict[str, Limits | None], record: ProcessRecord | None = None) -> Sample:
    """Return a process with cells under some limits."""
    found = {
        name: Observation(name, Status.PASSED, "", latency_ms=1.0, limits=limits)
        for name, limits in cells.items()
    }
    return Sample((), "2026-01-01T00:00:00", found, record=record)


def record(source: str = "a", **changed: tuple[str, ...]) -> ProcessRecord:
    """Return what an agent saw of a cell whose test has some source."""
    facts = {"cell": CellFacts(source, "", {})}
    ended = {"cell": Ending("passed", "")}
    return replace(ProcessRecord(ended, ("cell",), 0, facts, {}, (), ()), **changed)  # type: ignore[arg-type]


def test_limits_are_the_bases_but_for_cells_that_only_the_head_has() -> None:
    """Unless the head is trusted; a difference is said by name, with both values."""
    pairs = [
        (
            side({"a": TIGHT, "b": TIGHT, "gone": TIGHT}),
            side({"a": LOOSE, "b": TIGHT, "new": LOOSE}),
        )
    ]

    assert limits_in_force(pairs, trust_head=False) == {
        "a": TIGHT,
        "b": TIGHT,
        "gone": TIGHT,
        "new": LOOSE,
    }
    assert limits_in_force(pairs, trust_head=True)["a"] == LOOSE
    assert limits_notice(pairs) == [
        "the head changes limits (a: cossim 0.9 -> 0.1, latency_ratio 0.5 -> 5.0); judged by the "
        "base's"
    ]


def test_another_reason_is_no_other_limit() -> None:
    """It is prose."""
    pairs = [(side({"a": TIGHT}), side({"a": replace(TIGHT, reasons=("better words",))}))]

    assert limits_notice(pairs) == []


def test_every_setting_of_the_policy_is_compared() -> None:
    """With both values."""
    base = Policy(floor=0.03, cells=("a",))
    head = Policy(floor=0.5, cells=("a", "b"), overrides=(Override("a", "noisy", floor=0.9),))

    (notice,) = policy_notice(base, head)

    assert "floor 0.03 -> 0.5" in notice
    assert "cells ('a',) -> ('a', 'b')" in notice
    assert "overrides" in notice
    assert policy_notice(base, base) == []


@pytest.mark.parametrize(
    ("name", "judges"),
    [
        ("suites/test_a.py", True),
        ("suites/deep/helper.py", True),
        ("suites2/test_a.py", False),
        ("conftest.py", True),
        ("deep/conftest.py", True),
        ("src/sitecustomize.py", True),
        ("src/fast.py", False),
        ("README.md", False),
    ],
)
def test_suites_and_what_runs_before_them_judge(name: str, judges: bool) -> None:
    """Wherever they lie."""
    assert bool(judging_files([name], ".", ["suites"])) is judges


def test_suites_of_a_project_below_the_top() -> None:
    """Changed files are named from the top, suites from the project."""
    names = ["packages/a/benchmarks/test_a.py", "benchmarks/test_a.py"]

    assert judging_files(names, "packages/a", ["benchmarks"]) == names[:1]
    assert judging_files(names, ".", ["benchmarks/test_a.py"]) == names[1:]


@pytest.mark.parametrize(
    ("changed", "explained"),
    [
        ([], False),
        (["README.md", "docs/a.rst"], False),
        (["suites/test_a.py"], False),
        (["suites/test_a.py", "src/fast.py"], True),
        (["weights.bin"], True),
    ],
)
def test_only_a_change_of_code_explains_a_gain(changed: list[str], explained: bool) -> None:
    """Neither prose nor the tests that measure it do."""
    assert explains_a_gain(changed, judging_files(changed, ".", ["suites"])) is explained


FASTER = Verdict("cell", Outcome.PASS, (), Estimate(0.5, 0.4, 0.6))


@pytest.mark.parametrize(
    ("verdict", "source", "explained", "outcome"),
    [
        pytest.param(FASTER, "a", True, Outcome.PASS, id="by code"),
        pytest.param(FASTER, "a", False, Outcome.INCONCLUSIVE, id="by nothing"),
        pytest.param(FASTER, "b", True, Outcome.INCONCLUSIVE, id="by another test"),
        pytest.param(
            replace(FASTER, change=Estimate(0.98, 0.96, 0.99)), "b", False, Outcome.PASS, id="small"
        ),
        pytest.param(
            replace(FASTER, outcome=Outcome.FAIL), "b", False, Outcome.FAIL, id="worse elsewhere"
        ),
        pytest.param(replace(FASTER, change=None), "b", False, Outcome.PASS, id="no change known"),
    ],
)
def test_a_gain_that_nothing_explains_is_doubted(
    verdict: Verdict, source: str, explained: bool, outcome: Outcome
) -> None:
    """A gain as large as what fails, and no other."""
    pairs = [(side({}, record("a")), side({}, record(source)))]

    (found,) = doubted([verdict], pairs, Policy(), explained=explained)

    assert found.outcome is outcome
    assert (found == verdict) is (outcome is verdict.outcome)


def test_other_plugins_and_modules_that_stand_in_are_said() -> None:
    """Of either side, as the agents saw them."""
    base, head = record(plugins=("a 1", "b 1")), record(plugins=("a 2", "b 1"), replaced=("json",))

    assert record_notices([(side({}, base), side({}, head))]) == [
        "the sides run other pytest plugins (+ a 2, - a 1)",
        "the head's tree replaces modules of Python or packages (json)",
    ]
    assert record_notices([(side({}, base), side({}, base))]) == []
    assert record_notices([(side({}), side({}))]) == []


def test_patterns_of_the_policy_without_a_cell_are_said() -> None:
    """Of both kinds."""
    policy = Policy(cells=("a", "x*"), overrides=(Override("y", "why", floor=0.1),))

    assert unmatched_notice(policy, [side({"a": None})]) == [
        "the policy names cells that there are not (x*, y)"
    ]


def test_a_list_names_the_first_and_counts_the_rest() -> None:
    """A notice is a sentence."""
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b, c"
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


def test_options_that_no_measured_test_follows_are_named() -> None:
    """One test of efficarch's on either side follows them."""
    ordinary, ours = side({"a": None}), replace(side({"b": None}), schema=7)

    assert unused_notice(("--dtype float16",), [(ordinary, ordinary)]) == [
        "no measured test uses bench, and only those follow --dtype float16"
    ]
    assert unused_notice(("--dtype float16",), [(ordinary, ours)]) == []
    assert unused_notice((), [(ordinary, ordinary)]) == []


def test_tests_that_fail_without_a_fail_are_said() -> None:
    """On both sides, or in half of the head's processes at most."""

    def fails(*names: str) -> Sample:
        found = side({"both": None, "often": None, "seldom": None})
        failed = {name: replace(found.cells[name], status=Status.FAILED) for name in names}
        return replace(found, cells=found.cells | failed)

    base = fails("both")
    pairs = [(base, fails("both", "often", "seldom")), (base, fails("both", "often"))]

    assert failing_notices(pairs) == [
        "tests fail in both commits (both)",
        "tests fail in some processes of the head (seldom in 1 of 2)",
    ]
    assert failing_notices([]) == []


def test_files_that_measured_by_what_the_agents_saw() -> None:
    """Those that the head changed, and that nobody knew before."""
    seen = replace(record(), judges=("tools/plugin.py", "conftest.py", "tools/same.py"))
    pairs = [(side({}, record()), side({}, seen))]

    changed = ["conftest.py", "tools/plugin.py", "acclib.py"]
    assert recorded_judges(pairs, changed, ["conftest.py"]) == ["tools/plugin.py"]
