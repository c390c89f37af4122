"""The scripts of the workflows, run in scratch folders."""

import os
import re
import subprocess
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import pytest
from cmarkgfm import github_flavored_markdown_to_html
from cmarkgfm.cmark import Options

from efficarch.text import markdown
from tests.test_workflows import BENCH_GATE, JOBS, ROOT, comment_step

MARKER = "<!-- efficarch-bench -->"


def script(name: str, job: str = "bench") -> str:
    """Return the script of a step of the bench gate."""
    (step,) = [step for step in BENCH_GATE[job]["steps"] if step.get("name") == name]
    return str(step["run"])


def shell(text: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script as the runner does."""
    return subprocess.run(
        ["bash", "-e", "-c", text],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def stand_in(path: Path, lines: str, code: int) -> None:
    """Write a program that tells where and how it was called, prints lines and fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tell = 'echo "$PWD: $*" >> "$CALLS"'
    text = f"#!/usr/bin/env bash\n{tell}\ncat <<'END'\n{lines}\nEND\nexit {code}\n"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


TESTING = [
    pytest.param(step["run"], id=f"{param.id}-{step['name']}")
    for param in JOBS
    for step in param.values[0]["steps"]
    if "-m tox -e" in step.get("run", "")
]
HOSTILE = "collected\n::add-mask::a\n##[group]b\n::error::c"


@pytest.mark.parametrize("text", TESTING)
def test_what_tests_print_is_no_command(text: str, tmp_path: Path) -> None:
    """It stands between a stop and the token that ends it, which nobody can guess."""
    (tmp_path / "judge").mkdir()
    for name in ("tox/bin/python", "bin/python"):
        stand_in(tmp_path / name, HOSTILE, 3)
    environment = {
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "RUNNER_TEMP": str(tmp_path),
        "CALLS": str(tmp_path / "calls"),
        "TOX_ENV": "lint",
        "GITHUB_SHA": "abc",
    }

    tokens = set()
    for _time in range(2):
        done = shell(text, tmp_path, **environment)
        assert done.returncode == 3, done.stderr
        first, *lines, last = done.stdout.splitlines()
        assert "\n".join(lines) == HOSTILE
        token = first.removeprefix("::stop-commands::")
        assert re.fullmatch("[0-9a-f]{32}", token)
        assert last == f"::{token}::"
        tokens.add(token)
    assert len(tokens) == 2


def test_every_step_with_foreign_output_is_held() -> None:
    """Those that run tox, in both workflows."""
    names = sorted(param.id for param in TESTING)

    assert names == [
        "bench-gate-bench-Compare with the base",
        "bench-gate-bench-Measure",
        "ci-bench-Measure",
        "ci-static-Check",
        "ci-tests-Test",
    ]


@pytest.mark.parametrize("code", [0, 1, 3, 4])
def test_the_gate_judges_from_the_base(tmp_path: Path, code: int) -> None:
    """In the base's folder, into a folder outside; its annotations alone come through."""
    (tmp_path / "judge").mkdir()
    good = "::error title=efficarch gate::a: slower\n::warning title=efficarch gate::b"
    stand_in(tmp_path / "tox/bin/python", f"{HOSTILE}\n{good}\n x{good}", code)

    done = shell(
        script("Compare with the base"),
        tmp_path,
        RUNNER_TEMP=str(tmp_path),
        CALLS=str(tmp_path / "calls"),
        GITHUB_SHA="abc",
    )

    assert done.returncode == code
    _held, _token, after = re.split(r"^::([0-9a-f]{32})::$", done.stdout, flags=re.MULTILINE)
    warning = "::warning title=efficarch gate::b"
    assert after.strip().splitlines() == [*good.splitlines(), warning]
    (call,) = (tmp_path / "calls").read_text().splitlines()
    assert call == (
        f"{tmp_path}/judge: -m tox -e gate -- --base HEAD --head abc "
        f"--out {tmp_path}/gate --annotate"
    )


def git(folder: Path, *arguments: str) -> str:
    """Run git as somebody."""
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    command = ["git", *identity, *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_judge_is_the_first_parent(tmp_path: Path) -> None:
    """Checked out anew for every run, whatever an earlier one left, hooks included."""
    checkout, temp = tmp_path / "checkout", tmp_path / "temp"
    checkout.mkdir()
    git(checkout, "init", "-q", "-b", "main")
    for branch, word in (("main", "base"), ("change", "head")):
        git(checkout, "checkout", "-q", "-B", branch)
        (checkout / word).write_text(word)
        git(checkout, "add", ".")
        git(checkout, "commit", "-q", "-m", word)
    git(checkout, "checkout", "-q", "main")
    git(checkout, "merge", "-q", "--no-ff", "-m", "merge", "change")
    stand_in(checkout / ".git" / "hooks" / "post-checkout", "hooked", 1)

    for leave in (True, False):
        temp.mkdir(exist_ok=True)
        (temp / "gate").mkdir()
        done = shell(
            script("Check out the judge"),
            checkout,
            RUNNER_TEMP=str(temp),
            CALLS=str(tmp_path / "calls"),
        )
        assert done.returncode == 0, done.stderr
        assert git(temp / "judge", "log", "-1", "--format=%s") == "base"
        assert not (temp / "judge" / "head").exists()
        assert [path.name for path in temp.iterdir()] == ["judge"]
        if leave:
            # a runner empties its temporary folder between jobs, and git still knows of the tree
            subprocess.run(["rm", "-rf", str(temp)], check=True)
    assert not (tmp_path / "calls").exists()


@pytest.mark.parametrize("part", ["gate", "bench"])
@pytest.mark.parametrize("written", [True, False])
def test_each_summary_is_shown(tmp_path: Path, part: str, written: bool) -> None:
    """In the job's own summary, or that there is none."""
    job = tmp_path / "job.md"
    job.write_text("before\n")
    if written:
        (tmp_path / part).mkdir()
        (tmp_path / part / "summary.md").write_text("slower\n", encoding="utf-8")

    done = shell(
        script(f"Show the {part}'s summary"),
        tmp_path,
        RUNNER_TEMP=str(tmp_path),
        GITHUB_STEP_SUMMARY=str(job),
    )

    said = "slower" if written else f"The {part} ended before it wrote a summary."
    assert (done.returncode, job.read_text()) == (0, f"before\n{said}\n")


@pytest.mark.parametrize(
    ("result", "fork", "author", "code", "said"),
    [
        ("success", "false", "User", 0, ""),
        ("failure", "false", "User", 1, "see the bench job"),
        ("cancelled", "false", "User", 1, "see the bench job"),
        ("skipped", "true", "User", 1, "a maintainer who has read this one pushes it"),
        ("skipped", "false", "Bot", 1, "a maintainer who has read this one pushes it"),
    ],
)
def test_a_skipped_gate_is_no_success(
    tmp_path: Path, result: str, fork: str, author: str, code: int, said: str
) -> None:
    """And says what a maintainer does where it does not run by itself."""
    done = shell(
        script("Fail unless the bench job succeeded", "required"),
        tmp_path,
        RESULT=result,
        FORK=fork,
        AUTHOR=author,
    )

    assert done.returncode == code
    assert said in done.stdout
    assert (done.stdout == "") == (code == 0)


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
    """Return where the summary of the gate's artifact lands."""
    (tmp_path / "report" / "gate-report").mkdir(parents=True)
    return tmp_path / "report" / "gate-report" / "summary.md"


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
    assert "longer than a comment may be" in posted.body.partition("---")[0]


def test_missing_summary_is_said(tmp_path: Path) -> None:
    """A run that broke early still gets a comment."""
    ours, _, foreign = post(tmp_path).body.partition("---\n")

    assert "ended before it wrote a summary of the gate." in ours
    assert "ended before it wrote a summary of the bench." in ours
    assert foreign.strip() == ""


def test_linked_summary_is_not_read(tmp_path: Path, summary: Path) -> None:
    """An artifact cannot make the job publish another file of its machine."""
    secret = tmp_path / "secret"
    secret.write_text("token", encoding="utf-8")
    summary.symlink_to(secret)

    assert "token" not in post(tmp_path).body


def test_both_summaries_are_posted_below_what_is_ours(tmp_path: Path, summary: Path) -> None:
    """The job's result and the link come first, then the gate, then the bench."""
    summary.write_text("slower\n", encoding="utf-8")
    other = tmp_path / "report" / "bench-report" / "summary.md"
    other.parent.mkdir()
    other.write_text("green\n", encoding="utf-8")

    assert post(tmp_path).body == (
        f"{MARKER}\n\n"
        "**Bench gate: failure.** Full reports: the artifacts of "
        "[this run](https://example.invalid/run). "
        "What stands below was written by code of this pull request.\n\n---\n\n"
        "slower\n\n\ngreen\n\n\n"
    )


HIDING = """
> quoted &commat;name &#x40;name &num;12 https&colon;//a.b

--> <details><summary>x</summary><table><tr><td> <!-- ~~~
```
<script>a</script> <img src=x> <http://a.b> https://a.b www.a.b _www.a.b [x](//a.b) \\[x](http://a.b)
![x](http://a.b/c.png) [ref] @name @team/x a@b.c #12 owner/repo#2 GH-12 &#64;name &#35;12 ##3#4
[ref]: http://a.b
"""


def shown(body: str) -> tuple[set[str], str]:
    """Return the elements and the text of a comment as GitHub renders it."""
    html = github_flavored_markdown_to_html(body, Options.CMARK_OPT_UNSAFE)
    # the marker is the only comment that is ours
    html = html.replace(MARKER, "")
    return set(re.findall(r"<(/?\w+|!)", html)), unescape(re.sub(r"<[^>]*>", "", html))


@pytest.mark.parametrize(
    "start", ["", "```\n", "~~~\n", "<!--\n", "<details>\n", "| a |\n| - |\n", "==="]
)
def test_nothing_in_the_artifact_hides_what_is_ours(
    tmp_path: Path, summary: Path, start: str
) -> None:
    """Or links, calls, loads or refers to anything; its words stay readable."""
    summary.write_text(start + HIDING, encoding="utf-8")

    body = post(tmp_path).body

    elements, text = shown(body)
    own, _, foreign = text.partition("written by code of this pull request.")
    assert own.strip().startswith("Bench gate: failure.")
    assert not elements & {"!", "details", "img", "script", "h1", "code", "del", "blockquote"}
    assert body.count("](http") == 1
    assert len(re.findall("<a ", github_flavored_markdown_to_html(body))) == 1
    assert not re.search(r"@\w|#\d|GH-\d|://|www\.", foreign)
    for word in ("<details>", "<!--", "https:", "@", "name", "owner/repo#", "```", "~~~"):
        assert word in foreign


def test_what_cannot_be_seen_is_taken_out(tmp_path: Path, summary: Path) -> None:
    """Control, direction and format characters, and bytes that are no text."""
    hidden = "\x00\x07\x1b\x7f\x85\u061c\u200b\u200f\u202e\u2028\u2066\ufeff\U000e0041\r"
    summary.write_bytes(b"a" + hidden.encode() + b"\xff\xe2b \xc3\xa9 \xe2\x9c\x95\n")

    assert post(tmp_path).body.endswith("\n---\n\nab é ✕\n\n\n")


def test_our_own_escapes_are_shown_as_before(tmp_path: Path, summary: Path) -> None:
    """What the report generator has made harmless is neither doubled nor spoiled."""
    evil = r"a|b <c> `d` \\e [f](g) _h_ *i* ~j~ @k #1 https://l www.m $n$ & GH-2 (+3.2 %)"
    summary.write_text(f"| a |\n| --- |\n| {markdown(evil)} |\n", encoding="utf-8")

    elements, text = shown(post(tmp_path).body)

    assert {"table", "td"} <= elements
    assert evil in text.replace("\u200b", "")


def test_a_summary_of_ours_reads_as_it_was_written(tmp_path: Path, summary: Path) -> None:
    """Its table, its list and its words."""
    kept = (ROOT / "tests" / "golden" / "report-summary.md").read_text(encoding="utf-8")
    summary.write_text(kept, encoding="utf-8")

    elements, text = shown(post(tmp_path).body)
    elements_alone, text_alone = shown(kept)

    assert elements_alone <= elements
    assert text_alone.strip() in text.replace("\u200b", "")


def test_a_line_without_end_is_no_trouble(tmp_path: Path, summary: Path) -> None:
    """The time that the script takes grows with the size, and no faster."""
    summary.write_text("@#1:smile:[[\\\\\\" * 60_000, encoding="utf-8")

    assert len(post(tmp_path).body.encode()) <= 65_000
