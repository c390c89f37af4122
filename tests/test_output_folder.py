"""A command takes a folder without taking anything away."""

import json
import os
import sys
from pathlib import Path

import pytest

from efficarch.cli import main
from efficarch.conclusion import Judged
from efficarch.errors import EfficarchError
from efficarch.output_folder import IGNORED, WRITTEN_BY_TUNE, claim, refuse_foreign
from efficarch.policy import Policy
from reports.__main__ import main as reports_main
from reports.gate_view import build_gate
from reports.render import gate_html, gate_markdown, html, markdown
from reports.view import build
from tests import samples

PAGE = ("index.html", "summary.md")


@pytest.mark.parametrize("made", [False, True], ids=["new", "empty"])
def test_a_folder_of_ours_is_hidden_from_git(tmp_path: Path, made: bool) -> None:
    """One that is created, and one that holds nothing yet; claiming it again changes nothing."""
    folder = tmp_path / "a" / "b"
    if made:
        folder.mkdir(parents=True)

    for _time in range(2):
        claim(folder, PAGE)

    assert [path.name for path in folder.iterdir()] == [".gitignore"]
    assert (folder / ".gitignore").read_text(encoding="utf-8") == IGNORED
    assert [line for line in IGNORED.splitlines() if not line.startswith("#")] == ["*"]


def test_a_folder_with_other_content_stays_visible(tmp_path: Path) -> None:
    """It is not ours to hide."""
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")

    claim(tmp_path, PAGE)

    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def ours() -> dict[str, list[str]]:
    """Return what efficarch has written under each name, now and before."""
    page = build(samples.run())
    gate = build_gate(Judged([], [], "a against b", Policy(), ("a note",)), [])
    return {
        "index.html": [
            html(page),
            gate_html(gate),
            "<head>\n<title>PASS: 1 cell held its limits – efficarch</title>\n</head>",
            "<title>FAIL: 1 cell fail – efficarch gate</title>",
        ],
        "summary.md": [markdown(page), gate_markdown(gate)],
        "run.json": ['{"benchmarks": [], "efficarch": {"schema": 1}}'],
        "verdicts.json": ['{\n "exit_code": 0,\n "pairs": 5}'],
        "experiment.json": ['{\n "base": "a",\n "head": "b"}', '{\n "format": 2,\n "started": 1}'],
        "trials.log": ['{"op_code": 0, "worker_id": "x"}'],
        "pareto.csv": ["method,keep,options,latency_ratio,latency_ratio_low\n"],
        "tuned.toml": [WRITTEN_BY_TUNE + "[[tuned]]"],
        "budgets.toml": [WRITTEN_BY_TUNE + "[[limit]]"],
    }


@pytest.mark.parametrize("name", ours())
def test_our_own_files_may_be_written_again(tmp_path: Path, name: str) -> None:
    """Also those of earlier versions, and an empty one, in which there is nothing to lose."""
    for text in (*ours()[name], ""):
        (tmp_path / name).write_text(text, encoding="utf-8")
        claim(tmp_path, [name])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("index.html", "<title>Our project</title><p>measured with efficarch"),
        ("summary.md", "## Summary\n"),
        ("summary.md", "# Notes\n\n## ✓ PASS: all"),
        ("run.json", '{"benchmarks": []}'),
        ("verdicts.json", "[]"),
        ("trials.log", "started"),
        ("pareto.csv", "method,keep\n"),
        ("tuned.toml", "[[tuned]]\n"),
        ("budgets.toml", '[[limit]]\nreason = "tuned to 0.5"\n'),
        ("run.json", "\udcff\udcfe"),
    ],
)
def test_files_of_others_are_refused(tmp_path: Path, name: str, text: str) -> None:
    """Hand-written budgets too, whose form is that of ours."""
    data = text.encode(errors="surrogateescape")
    (tmp_path / name).write_bytes(data)

    with pytest.raises(EfficarchError, match=f"{name} was not written by efficarch; choose"):
        claim(tmp_path, ["index.html", name])

    assert (tmp_path / name).read_bytes() == data


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    """It cannot be replaced."""
    (tmp_path / "run.json").mkdir()

    with pytest.raises(EfficarchError, match=r"run\.json was not written by efficarch"):
        refuse_foreign(tmp_path / "run.json", "run.json")


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    """A file in its place, and a file among its parents."""
    (tmp_path / "file").write_text("x", encoding="utf-8")

    for folder in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(EfficarchError, match=r"cannot .*choose another --out"):
            claim(folder, PAGE)


def bare(folder: Path) -> Path:
    """Make what git would take for a bare repository, without git."""
    for name in ("objects", "refs/heads"):
        (folder / name).mkdir(parents=True)
    (folder / "HEAD").write_text("ref: refs/heads/main\n", encoding="utf-8")
    return folder


GITS = ["repo/.git", "repo/.git/refs/heads", "repo/.GIT/new", "bare", "bare/refs", "link", "link/x"]


@pytest.mark.parametrize("place", GITS)
def test_no_file_is_put_where_git_keeps_a_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """It would be taken for a branch; nobody asks a git that may not be there."""
    bare(tmp_path / "repo" / ".git")
    bare(tmp_path / "bare")
    (tmp_path / "link").symlink_to(tmp_path / "repo" / ".git" / "refs" / "heads")
    monkeypatch.setenv("PATH", "")
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(EfficarchError, match=r"git keeps a repository.*choose another --out"):
        claim(tmp_path / place, PAGE)
    with pytest.raises(EfficarchError, match="where git keeps a repository"):
        refuse_foreign(tmp_path / place / "index.html", "index.html")

    assert sorted(tmp_path.rglob("*")) == before


def test_reports_may_lie_in_a_bare_repository(tmp_path: Path) -> None:
    """That is where a command writes that is run there; a link out of them leads nowhere else."""
    out = bare(tmp_path / "bare") / "reports" / "out"

    claim(out, PAGE)
    (out / "link").symlink_to(tmp_path / "bare" / "refs" / "heads")

    assert (out / ".gitignore").is_file()
    with pytest.raises(EfficarchError, match="where git keeps a repository"):
        claim(out / "link", PAGE)


def test_a_working_tree_may_lie_in_a_bare_repository(tmp_path: Path) -> None:
    """As some keep all of theirs; it is a working tree like any other."""
    tree = bare(tmp_path / "bare") / "main"
    tree.mkdir()
    (tree / ".git").write_text("gitdir: ../worktrees/main\n", encoding="utf-8")

    claim(tree / "reports" / "out", PAGE)

    assert (tree / "reports" / "out" / ".gitignore").is_file()


def test_every_command_that_writes_leaves_git_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report, a comparison, a measurement and its baseline, and the page by itself."""
    heads = bare(tmp_path / ".git") / "refs" / "heads"
    run = tmp_path / "run.json"
    run.write_text(json.dumps(samples.run_json()), encoding="utf-8")
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "test_a.py").touch()
    (tmp_path / "suites" / "baselines").symlink_to(heads)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))

    for arguments in (
        ["report", "run.json", "--out", str(heads)],
        ["compare", "--base", "run.json", "--head", "run.json", "--out", str(heads)],
        ["bench", "--out", str(heads)],
        ["bench", "--save-baseline"],
    ):
        assert main(arguments) == 2, arguments
        assert "where git keeps a repository" in capsys.readouterr().err
    assert reports_main(["run.json", "-o", str(heads / "index.html")]) == 2

    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("leads", ["somewhere", "nowhere", "round"])
def test_a_link_in_the_place_of_a_file_is_refused(tmp_path: Path, leads: str) -> None:
    """Efficarch makes none, also where it leads to a page of ours, or to nothing yet."""
    (tmp_path / "somewhere").touch()
    target = tmp_path / ("index.html" if leads == "round" else leads)
    (tmp_path / "index.html").symlink_to(target)

    with pytest.raises(EfficarchError, match=r"index\.html was not written by efficarch"):
        claim(tmp_path, PAGE)

    assert (tmp_path / "index.html").is_symlink()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such pipes")
def test_a_pipe_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    """Nobody waits for what comes out of it."""
    os.mkfifo(tmp_path / "run.json")

    with pytest.raises(EfficarchError, match=r"run\.json was not written by efficarch"):
        claim(tmp_path, ["run.json"])
