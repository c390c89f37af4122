"""The workflows keep the write token away from the pull request's code."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MARKER = "<!-- efficarch-bench -->"


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
    # what the script names on disk is the artifact and its own scratch file
    paths = re.findall(r"\$RUNNER_TEMP/[\w./-]+", comment_step()["run"])
    assert sorted(paths) == ["$RUNNER_TEMP/body.md", "$RUNNER_TEMP/report/pull-request.md"]
    runners = r"\b(python|pip|tox|npm|make|source|eval|git|bash|sh)\b"
    assert re.search(runners, comment_step()["run"]) is None


def test_forks_stay_off_our_machine() -> None:
    """Only the jobs on GitHub's own machines run a stranger's code."""
    condition = "github.event.pull_request.head.repo.full_name == github.repository"
    own = [param.values[0] for param in JOBS if "self-hosted" in param.values[0]["runs-on"]]

    assert [job["if"] for job in own] == [condition]


def test_gpu_job_refuses_to_run_without_a_gpu() -> None:
    """A GPU runner that lost its GPU fails instead of passing on the CPU."""
    assert BENCH_GATE["bench"]["env"]["EFFICARCH_REQUIRE_CUDA"] == "1"


def test_required_job_needs_all_others() -> None:
    """The one check that branch protection names covers every job of CI."""
    jobs = read(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]

    assert set(jobs["required"]["needs"]) == set(jobs) - {"required"}
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


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        pytest.param(
            {"gate/summary.md": "slower", "summary.md": "green"}, "slower\ngreen\n", id="both"
        ),
        pytest.param(
            {"summary.md": "green"},
            "The run ended before it wrote gate/summary.md.\n\ngreen\n",
            id="no gate",
        ),
        pytest.param(
            {},
            "The run ended before it wrote gate/summary.md.\n\n"
            "The run ended before it wrote summary.md.\n\n",
            id="nothing",
        ),
    ],
)
def test_both_summaries_are_shown(tmp_path: Path, written: dict[str, str], shown: str) -> None:
    """The gate's first, in the job summary and in the file that becomes the comment."""
    (step,) = [
        step for step in BENCH_GATE["bench"]["steps"] if step.get("name") == "Show the summaries"
    ]
    for name, text in written.items():
        path = tmp_path / "reports" / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    job = tmp_path / "job.md"

    subprocess.run(
        ["bash", "-e", "-c", step["run"]],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "GITHUB_STEP_SUMMARY": str(job)},
        check=True,
    )

    comment = tmp_path / "reports" / "out" / "pull-request.md"
    assert job.read_text(encoding="utf-8") == comment.read_text(encoding="utf-8") == shown


@dataclass(frozen=True)
class Posted:
    """What the comment script asked of GitHub."""

    call: str
    body: str


def post(tmp_path: Path, *, known_id: str = "") -> Posted:
    """Run the comment script against a `gh` that writes down how it was called."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    fake = bin_ / "gh"
    fake.write_text(
        "#!/usr/bin/env bash\n"
        'if [[ "$*" == *--paginate* ]]; then printf "%s" "$KNOWN_ID"; exit; fi\n'
        'echo "$*" >> "$CALLS"\n',
        encoding="utf-8",
    )
    fake.chmod(0o755)
    run = subprocess.run(
        ["bash", "-c", comment_step()["run"]],
        env={
            "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}",
            "RUNNER_TEMP": str(tmp_path),
            "CALLS": str(tmp_path / "calls"),
            "KNOWN_ID": known_id,
            "MARKER": comment_step()["env"]["MARKER"],
            "REPOSITORY": "owner/name",
            "NUMBER": "7",
            "RESULT": "failure",
            "RUN_URL": "https://example.invalid/run",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    (call,) = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    return Posted(call=call, body=(tmp_path / "body.md").read_text(encoding="utf-8"))


@pytest.fixture
def summary(tmp_path: Path) -> Path:
    """Return where the artifact's summary lands."""
    (tmp_path / "report").mkdir()
    return tmp_path / "report" / "pull-request.md"


def test_first_comment_is_created(tmp_path: Path, summary: Path) -> None:
    """Without a marked comment a new one is posted, and it carries the marker."""
    summary.write_text("All cells pass.\n", encoding="utf-8")

    posted = post(tmp_path)

    assert "--method POST repos/owner/name/issues/7/comments" in posted.call
    assert posted.body.startswith(MARKER)
    assert "All cells pass." in posted.body
    assert "failure" in posted.body


def test_later_comment_is_updated(tmp_path: Path, summary: Path) -> None:
    """The marked comment is rewritten; a pull request never collects several."""
    summary.write_text("One cell fails.\n", encoding="utf-8")

    posted = post(tmp_path, known_id="41\n42\n")

    assert "--method PATCH repos/owner/name/issues/comments/41 " in posted.call


def test_long_summary_is_cut(tmp_path: Path, summary: Path) -> None:
    """A comment stays under GitHub's limit, also where the cut falls inside a character."""
    summary.write_text("x" + "é" * 70_000, encoding="utf-8")

    posted = post(tmp_path)

    assert len(posted.body.encode()) <= 65_000
    assert "longer than a comment may be" in posted.body


def test_missing_summary_is_said(tmp_path: Path) -> None:
    """A run that broke early still gets a comment."""
    assert "ended before it wrote a summary" in post(tmp_path).body


def test_linked_summary_is_not_read(tmp_path: Path, summary: Path) -> None:
    """An artifact cannot make the job publish another file of its machine."""
    secret = tmp_path / "secret"
    secret.write_text("token", encoding="utf-8")
    summary.symlink_to(secret)

    assert "token" not in post(tmp_path).body
