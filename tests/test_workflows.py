"""The workflows keep the write token away from the pull request's code."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def read(path: Path) -> dict[str, Any]:
    """Parse a workflow."""
    workflow: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return workflow


JOBS = [
    pytest.param(job, id=f"{path.stem}-{name}")
    for path in WORKFLOWS
    for name, job in read(path)["jobs"].items()
]
BENCH_GATE = read(ROOT / ".github" / "workflows" / "bench-gate.yml")["jobs"]


def can_write(job: dict[str, Any]) -> bool:
    """Return whether a job's token can change anything."""
    permissions = job["permissions"]
    levels = permissions.values() if isinstance(permissions, dict) else [permissions]
    return any("write" in level for level in levels)


def action(step: dict[str, Any]) -> str:
    """Return the action a step uses, without its version; empty for a script."""
    return str(step.get("uses", "")).partition("@")[0]


def comment_step() -> dict[str, Any]:
    """Return the one step of the comment job that runs a script."""
    (step,) = [step for step in BENCH_GATE["comment"]["steps"] if "run" in step]
    return step


def test_workflows_exist() -> None:
    """The tests below look at something."""
    assert [path.name for path in WORKFLOWS] == ["bench-gate.yml", "ci.yml"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_nothing_is_permitted_by_default(path: Path) -> None:
    """A new job starts without any permission."""
    assert read(path)["permissions"] == {}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned(path: Path) -> None:
    """A tag can be moved to other code, a hash cannot; the comment says which version it is."""
    uses = re.findall(r"uses:\s*(.+)", path.read_text(encoding="utf-8"))

    assert uses
    pinned = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    assert [use for use in uses if not pinned.fullmatch(use)] == []


@pytest.mark.parametrize("job", JOBS)
def test_job_is_bounded(job: dict[str, Any]) -> None:
    """Every job says what it may do and how long it may take."""
    assert "permissions" in job
    assert job["timeout-minutes"] <= 120


@pytest.mark.parametrize("job", JOBS)
def test_checkout_leaves_no_token(job: dict[str, Any]) -> None:
    """The code of the pull request finds no token in the checkout."""
    checkouts = [step for step in job["steps"] if action(step) == "actions/checkout"]

    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@pytest.mark.parametrize("job", JOBS)
def test_scripts_hold_no_expressions(job: dict[str, Any]) -> None:
    """Values reach a script through its environment: text put into a script can become code."""
    assert [step["run"] for step in job["steps"] if "${{" in step.get("run", "")] == []


def test_one_job_can_write() -> None:
    """The comment job is the only one with a token that can change anything."""
    writers = [param.id for param in JOBS if can_write(param.values[0])]

    assert writers == ["bench-gate-comment"]
    assert BENCH_GATE["comment"]["permissions"] == {"pull-requests": "write"}


def test_writing_job_never_meets_the_code() -> None:
    """The job that can write fetches the artifact and posts it, and does nothing else."""
    steps = BENCH_GATE["comment"]["steps"]

    assert [action(step) for step in steps] == ["actions/download-artifact", ""]
    # what the script names on disk is the artifacts and its own scratch files
    paths = re.findall(r"\$RUNNER_TEMP/[\w./$-]+", comment_step()["run"])
    assert sorted(paths) == [
        "$RUNNER_TEMP/body.md",
        "$RUNNER_TEMP/foreign.md",
        "$RUNNER_TEMP/report/$part-report/summary.md",
    ]
    runners = r"\b(python|pip|tox|npm|make|source|eval|git|bash|sh)\b"
    assert re.search(runners, comment_step()["run"]) is None


def own_jobs() -> list[dict[str, Any]]:
    """Return the jobs that run on a machine of our own."""
    return [param.values[0] for param in JOBS if "self-hosted" in param.values[0]["runs-on"]]


def test_forks_and_bots_stay_off_our_machine() -> None:
    """Only the jobs on GitHub's own machines run code that no maintainer has read."""
    conditions = {
        "github.event.pull_request.head.repo.full_name == github.repository",
        "github.event.pull_request.user.type != 'Bot'",
    }

    assert own_jobs()
    assert all(set(job["if"].split(" && ")) == conditions for job in own_jobs())


def test_our_machine_waits_for_a_reviewer() -> None:
    """An environment can ask for one, and the documentation says how to set it up."""
    assert {job["environment"] for job in own_jobs()} == {"gpu-runner"}
    assert "`gpu-runner`" in (ROOT / "docs" / "gpu-runner.md").read_text(encoding="utf-8")


def step_names() -> list[str]:
    """Return the steps of the bench job in their order, by name or action."""
    return [step.get("name", action(step)) for step in BENCH_GATE["bench"]["steps"]]


def test_the_verdict_stands_before_the_head_measures_itself() -> None:
    """The gate has judged, and its report is kept, before the head's own command runs."""
    names = step_names()

    assert names.index("Compare with the base") < names.index("Keep the gate's report")
    assert names.index("Keep the gate's report") < names.index("Measure")


def test_the_judge_is_the_base() -> None:
    """Neither the head's tox nor its pins nor its working tree have a part in the gate."""
    steps = {step["name"]: step["run"] for step in BENCH_GATE["bench"]["steps"] if "run" in step}

    assert (
        'worktree add --quiet --detach "$RUNNER_TEMP/judge" HEAD^1' in steps["Check out the judge"]
    )
    assert '-c "$RUNNER_TEMP/judge/constraints.txt"' in steps["Prepare"]
    assert 'cd "$RUNNER_TEMP/judge"' in steps["Compare with the base"]


def test_artifacts_hold_reports_and_nothing_else() -> None:
    """From outside of the checkout, by kind of file: no environment that the gate built."""
    uploads = [s for s in BENCH_GATE["bench"]["steps"] if action(s) == "actions/upload-artifact"]

    assert [step["with"]["name"] for step in uploads] == ["gate-report", "bench-report"]
    kind = r"\$\{\{ runner\.temp \}\}/(gate|gate/runs|bench)/\*\.(html|json|md)"
    paths = [path for step in uploads for path in step["with"]["path"].split("\n") if path]
    assert len(paths) == 7
    assert [path for path in paths if not re.fullmatch(kind, path)] == []


def test_gpu_job_refuses_to_run_without_a_gpu() -> None:
    """A GPU runner that lost its GPU fails instead of passing on the CPU."""
    assert BENCH_GATE["bench"]["env"]["EFFICARCH_REQUIRE_CUDA"] == "1"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_required_job_runs_whatever_happened(path: Path) -> None:
    """The check that branch protection names covers every job that measures or tests."""
    jobs = read(path)["jobs"]
    needed = jobs["required"]["needs"]

    needed = {needed} if isinstance(needed, str) else set(needed)
    assert needed == set(jobs) - {"required", "comment"}
    assert jobs["required"]["if"] == "always()"


def test_workflows_name_environments_that_exist() -> None:
    """tox would run an unknown environment as an empty one."""
    text = "".join(path.read_text(encoding="utf-8") for path in WORKFLOWS)
    named = set(re.findall(r"-m tox -e (\w+)", text))

    tox = (ROOT / "tox.ini").read_text(encoding="utf-8")
    assert {"bench", "gate"} <= named <= set(re.findall(r"^\[testenv:(\w+)\]", tox, re.MULTILINE))


def test_the_base_is_checked_out_too() -> None:
    """A gate needs the history, which a shallow checkout lacks."""
    checkout = BENCH_GATE["bench"]["steps"][0]

    assert (action(checkout), checkout["with"]["fetch-depth"]) == ("actions/checkout", 0)
