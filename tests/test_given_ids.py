"""Cells of tests whose parameters are called nothing: by the ids the user gave, or not at all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

BUDGETS = '[[limit]]\ncells = "*"\nlatency_ratio = 1e6\ncossim = 0.9\nreason = "any"\n'

CONFTEST = """
def pytest_collection_finish(session):
    for item in session.items:
        print("cell", getattr(item, "efficarch_cell", None))
"""

HEAD = """
import pytest

one, two = lambda: 1, lambda: 2

"""
TEST = "def test_scan(bench, factory, names={}):\n    pass\n"


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """An inner suite that says how its cells are called."""
    monkeypatch.delenv("EFFICARCH_REQUIRE_CUDA", raising=False)
    pytester.makeconftest(CONFTEST)
    (pytester.path / "budgets.toml").write_text(BUDGETS)
    return pytester


def collect(suite: pytest.Pytester, *marks: str, test: str = TEST) -> pytest.RunResult:
    """Collect one test behind some lines."""
    suite.makepyfile(test_mine=HEAD + "\n".join((*marks, test)))
    return suite.runpytest_inprocess(
        "-p", "efficarch.plugin", "--efficarch-device=cpu", "--collect-only", "-q"
    )


def cells(result: pytest.RunResult) -> list[str]:
    """Return the ids of the cells, without what all have in common."""
    said = [line.removeprefix("cell ") for line in result.outlines if line.startswith("cell ")]
    return [each.removeprefix("mine/none/").removesuffix("/float32/cpu") for each in said]


BOTH = ["factory=one", "factory=two"]


@pytest.mark.parametrize(
    ("mark", "expected"),
    [
        ('("factory", [one, two], ids=["one", "two"])', BOTH),
        ('("factory", [one, two], ids=("one", "two"))', BOTH),
        ('(argnames="factory", argvalues=(one, two), ids=["one", "two"])', BOTH),
        ('("factory", [pytest.param(one, id="one"), pytest.param(two, id="two")])', BOTH),
        ('("factory", [one, pytest.param(two, id="two")], ids=["one", "unused"])', BOTH),
        ('("factory", [one, two], ids=lambda f: "one" if f() == 1 else "two")', BOTH),
        ('("factory", [one, two], ids=lambda f: f())', ["factory=1", "factory=2"]),
        ('(("factory",), [[one], [two]], ids=["one", "two"])', BOTH),
        ('("factory,", [(one,), (two,)], ids=["one", "two"])', BOTH),
        (
            '("factory", [one, 2, "x"], ids=["one", None, None])',
            ["factory=one", "factory=2", "factory=x"],
        ),
        ('("factory", [[one], {"a"}], ids=["one", "two"])', BOTH),
    ],
)
def test_an_id_of_the_user_names_the_value(
    suite: pytest.Pytester, mark: str, expected: list[str]
) -> None:
    """Wherever pytest takes ids from, and where the value is called nothing."""
    result = collect(suite, f"@pytest.mark.parametrize{mark}")

    assert cells(result) == expected, result.stdout


def test_the_id_of_a_set_stands_for_each_of_its_values(suite: pytest.Pytester) -> None:
    """Those that are called something keep their names; a function's ids are of one value each."""
    test = "def test_scan(bench, factory, names, size):\n    pass\n"
    values = '[(one, {"a"}, 1), (two, {"b"}, 2)]'
    mark = f'@pytest.mark.parametrize("factory, names, size", {values}, ids='

    listed = collect(suite, mark + '["x", "y"])', test=test)
    called = collect(suite, mark + 'lambda v: v() if callable(v) else "".join(v))', test=test)

    assert cells(listed) == ["factory=x/names=x/size=1", "factory=y/names=y/size=2"]
    assert "error raised while trying to determine id" in called.stdout.str()
    called = collect(suite, mark + 'lambda v: str(v()) if callable(v) else "s" )', test=test)
    assert cells(called) == ["factory=1/names=s/size=1", "factory=2/names=s/size=2"]


def test_several_marks_each_have_their_own(suite: pytest.Pytester) -> None:
    """Of the test, its class and its module."""
    lines = (
        'pytestmark = pytest.mark.parametrize("names", [{"a"}, {"b"}], ids=["a", "b"])',
        '@pytest.mark.parametrize("factory", [one, two], ids=["one", "two"])',
        "class TestScan:",
    )
    test = (
        '    @pytest.mark.parametrize("size", [1])\n'
        "    def test_scan(self, bench, factory, names, size):\n        pass\n"
    )

    found = cells(collect(suite, *lines, test=test))

    assert sorted(found) == [f"factory={f}/names={n}/size=1" for f in ("one", "two") for n in "ab"]


def test_a_fixture_has_ids_too(suite: pytest.Pytester) -> None:
    """A list, a function, and none."""
    fixture = (
        "@pytest.fixture(params=[one, two]{})\ndef factory(request):\n    return request.param\n\n"
    )

    assert cells(collect(suite, fixture.format(', ids=["one", "two"]'))) == BOTH
    assert cells(collect(suite, fixture.format(', ids=lambda f: f"f{f()}"'))) == [
        "factory=f1",
        "factory=f2",
    ]
    refused = collect(suite, fixture.format(""))
    refused.stderr.fnmatch_lines(["ERROR: test_scan: parameter 'factory' is a function without*"])


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ("[one, two]", "a function"),
        ("[one, two], ids=[None, None]", "a function"),
        ("[one, two], ids=[pytest.HIDDEN_PARAM, '']", "a function"),
        ("[one, two], ids=lambda f: None", "a function"),
        ("[one, two], ids=iter('ab')", "a function"),
        ("(each for each in (one, two))", "a function"),
        ("[{'a'}]", "a set"),
        ("[object()]", "an object"),
    ],
)
def test_without_an_id_it_is_refused(suite: pytest.Pytester, values: str, kind: str) -> None:
    """At collection, in a sentence that names test, parameter and mend; pytest's own id is none."""
    result = collect(suite, f'@pytest.mark.parametrize("factory", {values})')

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == (
        f"ERROR: test_scan: parameter 'factory' is {kind} without a name of its own; "
        "give it one: ids=[...]"
    )


@pytest.mark.parametrize(
    "values",
    ["[one, two], ids=str", "[one, two], ids=[repr(one), repr(two)]", "[{'a', 'b'}], ids=str"],
)
def test_an_id_that_is_the_text_of_the_value_is_refused(
    suite: pytest.Pytester, values: str
) -> None:
    """It is as unlike in another process as the text."""
    result = collect(suite, f'@pytest.mark.parametrize("factory", {values})')

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: test_scan: the id * of parameter 'factory' may differ between processes;*ids=*"]
    )


@pytest.mark.parametrize(
    "values",
    [
        "[1, '1']",
        "[True, 'True']",
        "[None, 'None']",
        "[one, two], ids=['x', 'x']",
        "['x', one], ids=['', 'x']",
    ],
)
def test_two_values_of_one_name_are_refused(suite: pytest.Pytester, values: str) -> None:
    """Whether by their text or by their ids: two tests are never one cell."""
    result = collect(suite, f'@pytest.mark.parametrize("factory", {values})')

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: * are both cell 'mine/none/factory=*/float32/cpu'*"])


def test_every_process_calls_a_cell_the_same(tmp_path: Path) -> None:
    """Functions lie elsewhere and sets have another order in each."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "budgets.toml").write_text(BUDGETS)
    (tmp_path / "test_mine.py").write_text(
        HEAD
        + '@pytest.mark.parametrize("factory", [lambda: 1, lambda: 2], ids=["one", "two"])\n'
        + '@pytest.mark.parametrize("names", [{"a", "b", "c"}], ids=["abc"])\n'
        + "def test_scan(bench, factory, names):\n    pass\n"
    )
    said = set()
    for seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "efficarch.plugin", "--collect-only"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        said.add("\n".join(line for line in run.stdout.splitlines() if line.startswith("cell ")))

    (same,) = said
    assert same.splitlines() == [
        f"cell mine/none/factory={name}/names=abc/float32/cpu" for name in ("one", "two")
    ]
