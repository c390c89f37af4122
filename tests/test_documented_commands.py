"""Every command that the documentation prints is run, as printed, or it is said where else it is.

Placeholders stand for something of the scratch repository; parts in brackets are run with and
without. What takes minutes is run by CI, or by hand, and named here with what tests it in short.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tests.experiment.scratch import PROJECT, SLOWER, commit, git, started, strangers

ROOT = Path(__file__).parents[1]
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
)
COMMAND = re.compile(
    r"(efficarch (bench|gate|compare|report|tune|doctor|list)\b|tox -e |pytest |pre-commit "
    r"|python3? -m (tox|pytest|reports|efficarch|benchmarks|pip)\b).*"
)


def printed(page: Path) -> set[str]:
    """Return the commands that a page prints, in blocks, tables and sentences."""
    text = page.read_text(encoding="utf-8")
    fence = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
    lines = [line.strip() for block in fence.findall(text) for line in block.splitlines()]
    lines += [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", fence.sub("", text))]
    return {line.removesuffix(" \\") for line in lines if COMMAND.fullmatch(line)}


CELL = """
import pytest
from efficarch.scan import BACKENDS, synthetic_inputs


@pytest.mark.parametrize("length", [16])
@pytest.mark.parametrize("backend", [BACKENDS["naive"]], ids=["naive"])
def test_scan(bench, backend, length):
    inputs = synthetic_inputs(
        batch=1, channels=64, state=4, length=length, seed=0, device=bench.device, dtype=bench.dtype
    )
    result = bench.scan(backend=backend, inputs=inputs)

    assert result.cossim >= result.budget.cossim
"""
BUDGETS = '[[limit]]\ncells = "*"\nlatency_ratio = 100000\ncossim = 0.9\nreason = "loose"\n'

STRANGER = {
    # printed: what is typed, and the exit codes that are right
    "efficarch gate": [("efficarch gate --base main", {1})],
    "efficarch gate --base main": [("efficarch gate --base main", {1})],
    "efficarch gate --base REF [--head REF] [-k …]": [
        ("efficarch gate --base main --head main -k step", {0}),
        ("efficarch gate --base main --head feature", {1}),
    ],
    "efficarch gate --show-policy": [("efficarch gate --show-policy", {0})],
    "efficarch gate --show-policy --out RUNS": [
        ("efficarch gate --base main --out RUNS", {1}),
        ("efficarch gate --show-policy --out RUNS", {0}),
    ],
    "efficarch gate --base HEAD --head HEAD --device cpu --policy 18-pairs.toml --out RUNS": [
        (
            "efficarch gate --base HEAD --head HEAD --device cpu --policy 18-pairs.toml --out RUNS",
            {0},
        ),
    ],
    "efficarch compare --base RUN.json… --head RUN.json…": [
        ("efficarch gate --base main --out RUNS", {1}),
        (
            "efficarch compare --base RUNS/runs/01-base.json RUNS/runs/02-base.json "
            "--head RUNS/runs/01-head.json RUNS/runs/02-head.json",
            {1},
        ),
    ],
    "efficarch bench [--suites FOLDER]": [
        ("efficarch bench", {0}),
        ("efficarch bench --suites suites", {0}),
    ],
    "efficarch bench --suites FOLDER": [("efficarch bench --suites suites", {0})],
    "pytest FOLDER": [("pytest suites", {0})],
    "efficarch report RUN.json [--baseline RUN.json]": [
        ("efficarch bench", {0}),
        ("efficarch report reports/out/run.json", {0}),
        ("efficarch report reports/out/run.json --baseline reports/out/run.json", {0}),
    ],
    "efficarch report A/run.json --baseline B/run.json": [
        ("efficarch bench --out A", {0}),
        ("efficarch bench --out B", {0}),
        # two runs of a quick cell differ by what they differ
        ("efficarch report A/run.json --baseline B/run.json", {0, 1}),
    ],
    "efficarch doctor": [("efficarch doctor", {0})],
    "efficarch list": [("efficarch list", {0})],
}

ONE_CELL = "-k 'test_ssd and naive and 512'"

HERE = {
    # printed: what is typed in a clone of this repository; of one cell where all take minutes
    "python3 -m pytest suites -p efficarch.plugin --benchmark-json run.json": [
        f"python3 -m pytest suites -p efficarch.plugin --benchmark-json run.json {ONE_CELL}"
    ],
    "python3 -m reports run.json -o report.html": [
        f"python3 -m pytest suites -p efficarch.plugin --benchmark-json run.json {ONE_CELL}",
        "python3 -m reports run.json -o report.html",
    ],
    "python -m pytest suites -p efficarch.plugin": [
        f"python -m pytest suites -p efficarch.plugin {ONE_CELL}"
    ],
    "python -m reports run.json": [
        f"python3 -m pytest suites -p efficarch.plugin --benchmark-json run.json {ONE_CELL}",
        "python -m reports run.json",
    ],
    # tox hands what stands behind the dashes to the command
    "python -m tox -e bench -- --short": [f"efficarch bench --short {ONE_CELL}"],
    "python -m tox -e bench -- --save-baseline": [f"efficarch bench --save-baseline {ONE_CELL}"],
    "python -m tox -e bench -- --weights random": [f"efficarch bench --weights random {ONE_CELL}"],
    "python -m tox -e gate -- --base REF": [
        f"efficarch gate --base HEAD --policy quick.toml {ONE_CELL}"
    ],
    "tox -e gate -- --base HEAD --head MERGE": [
        f"efficarch gate --base HEAD --head HEAD --policy quick.toml {ONE_CELL}"
    ],
}

IN_CI = "CI runs it (.ci/run)"
ELSEWHERE = {
    "python -m pip install tox": IN_CI,
    "python -m pip install tox && python -m tox": IN_CI,
    "python -m pip install tox && python -m tox -e bench": IN_CI,
    "python -m tox": IN_CI,
    "python -m tox -e bench": IN_CI,
    "python -m tox -e lint": IN_CI,
    "python -m tox -e tests -- tests/reducers -k tome": "CI runs all tests",
    "tox -e bench": IN_CI,
    "python -m tox -e bench -- -k tome": "CI runs all cells",
    "python -m tox -e bench -- --clip-path FOLDER": "a checkpoint; tests/models/test_checkpoint.py",
    "python -m tox -e bench -- --images DIR": "tests/test_plugin.py, with images of its own",
    "python -m tox -e tune -- --model dinov2-small --latency-ratio 0.5": "20 minutes; "
    "tests/test_tune_command.py in short",
    "python -m tox -e tune -- --model dinov2-small --latency-ratio R --rounds 15 --methods "
    "random,reciprocal,tome": "an hour; tests/test_tune_command.py in short",
    "efficarch tune": "20 minutes; tests/test_tune_command.py in short",
    "efficarch tune --model M --latency-ratio R": "20 minutes; tests/test_tune_command.py in short",
    "python -m tox -e train-byte-mamba -- --out FOLDER": "an hour; tests/benchmarks/test_train.py",
    "python -m tox -e peers -- FOLDER": "half an hour; tests/benchmarks/test_gate_calibration.py",
    "python -m tox -e peers -- RUNS": "half an hour; tests/benchmarks/test_gate_calibration.py",
    "python -m benchmarks.gate_calibration.resampled FOLDER": "tests/benchmarks",
    "python -m benchmarks.gate_calibration.resampled RUNS": "tests/benchmarks",
    "python -m benchmarks.gate_calibration.slowdown 5 --out FOLDER": "tests/benchmarks",
    "python -m benchmarks.gate_calibration.slowdown 5 --gates 3 --out OUT": "tests/benchmarks",
    "python -m benchmarks.byte_mamba.evaluate": "tests/benchmarks/test_evaluate.py in short",
    "python -m benchmarks.mrss.curve": "10 minutes; its parts in tests/scan/mrss",
    "python -m benchmarks.mrss.speed": "5 minutes; its parts in tests/scan/mrss",
    "python -m benchmarks.mrss.speed --sizes 1": "5 minutes; its parts in tests/scan/mrss",
    "python -m benchmarks.scan.floor": "5 minutes; tests/benchmarks/test_floor.py",
    "pre-commit install": "writes a hook into the user's repository",
}

QUICK = """
[tool.efficarch.gate]
floor = 0.9
null = 0.5
family_error = 0.5
miss_error = 0.5
pairs = [2]
"""


def test_every_printed_command_is_run_somewhere() -> None:
    """A new one has to be put where it is run; one that is gone leaves no test behind."""
    known = {*STRANGER, *HERE, *ELSEWHERE}

    assert set().union(*map(printed, PAGES)) == known


def bin_of(python: str) -> Mapping[str, str]:
    """Return variables with the commands of this environment first on the path."""
    path = os.pathsep.join((str(Path(python).parent), os.environ["PATH"]))
    return {**os.environ, "PATH": path}


def typed(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Type a line in a folder."""
    return subprocess.run(
        line, shell=True, cwd=folder, env=bin_of(sys.executable), capture_output=True, text=True
    )


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose gates disturb no other's."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", str(tmp_path))
    return tmp_path


@pytest.fixture
def stranger(alone: Path) -> Path:
    """A project with a slower branch; its suites use both fixtures."""
    repo = strangers(alone / "project")
    git(repo, "branch", "--quiet", "-m", "feature")
    git(repo, "branch", "main", "HEAD~1")
    (repo / "18-pairs.toml").write_text(QUICK)
    return repo


@pytest.fixture
def suite(alone: Path) -> Path:
    """A project with a suite of cells."""
    files = {"suites/test_mine.py": CELL, "suites/budgets.toml": BUDGETS, "pyproject.toml": PROJECT}
    return started(alone / "cells", files)


@pytest.mark.parametrize("command", STRANGER)
def test_commands_in_somebodys_repository(command: str, request: pytest.FixtureRequest) -> None:
    """As printed, with default options, in a repository that is not this one."""
    gates = command.startswith(("efficarch gate", "efficarch compare"))
    repo: Path = request.getfixturevalue("stranger" if gates else "suite")

    for line, codes in STRANGER[command]:
        done = typed(line, repo)
        assert done.returncode in codes, (line, done.stdout[-2000:], done.stderr[-2000:])
        assert "Traceback" not in done.stdout + done.stderr


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of this repository as it is committed, with what is not committed on top."""
    folder = tmp_path_factory.mktemp("here") / "clone"
    git(ROOT, "clone", "--quiet", "--no-hardlinks", str(ROOT), str(folder))
    changed = git(ROOT, "ls-files", "--modified", "--others", "--exclude-standard").splitlines()
    for name in changed:
        source, target = ROOT / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
        else:
            target.unlink(missing_ok=True)
    (folder / "quick.toml").write_text(QUICK)
    return folder


@pytest.mark.parametrize("command", HERE)
def test_commands_in_this_repository(
    command: str, clone: Path, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As printed, in a clone."""
    monkeypatch.setenv("PYTHONPATH", str(clone))

    for line in HERE[command]:
        done = typed(line, clone)
        # a quick cell may miss a budget while other tests run beside it
        assert done.returncode in (0, 1, 3), (line, done.stdout[-2000:], done.stderr[-2000:])
        assert "Traceback" not in done.stderr


def test_the_gate_of_the_workflow(stranger: Path, alone: Path) -> None:
    """Its own words, without tox: from a linked working tree of the base, out of the checkout."""
    text = (ROOT / ".github" / "workflows" / "bench-gate.yml").read_text(encoding="utf-8")
    steps = yaml.safe_load(text)["jobs"]["bench"]["steps"]
    script = "\n".join(step.get("run", "") for step in steps)
    words = re.search(r"-e gate -- (.*?) \| tee", script, re.DOTALL)
    assert words is not None
    commit(stranger, "as merged", {"acclib/__init__.py": SLOWER})
    judge = alone / "judge"
    git(stranger, "worktree", "add", "--quiet", "--detach", str(judge), "main")
    sha = git(stranger, "rev-parse", "HEAD")
    line = (
        words[1]
        .replace("\\\n", " ")
        .replace("$GITHUB_SHA", sha)
        .replace("$RUNNER_TEMP", str(alone))
    )

    done = typed(f"efficarch gate {shlex.join(shlex.split(line))}", judge)

    assert done.returncode == 1, done.stderr
    assert "::error title=efficarch gate::benchmarks/test_step.py" in done.stdout
    assert (alone / "gate" / "summary.md").is_file()
    assert git(judge, "status", "--porcelain") == ""
