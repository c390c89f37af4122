"""Claims about ``efficarch gate`` with real processes, and about what goes wrong under it."""

import json
import os
import re
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from efficarch.experiment.ledger import Ledger, run_file
from efficarch.experiment.temporary import PREFIX
from efficarch.experiment.worktree import SIDES
from tests.experiment.scratch import (
    QUICK,
    SLOW,
    alive,
    commit,
    finished,
    gate,
    git,
    measured_processes,
    out_of,
    text_of,
    wait_for,
    wait_until,
)


def runs(out: Path) -> list[str]:
    """Return the run files of finished processes."""
    return sorted(path.name for path in (out / "runs").glob("*.json"))


def test_an_unchanged_commit_passes_and_a_slow_one_fails(repo: Path, tmp_path: Path) -> None:
    """By name of the cell, with files to read, and with the checkout as it was."""
    base = git(repo, "rev-parse", "HEAD")
    status = git(repo, "status", "--porcelain")
    code, output, errors = finished(repo, "--base", "HEAD", "--out", str(tmp_path / "same"))
    assert (code, errors) == (0, "")
    assert "2 PASS" in output

    commit(repo, "slower", {"work.py": SLOW})
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
    """SIGKILL leaves the checkouts behind, as nothing can be done about it; then they go."""
    process = gate(repo, "--base", "HEAD")
    wait_for(out_of(repo) / "runs")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert [path.name.startswith(PREFIX) for path in (tmp_path / "temporary").iterdir()] == [True]

    code, _output, _errors = finished(repo, "--base", "HEAD")

    assert code == 0


def test_processes_of_a_killed_gate_end_with_it(repo: Path, tmp_path: Path) -> None:
    """Nobody measures beside the next gate, a child in a session of its own included."""
    flag = tmp_path / "pid"
    commit(repo, "starts a child", {"work.py": STARTS_A_CHILD.format(flag=flag)})
    process = gate(repo, "--base", "HEAD~1")
    wait_for(flag)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)

    wait_until(lambda: not alive(int(flag.read_text())))
    wait_until(lambda: not measured_processes(tmp_path))
    assert finished(repo, "--base", "nowhere")[0] == 2  # which tidies up


STARTS_A_CHILD = """
import pathlib, subprocess, time


def step(name):
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    pathlib.Path(r"{flag}").write_text(str(child.pid))
    time.sleep(600)
"""

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
    commit(repo, "dies", {"work.py": KILLS_ITSELF.format(flag=tmp_path / "flag")})

    code, _output, errors = finished(repo, "--base", "HEAD~1", "--out", str(out))

    assert code == 2
    assert "was killed by SIGKILL; finished pairs are kept" in errors
    assert errors.count("\n") == 1
    assert {"01-base.json", "01-head.json"} <= set(runs(out))


def test_a_storm_of_signals(repo: Path, tmp_path: Path) -> None:
    """An impatient user leaves nothing behind, not even by pressing while it tidies up."""
    process = gate(repo, "--base", "HEAD", "--out", str(tmp_path / "out"))
    wait_for(tmp_path / "out" / "experiment.json")
    for _time in range(60):
        process.send_signal(signal.SIGINT)
        time.sleep(0.005)
        if process.poll() is not None:
            break
    _output, errors = process.communicate(timeout=60)

    assert process.returncode == 2
    assert errors.count("\n") == 1


GARBAGE = """
import os


def speak():
    for number in range(3, 64):
        try:
            if os.readlink(f"/proc/self/fd/{number}").startswith("socket:"):
                os.write(number, {rubbish})
        except OSError:
            continue


def step(name):
    speak()
"""


@pytest.mark.parametrize("rubbish", ["[1, 2]", '{"ready": 1, "rounds": "many"}', "no json"])
def test_a_process_that_spoils_the_turns(repo: Path, tmp_path: Path, rubbish: str) -> None:
    """Nobody waits for a turn that never comes: the pair ends at once, with a word on why."""
    commit(
        repo, "speaks", {"work.py": GARBAGE.replace("{rubbish}", repr(rubbish.encode() + b"\n"))}
    )

    code, _output, errors = finished(
        repo, "--base", "HEAD~1", "--timeout", "60", "--out", str(tmp_path / "out")
    )

    assert code == 2
    assert "broke the rules of taking turns" in errors
    assert errors.count("\n") == 1


def test_a_process_that_hangs(repo: Path, tmp_path: Path) -> None:
    """It is stopped, with all it started, a child in a session of its own included."""
    flag = tmp_path / "pid"
    commit(repo, "hangs", {"work.py": STARTS_A_CHILD.format(flag=flag)})

    code, _output, errors = finished(
        repo, "--base", "HEAD~1", "--timeout", "4", "--out", str(tmp_path / "out")
    )

    assert code == 2
    assert "took more than 4 s and was stopped" in errors
    assert not alive(int(flag.read_text()))


@pytest.mark.parametrize("number", [255, 200])
def test_a_process_that_ends_with_a_code_of_its_own(
    repo: Path, tmp_path: Path, number: int
) -> None:
    """No signal has such a number, and none is made of it."""
    commit(repo, "ends", {"work.py": f"import os\nos._exit({number})\n"})

    code, _output, errors = finished(
        repo, "--base", "HEAD~1", "--head", "HEAD", "--out", str(tmp_path / "out")
    )

    assert code == 2
    assert f"a process of the head ended with {number}" in errors


@pytest.mark.parametrize("name", ["CUDA_VISIBLE_DEVICES", "TMPDIR"])
def test_variables_that_are_no_text(repo: Path, tmp_path: Path, name: str) -> None:
    """Bytes that no encoding knows, which a file system may have all the same."""
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/temporary/\xff")
    Path(folder).mkdir()

    code, _output, errors = finished(
        repo, "--base", "HEAD", "--out", str(tmp_path / "out"), **{name: folder}
    )

    assert (code, errors) == (0, "")
    Path(folder).rmdir()


@pytest.mark.parametrize("broken", ["base", "head"])
def test_a_suite_that_cannot_be_imported(repo: Path, tmp_path: Path, broken: str) -> None:
    """The side is named, with its own words; a head that breaks what worked fails."""
    good = git(repo, "rev-parse", "HEAD")
    bad = commit(repo, "bad", {"work.py": "import does_not_exist\n"})
    base, head = (bad, good) if broken == "base" else (good, bad)

    code, output, errors = finished(
        repo, "--base", base, "--head", head, "--out", str(tmp_path / "out")
    )

    words = output if broken == "head" else errors
    assert code == (1 if broken == "head" else 2)
    assert "does_not_exist" in words
    told = (
        "FAIL collection: its benchmarks cannot be loaded",
        "the base's suites/test_toy.py cannot be loaded",
    )
    assert told[broken == "base"] in words
    assert errors.count("\n") == (broken == "base")


def test_two_gates_at_once(repo: Path, tmp_path: Path) -> None:
    """The second says so; the first is not disturbed."""
    commit(repo, "takes its time", {"work.py": f"import time\ntime.sleep(2)\n{QUICK}"})
    first = gate(repo, "--base", "HEAD", "--out", str(tmp_path / "first"))
    wait_for(tmp_path / "first" / "experiment.json")

    code, _output, errors = finished(repo, "--base", "HEAD", "--out", str(tmp_path / "second"))

    assert code == 2
    assert "another gate is at work on this machine" in errors
    first.communicate(timeout=300)
    assert first.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--base", "nowhere"], "no commit 'nowhere'; name a branch, tag or commit"),
        ([], "name the commit to compare with: --base REF"),
        (["--base", "HEAD", "--timeout", "0"], "--timeout is 0"),
        (["--base", "--help"], "expected one argument"),
        (["--base=--help"], "no commit '--help'"),
        (["--base", "HEAD", "--suites", "nothing"], "the base has no 'nothing'"),
        (["--base", "HEAD", "--suites", "/tmp"], "--suites is '/tmp', outside the project"),
        (["--base", "HEAD", "--suites", "../elsewhere"], "outside the project"),
        (["--base", "HEAD", "--base-python", "pyhton"], "--base-python is 'pyhton', which is no"),
        (["--base", "HEAD", "--head-python", "."], "--head-python is '.', which is no program"),
        (["--base", "HEAD", "--timeout", "1" + "0" * 30], "--timeout is 1000"),
        (["--base", "HEAD", "-k", "nothing"], "measured"),
        (["--base", "HEAD", "--policy", "work.py"], "not valid TOML"),
    ],
)
def test_bad_arguments(repo: Path, tmp_path: Path, arguments: list[str], words: str) -> None:
    """One sentence, exit code 2."""
    code, _output, errors = finished(repo, *arguments, "--out", str(tmp_path / "out"))

    assert code == 2
    assert words in errors
    assert errors.startswith("usage:") or errors.count("\n") == 1


def test_a_shallow_clone(repo: Path, tmp_path: Path) -> None:
    """The remedy is another one."""
    commit(repo, "two", {"new.py": QUICK})
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


def interrupted(repo: Path) -> None:
    """Leave a gate of the commit with itself that has measured a pair."""
    process = gate(repo, "--base", "HEAD")
    wait_until(lambda: '"runs/01-head.json"' in text_of(out_of(repo) / "experiment.json"))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert not (out_of(repo) / "verdicts.json").exists()


def test_an_unfinished_experiment_is_not_mixed_with_another(repo: Path) -> None:
    """It is named, with what is different and what to do; a folder of its own helps."""
    interrupted(repo)

    code, _output, errors = finished(repo, "--base", "HEAD", "--seed", "1")

    assert code == 2
    assert "holds finished pairs of an unfinished experiment (other options)" in errors
    assert "remove it to give that one up, or choose another --out" in errors


def test_a_finished_experiment_is_measured_anew(repo: Path) -> None:
    """The same command twice, and another one, with nothing left of the first."""
    assert finished(repo, "--base", "HEAD")[0] == 0
    first = {path: path.read_bytes() for path in (out_of(repo) / "runs").glob("*-????.json")}

    code, output, _errors = finished(repo, "--base", "HEAD")
    assert code == 0
    assert "measured earlier" not in output
    assert len(first) >= 4
    assert all(path.read_bytes() != text for path, text in first.items())

    assert finished(repo, "--base", "HEAD", "-k", "one")[0] == 0
    assert json.loads((out_of(repo) / "verdicts.json").read_text())["resumed_pairs"] == 0


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda path: path.write_text(path.read_text()[:100]), id="cut short"),
        pytest.param(lambda path: path.unlink(), id="removed"),
        pytest.param(lambda path: path.write_text(path.read_text() + " "), id="a blank more"),
    ],
)
def test_a_file_that_was_changed_since_is_no_evidence(
    repo: Path, change: Callable[[Path], None]
) -> None:
    """It is named; nothing is judged."""
    interrupted(repo)
    path = out_of(repo) / "runs" / "01-head.json"
    change(path)

    code, _output, errors = finished(repo, "--base", "HEAD")

    assert code == 2
    assert f"{path} is not the file that was measured" in errors
    assert not (out_of(repo) / "verdicts.json").exists()


HANGS = """
import os, pathlib, time


def build_editable(*_arguments, **_more):
    pathlib.Path(r"{flag}").write_text(str(os.getpid()))
    time.sleep(600)


build_wheel = build_editable
"""
BUILT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


def hanging_build(repo: Path, flag: Path) -> None:
    """Commit a project whose build does not end."""
    policy = (repo / "pyproject.toml").read_text()
    project = policy + 'install = ["--no-index --no-deps -e ."]\n' + BUILT
    commit(repo, "hangs", {"pyproject.toml": project, "backend.py": HANGS.format(flag=flag)})


def test_stopped_while_it_builds(repo: Path, tmp_path: Path) -> None:
    """Its pairs are not those of an earlier gate, which stay; nor does anything of the build."""
    flag = tmp_path / "pid"
    assert finished(repo, "--base", "HEAD")[0] == 0
    before = {path: path.read_bytes() for path in out_of(repo).rglob("*") if path.is_file()}
    hanging_build(repo, flag)
    process = gate(repo, "--base", "HEAD")
    wait_for(flag)
    process.send_signal(signal.SIGTERM)
    _output, errors = process.communicate(timeout=60)

    assert process.returncode == 2
    assert errors == (
        f"efficarch: interrupted; nothing was measured, {out_of(repo)} is as it was; run the same "
        "command again\n"
    )
    after = {path: path.read_bytes() for path in out_of(repo).rglob("*") if path.is_file()}
    assert after == before
    assert not alive(int(flag.read_text()))


def test_a_build_that_hangs(repo: Path, tmp_path: Path) -> None:
    """It is stopped as a pair is, in one sentence."""
    flag = tmp_path / "pid"
    hanging_build(repo, flag)

    code, _output, errors = finished(
        repo, "--base", "HEAD", "--timeout", "20", "--out", str(tmp_path / "out")
    )

    assert code == 2
    assert "building the environment of the base took more than 20 s and was stopped" in errors
    assert errors.count("\n") == 1
    assert not alive(int(flag.read_text()))


def test_what_a_ledger_says_is_kept(tmp_path: Path) -> None:
    """Of this experiment, and not what files of another lie there."""
    first = Ledger(tmp_path / "out")
    first.claim({"base": "a"})
    for pair in range(2):
        measured = [run_file(first.folder, pair, side) for side in SIDES]
        for path in measured:
            path.parent.mkdir(exist_ok=True)
            path.write_text("{}")
        first.add(measured)
    assert first.kept().startswith("2 finished pairs are kept in")
    first.conclude()
    assert "the same command measures anew" in first.kept()

    second = Ledger(tmp_path / "out")
    assert second.kept().startswith("nothing was measured")
    # what the first left is gone; a file of nobody may lie in its place
    os.close(first._descriptor)
    second.claim({"base": "b"})
    for side in SIDES:
        run_file(second.folder, 0, side).write_text("{}")
    assert second.kept().startswith("0 finished pairs are kept in")


def test_planted_files_are_not_taken_for_measured_ones(repo: Path) -> None:
    """A folder with the files of an earlier gate, but no word of them, is somebody's own."""
    assert finished(repo, "--base", "HEAD")[0] == 0
    kept = {path.name: path.read_bytes() for path in (out_of(repo) / "runs").glob("*.json")}
    base = git(repo, "rev-parse", "HEAD")
    commit(repo, "slower", {"work.py": SLOW})
    shutil.rmtree(out_of(repo))
    (out_of(repo) / "runs").mkdir(parents=True)
    for name, text in kept.items():
        (out_of(repo) / "runs" / name).write_bytes(text)

    code, _output, errors = finished(repo, "--base", base)

    assert code == 2
    assert "runs/01-base.json was written by no gate" in errors
    left = {path.name: path.read_bytes() for path in (out_of(repo) / "runs").iterdir()}
    assert left == kept


def test_a_planted_experiment_with_nothing_left_to_measure_is_no_pass(repo: Path) -> None:
    """Whoever writes files of equal speed with their digests gets no verdict from them."""
    assert finished(repo, "--base", "HEAD")[0] == 0
    path = out_of(repo) / "experiment.json"
    path.write_text(path.read_text().replace('"concluded": true', '"concluded": false'))

    code, output, errors = finished(repo, "--base", "HEAD")

    assert code == 2
    assert "of the pairs were measured earlier" in output
    assert "nothing was left to measure" in errors


def test_other_dependencies_need_other_environments(repo: Path, tmp_path: Path) -> None:
    """The gate does not guess; with an interpreter for each side it goes on."""
    (repo / "constraints.txt").write_text("torch==2.11.0\n")

    code, _output, errors = finished(repo, "--base", "HEAD")

    assert code == 2
    assert "constraints.txt differ between base and head" in errors
    pythons = ("--base-python", sys.executable, "--head-python", sys.executable)
    assert finished(repo, "--base", "HEAD", *pythons)[0] == 0


@pytest.mark.parametrize("most", [0, 1_000, 4_096])
def test_a_full_disk(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """A run that cannot be written is no run; here no file may have more than some bytes."""
    # coverage would want to write more than that from within the measured processes
    for name in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"):
        monkeypatch.delenv(name, raising=False)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    try:
        process = gate(repo, "--base", "HEAD", "--out", str(tmp_path / "out"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    _output, errors = process.communicate(timeout=60)

    assert process.returncode == 2
    # whichever file meets the limit first: ours, git's, or what a process says or measured
    assert re.search(r"cannot write|git \w+ failed|measured nothing|cannot be read", errors)
    assert errors.count("\n") == 1
    assert not list((tmp_path / "out").glob("runs/*.partial"))
    assert runs(tmp_path / "out") == []


def test_links_in_circles_that_the_head_commits(repo: Path, tmp_path: Path) -> None:
    """No side of a gate makes it end as a fault of ours."""
    for name in ("src", "lib", "pytest.ini", "setup.cfg", "setup.py", "tests"):
        (repo / name).symlink_to(name)
    commit(repo, "circles")

    code, _output, errors = finished(repo, "--base", "HEAD~1", "--out", str(tmp_path / "out"))

    assert (code, errors) == (0, "")


def test_no_folder_to_write_to(repo: Path, tmp_path: Path) -> None:
    """A file is in its place."""
    out = tmp_path / "out"
    out.write_text("a file where the folder should be")

    code, _output, errors = finished(repo, "--base", "HEAD", "--out", str(out))

    assert code == 2
    assert "cannot write" in errors
