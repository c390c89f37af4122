"""Both sides of a comparison: a measurement counts once, however often its file is given."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from efficarch.errors import RunFileError
from efficarch.store import Sides, load_sample, load_sides
from tests import samples
from tests.gate.paired_cases import plain_file
from tests.store.cases import written


@pytest.fixture(name="run")
def fixture_run(tmp_path: Path) -> Path:
    """A run file."""
    return written(tmp_path / "a.json", samples.run_json())


def other(path: Path, hour: int) -> Path:
    """Write the run of another hour."""
    run = replace(samples.run(), created=f"2026-11-22T{hour:02d}:00:00+00:00")
    return written(path, samples.run_json(run))


def test_the_files_of_each_side_come_in_their_order(run: Path, tmp_path: Path) -> None:
    """As each of them alone is read, of our own and of any other project."""
    late = other(tmp_path / "b.json", 21)
    plain = plain_file(tmp_path / "c.json", {"a": 1.0}, created=0)

    sides = load_sides([run, plain], [late])

    assert sides == Sides([load_sample(run), load_sample(plain)], [load_sample(late)], [])


def as_is(text: str) -> str:
    """Copy."""
    return text


def indented(text: str) -> str:
    """Write with white space."""
    return json.dumps(json.loads(text), indent=3)


def reordered(text: str) -> str:
    """Write the keys of every object in another order."""
    return json.dumps(json.loads(text), sort_keys=True)


def annotated(text: str) -> str:
    """Write a key more, which nobody reads."""
    return json.dumps({"comment": 1, **json.loads(text)})


@pytest.mark.parametrize("copy", [as_is, indented, reordered, annotated])
def test_a_copy_counts_once(run: Path, tmp_path: Path, copy: Callable[[str], str]) -> None:
    """Under another name, laid out otherwise or with a remark; on the other side it is said."""
    twin = tmp_path / "b.json"
    twin.write_text(copy(run.read_text()))
    late = other(tmp_path / "c.json", 21)

    for base, head in (([run, twin], [late]), ([late], [run, twin])):
        with pytest.raises(RunFileError) as caught:
            load_sides(base, head)
        assert str(caught.value) == f"{run} and {twin} hold the same measurement; it counts once"

    assert load_sides([run], [twin, late]).shared == [twin]


def test_a_file_given_twice_counts_once(run: Path) -> None:
    """By the same path, and by another path to it."""
    with pytest.raises(RunFileError) as caught:
        load_sides([run, run], [])
    assert str(caught.value) == f"{run} is given twice; it counts once"

    link = run.with_name("link.json")
    link.symlink_to(run)
    with pytest.raises(RunFileError, match=r"a\.json and .*link\.json hold the same measurement"):
        load_sides([], [run, link])


SAVED_TWICE = """
import pytest

@pytest.mark.parametrize("n", [1, 2])
def test_step(benchmark, n):
    benchmark.pedantic(sum, args=(range(1000),), rounds=5)
"""


def test_a_session_that_was_saved_twice_counts_once(
    pytester: pytest.Pytester, tmp_path: Path
) -> None:
    """pytest-benchmark dates each file anew, and leaves the rounds out of one."""
    pytester.makepyfile(SAVED_TWICE)
    for name in ("a", "b"):
        path = tmp_path / f"{name}.json"
        arguments = (f"--benchmark-json={path}", "--benchmark-storage=store")
        pytester.runpytest_subprocess(f"--benchmark-save={name}", *arguments)
    first, second = (tmp_path / f"{name}.json" for name in ("a", "b"))
    again, other = sorted((pytester.path / "store").rglob("*.json"))
    assert json.loads(first.read_text())["datetime"] != json.loads(again.read_text())["datetime"]

    with pytest.raises(RunFileError, match="hold the same measurement; it counts once"):
        load_sides([first, again], [second])
    assert load_sides([first], [again, other]).shared == [again]
    assert load_sides([first, second], []).shared == []


def test_measurements_that_happen_to_agree_are_two(tmp_path: Path) -> None:
    """Equal medians at two times are no copy."""
    paths = [plain_file(tmp_path / f"{i}.json", {"a": 1.0}, created=i) for i in range(2)]

    assert len(load_sides(paths, []).base) == 2
    assert load_sides(paths[:1], paths[1:]).shared == []


def test_a_bad_file_of_either_side_is_named(run: Path, tmp_path: Path) -> None:
    """As `load_sample` names it."""
    bad = tmp_path / "bad.json"
    bad.write_text("{")

    with pytest.raises(RunFileError, match=r"bad\.json: not complete JSON"):
        load_sides([run], [bad])
