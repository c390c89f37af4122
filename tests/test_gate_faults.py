"""Claims about ``efficarch gate`` with real processes, and about what goes wrong under it."""

import json
import os
import re
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from efficarch.worktree import PREFIX
from tests.gate_repository import QUICK, SLOW, commit, finished, gate, git, repository


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository; afterwards no worktree, lock, temporary file or process of a gate is left."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    # one folder for all that a gate leaves for a while
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    made = repository(tmp_path / "repository")
    before = contents(made)
    yield made
    assert not [path for path in temporary.iterdir() if path.name.startswith(PREFIX)]
    assert git(made, "worktree", "list").count("\n") == 0
    assert contents(made) - before <= {"work.py", "new.py", "other", "constraints.txt"}


def contents(folder: Path) -> set[str]:
    """Return the names in a folder and in its .git, but for git's own objects and logs."""
    kept = {
        "objects",
        "logs",
        "refs",
        "index",
        "COMMIT_EDITMSG",
        "worktrees",
        "shallow",
        "FETCH_HEAD",
    }
    return {p.name for p in folder.iterdir()} | {
        f".git/{p.name}" for p in (folder / ".git").iterdir() if p.name not in kept
    }


def runs(out: Path) -> list[str]:
    """Return the run files of finished processes."""
    return sorted(path.name for path in (out / "runs").glob("*.json"))


def wait_for(path: Path, seconds: float = 60) -> None:
    """Wait until a file is there."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} never came"
        time.sleep(0.02)


def test_an_unchanged_commit_passes_and_a_slow_one_fails(repo: Path, tmp_path: Path) -> None:
    """By name of the cell, with files to read, and with the checkout as it was."""
    base = git(repo, "rev-parse", "HEAD")
    status = git(repo, "status", "--porcelain")
    code, output, errors = finished(repo, "--base", "HEAD", "--out", str(tmp_path / "same"))
    assert (code, errors) == (0, "")
    assert "2 PASS" in output

    commit(repo, "slower", work_py=SLOW)
    code, output, errors = finished(
        repo, "--base", base, "--head", "main", "--out", str(tmp_path / "slow")
    )

    assert (code, errors) == (1, "")
    assert "FAIL suites/test_toy.py::test_step[two]" in output
    assert "test_step[one]" not in output
    data = json.loads((tmp_path / "slow" / "verdicts.json").read_text())
    assert [(v["cell_id"][-5:], v["outcome"]) for v in data["verdicts"]] == [
        ("[one]", "pass"),
        ("[two]", "fail"),
    ]
    assert "✕ FAIL" in (tmp_path / "slow" / "summary.md").read_text()
    assert git(repo, "status", "--porcelain") == status


def test_the_working_tree_is_what_it_is_now(repo: Path, tmp_path: Path) -> None:
    """Changes and new files that nobody committed are measured, and stay uncommitted."""
    (repo / "work.py").write_text("from new import step\n")
    (repo / "new.py").write_text(SLOW)
    before = git(repo, "status", "--porcelain")

    code, output, _errors = finished(repo, "--base", "HEAD", "--out", str(tmp_path / "out"))

    assert code == 1
    assert "test_step[two]" in output
    assert git(repo, "status", "--porcelain") == before == "M work.py\n?? new.py".strip()


def test_an_interrupted_gate_goes_on(repo: Path, tmp_path: Path) -> None:
    """After Ctrl-C finished pairs are kept, and not measured again."""
    out = tmp_path / "out"
    process = gate(repo, "--base", "HEAD", "--out", str(out))
    wait_for(out / "runs" / "01-base.json")
    wait_for(out / "runs" / "01-head.json")
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _output, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "finished pairs are kept" in errors
    kept = {name: (out / "runs" / name).stat().st_mtime_ns for name in runs(out)}
    assert len(kept) >= 2
    assert not list((out / "runs").glob("*.partial"))

    code, _output, _errors = finished(repo, "--base", "HEAD", "--out", str(out))

    assert code == 0
    assert {n: (out / "runs" / n).stat().st_mtime_ns for n in kept} == kept


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_stopped_before_the_first_pair(repo: Path, tmp_path: Path, sent: signal.Signals) -> None:
    """Nothing half-written stays."""
    out = tmp_path / "out"
    process = gate(repo, "--base", "HEAD", "--out", str(out))
    wait_for(out / "experiment.json")
    time.sleep(0.5)
    process.send_signal(sent)
    _output, errors = process.communicate(timeout=60)

    assert process.returncode == 2
    assert "0 finished pairs" in errors
    assert not (out / "verdicts.json").exists()


def test_a_killed_gate_is_tidied_up_by_the_next(repo: Path, tmp_path: Path) -> None:
    """SIGKILL leaves worktrees behind, as nothing can be done about it; then they go."""
    out = tmp_path / "out"
    process = gate(repo, "--base", "HEAD", "--out", str(out))
    wait_for(out / "runs")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert git(repo, "worktree", "list").count("\n") == 2

    code, _output, _errors = finished(repo, "--base", "HEAD", "--out", str(out))

    assert code == 0


KILLS_ITSELF = """
import os, pathlib, signal


def step(name):
    flag = pathlib.Path(r"{flag}")
    flag.write_text(flag.read_text() + "x" if flag.exists() else "x")
    if len(flag.read_text()) > 12:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_that_is_killed(repo: Path, tmp_path: Path) -> None:
    """One sentence; the pairs before it survive."""
    out = tmp_path / "out"
    commit(repo, "dies", work_py=KILLS_ITSELF.format(flag=tmp_path / "flag"))

    code, _output, errors = finished(repo, "--base", "HEAD~1", "--out", str(out))

    assert code == 2
    assert "was killed by SIGKILL; finished pairs are kept" in errors
    assert errors.count("\n") == 1
    assert {"01-base.json", "01-head.json"} <= set(runs(out))


def test_a_process_that_hangs(repo: Path, tmp_path: Path) -> None:
    """It is stopped, with all it started."""
    flag = tmp_path / "pid"
    hangs = (
        "import os, pathlib, subprocess, time\n\n\ndef step(name):\n"
        f"    child = subprocess.Popen(['sleep', '600'])\n"
        f"    pathlib.Path(r'{flag}').write_text(str(child.pid))\n    time.sleep(600)\n"
    )
    commit(repo, "hangs", work_py=hangs)

    code, _output, errors = finished(
        repo, "--base", "HEAD~1", "--timeout", "4", "--out", str(tmp_path / "out")
    )

    assert code == 2
    assert "took more than 4 s and was stopped" in errors
    child = Path(f"/proc/{flag.read_text()}/stat")
    assert not child.exists() or child.read_text().split()[2] == "Z"


@pytest.mark.parametrize("broken", ["base", "head"])
def test_a_suite_that_cannot_be_imported(repo: Path, tmp_path: Path, broken: str) -> None:
    """The arm is named, with its own words."""
    good = git(repo, "rev-parse", "HEAD")
    bad = commit(repo, "bad", work_py="import does_not_exist\n")
    base, head = (bad, good) if broken == "base" else (good, bad)

    code, _output, errors = finished(
        repo, "--base", base, "--head", head, "--out", str(tmp_path / "out")
    )

    assert code == 2
    assert f"the {broken} measured nothing" in errors
    assert "does_not_exist" in errors
    assert errors.count("\n") == 1


def test_two_gates_at_once(repo: Path, tmp_path: Path) -> None:
    """The second says so; the first is not disturbed."""
    first = gate(repo, "--base", "HEAD", "--out", str(tmp_path / "first"))
    wait_for(tmp_path / "first" / "experiment.json")

    code, _output, errors = finished(repo, "--base", "HEAD", "--out", str(tmp_path / "second"))

    assert code == 2
    assert "another gate is at work" in errors
    first.communicate(timeout=300)
    assert first.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--base", "nowhere"], "no commit 'nowhere'; name a branch, tag or commit"),
        ([], "name the commit to compare with: --base REF"),
        (["--base", "HEAD", "--timeout", "0"], "--timeout is 0"),
        (["--base", "HEAD", "--suites", "nothing"], "measured nothing"),
        (["--base", "HEAD", "-k", "nothing"], "measured nothing"),
        (["--base", "HEAD", "--policy", "work.py"], "not valid TOML"),
    ],
)
def test_bad_arguments(repo: Path, tmp_path: Path, arguments: list[str], words: str) -> None:
    """One sentence, exit code 2."""
    code, _output, errors = finished(repo, *arguments, "--out", str(tmp_path / "out"))

    assert code == 2
    assert words in errors
    assert errors.count("\n") == 1


def test_a_shallow_clone(repo: Path, tmp_path: Path) -> None:
    """The remedy is another one."""
    commit(repo, "two", new_py=QUICK)
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repo}", str(shallow))

    code, _output, errors = finished(shallow, "--base", "HEAD~1", "--out", str(tmp_path / "out"))

    assert code == 2
    assert "this clone is shallow" in errors


def test_no_repository(tmp_path: Path) -> None:
    """A folder like any other."""
    (tmp_path / "policy.toml").write_text("")

    code, _output, errors = finished(tmp_path, "--base", "HEAD", "--out", str(tmp_path / "out"))

    assert code == 2
    assert "is no git repository" in errors


def test_another_experiment_in_the_folder(repo: Path, tmp_path: Path) -> None:
    """Its pairs are not mixed with ours."""
    out = str(tmp_path / "out")
    assert finished(repo, "--base", "HEAD", "--out", out)[0] == 0

    code, _output, errors = finished(repo, "--base", "HEAD", "--seed", "1", "--out", out)

    assert code == 2
    assert "holds another experiment" in errors


def test_a_corrupt_run_file(repo: Path, tmp_path: Path) -> None:
    """It is named; nothing is judged."""
    out = tmp_path / "out"
    assert finished(repo, "--base", "HEAD", "--out", str(out))[0] == 0
    path = out / "runs" / "01-head.json"
    path.write_text(path.read_text()[:100])

    code, _output, errors = finished(repo, "--base", "HEAD", "--out", str(out))

    assert code == 2
    assert f"{path}: not complete JSON" in errors


def test_other_dependencies_need_other_environments(repo: Path, tmp_path: Path) -> None:
    """The gate does not guess; with an interpreter for each side it goes on."""
    (repo / "constraints.txt").write_text("torch==2.11.0\n")
    out = str(tmp_path / "out")

    code, _output, errors = finished(repo, "--base", "HEAD", "--out", out)

    assert code == 2
    assert "constraints.txt differ between base and head" in errors
    pythons = ("--base-python", sys.executable, "--head-python", sys.executable)
    assert finished(repo, "--base", "HEAD", "--out", out, *pythons)[0] == 0


def test_a_full_disk(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that cannot be written is no run; here no file may have more than 4 KiB."""
    # coverage would want to write more than that from within the measured processes
    for name in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"):
        monkeypatch.delenv(name, raising=False)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        process = gate(repo, "--base", "HEAD", "--out", str(tmp_path / "out"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    _output, errors = process.communicate(timeout=60)

    assert process.returncode == 2
    # whichever file meets the limit first: the process's own words, or what it measured
    what = r"(measured nothing \(pytest's exit code \d+\)|left a file that cannot be read)"
    assert re.search(rf"the (base|head) {what}", errors)
    assert errors.count("\n") == 1
    assert not list((tmp_path / "out" / "runs").glob("*.partial"))
    assert runs(tmp_path / "out") == []


def test_no_folder_to_write_to(repo: Path, tmp_path: Path) -> None:
    """A file is in its place."""
    out = tmp_path / "out"
    out.write_text("a file where the folder should be")

    code, _output, errors = finished(repo, "--base", "HEAD", "--out", str(out))

    assert code == 2
    assert "cannot write" in errors
