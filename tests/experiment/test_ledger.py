"""The folder of a gate: what somebody else put there by our names stays as it is."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from efficarch.errors import EfficarchError
from efficarch.experiment.ledger import Ledger, claimed_alone, refuse_others, run_file
from efficarch.experiment.side import Files
from tests.experiment.scratch import finished, out_of

FACTS = {"base": "a", "head": "b"}
NAMES = ("json", "partial", "log", "record.json", "record.json.partial")


def ledger(folder: Path) -> Ledger:
    """Return that of an experiment which took the folder."""
    made = Ledger(folder)
    made.claim(FACTS)
    return made


def files_of(folder: Path, pair: int) -> list[Files]:
    """Return the names of a pair's files."""
    return [Files(run_file(folder, pair, side), folder) for side in ("base", "head")]


def write(*paths: Path) -> tuple[Path, ...]:
    """Write something of each file's own."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"measured: {path.name}")
    return paths


def measured(folder: Path, *, concluded: bool) -> None:
    """Leave an experiment of a pair, and the logs of another that never ended."""
    made = ledger(folder)
    for pair in range(2):
        made.expect(path for each in files_of(folder, pair) for path in each.lasting)
        for each in files_of(folder, pair):
            if pair == 0:
                made.add(write(each.target, each.record))
            else:
                write(each.log)
    if concluded:
        made.conclude()
    os.close(made._descriptor)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["file", "link", "dangling link", "folder"])
def test_what_no_gate_wrote_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    """Under any name that a gate would use, whatever it is."""
    out, mine = tmp_path / "out", tmp_path / "mine"
    path = out / "runs" / f"02-head.{name}"
    path.parent.mkdir(parents=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.write_text("mine")
    else:
        path.symlink_to(mine)
    if kind == "link":
        mine.write_text("mine")

    with pytest.raises(EfficarchError, match=r"02-head\..* was written by no gate"):
        refuse_others(out)
    with pytest.raises(EfficarchError, match=r"02-head\..* was written by no gate"):
        ledger(out)

    assert not (out / "experiment.json").exists()
    assert os.path.lexists(path)
    assert mine.exists() == (kind == "link")


@pytest.mark.parametrize("concluded", [True, False])
def test_a_file_put_beside_those_of_a_gate_is_refused(tmp_path: Path, concluded: bool) -> None:
    """Whether the gate came to its end or not."""
    measured(tmp_path, concluded=concluded)
    path = run_file(tmp_path, 4, "base")
    path.write_text("mine")

    with pytest.raises(EfficarchError, match=r"05-base\.json was written by no gate"):
        ledger(tmp_path)

    assert path.read_text() == "mine"


def test_a_link_in_the_place_of_a_gate_s_file_is_refused(tmp_path: Path) -> None:
    """Also where the gate wrote a file of that name, and it leads to the same."""
    measured(tmp_path, concluded=True)
    path, moved = run_file(tmp_path, 0, "base"), tmp_path / "moved"
    path.rename(moved)
    path.symlink_to(moved)

    with pytest.raises(EfficarchError, match=r"01-base\.json was written by no gate"):
        ledger(tmp_path)

    assert path.is_symlink()


@pytest.mark.parametrize("concluded", [True, False])
def test_a_file_that_was_replaced_is_not_removed(tmp_path: Path, concluded: bool) -> None:
    """It is somebody's, although a gate wrote one of this name."""
    measured(tmp_path, concluded=concluded)
    path = run_file(tmp_path, 0, "head")
    path.write_text("mine")

    with pytest.raises(EfficarchError, match=r"01-head\.json is not the file that was measured"):
        ledger(tmp_path)

    assert path.read_text() == "mine"


def test_what_a_gate_left_goes_with_the_next(tmp_path: Path) -> None:
    """All of it, the log of a process that never ended included, and nothing else."""
    measured(tmp_path, concluded=True)
    write(tmp_path / "runs" / "notes.txt", tmp_path / "notes.txt")

    refuse_others(tmp_path)
    ledger(tmp_path)

    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {".gitignore", "experiment.json", "notes.txt"}


def test_an_interrupted_gate_knows_its_files(tmp_path: Path) -> None:
    """It goes on behind the last pair, whatever the broken one left."""
    measured(tmp_path, concluded=False)

    assert ledger(tmp_path).resumed_pairs == 1


def test_a_name_is_free_again_when_its_file_has_gone(tmp_path: Path) -> None:
    """Where all went well a gate keeps no log: one of that name is somebody's."""
    measured(tmp_path, concluded=True)
    write(files_of(tmp_path, 0)[0].log)

    with pytest.raises(EfficarchError, match=r"01-base\.log was written by no gate"):
        ledger(tmp_path)


def test_what_an_experiment_claims_outside_of_its_runs_stays(tmp_path: Path) -> None:
    """Somebody may have written the file that names files."""
    measured(tmp_path, concluded=True)
    path = tmp_path / "experiment.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "written": ["../notes.txt"]}, indent=1))
    write(tmp_path / "notes.txt")
    for each in files_of(tmp_path, 1):
        each.log.unlink()

    ledger(tmp_path)

    assert (tmp_path / "notes.txt").exists()


def linked(out: Path, mine: Path) -> None:
    """Let the folder of runs be a link."""
    (out / "runs").symlink_to(mine)


def plain(out: Path, mine: Path) -> None:
    """Let it be a folder of somebody's."""
    mine.rename(out / "runs")


def linked_log(out: Path, mine: Path) -> None:
    """Let a log be a link: it would be written through."""
    (out / "runs").mkdir()
    (out / "runs" / "01-base.log").symlink_to(mine / "01-base.json")


@pytest.mark.parametrize("put", [linked, plain, linked_log])
def test_a_gate_says_so_before_it_begins(repo: Path, put: Callable[[Path, Path], None]) -> None:
    """One sentence; whatever is in the folder, or behind a link, stays."""
    mine = repo.parent / "precious"
    mine.mkdir()
    (mine / "01-base.json").write_text("mine")
    out_of(repo).mkdir(parents=True)
    put(out_of(repo), mine)

    code, _output, errors = finished(repo, "--base", "HEAD", "--head", "HEAD")

    assert (code, errors.count("\n")) == (2, 1)
    assert "choose another --out" in errors
    kept = mine if mine.exists() else out_of(repo) / "runs"
    assert [path.read_text() for path in kept.iterdir()] == ["mine"]
    assert not (out_of(repo) / "experiment.json").exists()


def test_verdicts_of_stored_files_do_not_mix_with_a_gate_s(tmp_path: Path) -> None:
    """Whatever is at work in a folder is alone in it; afterwards it is free."""
    at_work = ledger(tmp_path)
    with pytest.raises(EfficarchError, match="another gate is at work"), claimed_alone(tmp_path):
        pass

    os.close(at_work._descriptor)
    for _time in range(2):
        with claimed_alone(tmp_path):
            pass
