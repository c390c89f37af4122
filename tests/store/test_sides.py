"""Both sides of a comparison: a measurement counts once, however often its file is given."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from efficarch.errors import RunFileError
from efficarch.store import load_sample, load_sides
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

    base, head = load_sides([run, plain], [late])

    assert base == [load_sample(run), load_sample(plain)]
    assert head == [load_sample(late)]


def as_is(text: str) -> str:
    """Copy."""
    return text


def indented(text: str) -> str:
    """Write with white space."""
    return json.dumps(json.loads(text), indent=3)


def reordered(text: str) -> str:
    """Write the keys of every object in another order."""
    return json.dumps(json.loads(text), sort_keys=True)


@pytest.mark.parametrize("copy", [as_is, indented, reordered])
@pytest.mark.parametrize("across", [True, False], ids=["across", "within"])
def test_a_copy_counts_once(
    run: Path, tmp_path: Path, copy: Callable[[str], str], across: bool
) -> None:
    """Under another name, laid out otherwise, on the same side or the other."""
    twin = tmp_path / "b.json"
    twin.write_text(copy(run.read_text()))
    base, head = ([run], [twin]) if across else ([run, twin], [other(tmp_path / "c.json", 21)])

    with pytest.raises(RunFileError) as caught:
        load_sides(base, head)

    assert str(caught.value) == f"{run} and {twin} hold the same measurement; it counts once"


def test_a_file_given_twice_counts_once(run: Path) -> None:
    """By the same path, and by another path to it."""
    with pytest.raises(RunFileError) as caught:
        load_sides([run], [run])
    assert str(caught.value) == f"{run} is given twice; it counts once"

    link = run.with_name("link.json")
    link.symlink_to(run)
    with pytest.raises(RunFileError, match=r"a\.json and .*link\.json hold the same measurement"):
        load_sides([run], [link])


def test_measurements_that_happen_to_agree_are_two(tmp_path: Path) -> None:
    """Equal medians at two times are no copy."""
    paths = [plain_file(tmp_path / f"{i}.json", {"a": 1.0}, created=i) for i in range(2)]

    base, head = load_sides(paths[:1], paths[1:])

    assert len(base) == len(head) == 1


def test_a_bad_file_of_either_side_is_named(run: Path, tmp_path: Path) -> None:
    """As `load_sample` names it."""
    bad = tmp_path / "bad.json"
    bad.write_text("{")

    with pytest.raises(RunFileError, match=r"bad\.json: not complete JSON"):
        load_sides([run], [bad])
