"""Every command ends in a true exit code and, where it fails, in one sentence."""

import errno
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from efficarch import console
from efficarch.cli import main
from efficarch.errors import EfficarchError
from efficarch.prospect import SMALLEST_BUDGETS
from efficarch.record import Status
from efficarch.text import annotation
from tests import samples
from tests.gate.paired_cases import plain_file
from tests.processes import EFFICARCH, ROOT, SCRIPT, run, without

REPORTS = (sys.executable, "-m", "reports")
ENTRIES = [
    pytest.param((*EFFICARCH, "report"), "--out=out", id="python -m efficarch"),
    pytest.param((*SCRIPT, "report"), "--out=out", id="efficarch"),
    pytest.param(REPORTS, "--output=out/index.html", id="python -m reports"),
    pytest.param(
        (sys.executable, "-m", "efficarch.reports"),
        "--output=out/index.html",
        id="python -m efficarch.reports",
    ),
]

ASCII = {
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONIOENCODING": "ascii",
}


def run_file(folder: Path, status: Status = Status.PASSED, name: str = "run.json") -> Path:
    """Write a run of one cell."""
    path = folder / name
    line = samples.line(status=status, message="why")
    path.write_text(json.dumps(samples.run_json(samples.run(line))), encoding="utf-8")
    return path


def one_sentence(text: str) -> str:
    """Return what was said on standard error, once."""
    assert text.startswith("efficarch: "), text
    assert text.count("\n") == 1, text
    return text.strip()


@pytest.mark.parametrize(
    ("status", "code"), [(Status.PASSED, 0), (Status.FAILED, 1), (Status.SKIPPED, 4)]
)
def test_a_reader_that_leaves_changes_nothing(tmp_path: Path, status: Status, code: int) -> None:
    """Nothing is said, and the exit code is that of the verdict."""
    reading, writing = os.pipe()
    os.close(reading)

    command = [*EFFICARCH, "report", str(run_file(tmp_path, status)), "--out=out"]
    done = run(command, tmp_path, stdout=writing, stderr=subprocess.PIPE)

    os.close(writing)
    assert (done.returncode, done.stderr) == (code, "")
    assert (tmp_path / "out" / "summary.md").is_file()


@pytest.mark.parametrize("arguments", [["list"], ["report", "run.json"], ["--help"]])
def test_output_that_nobody_could_read_is_no_success(tmp_path: Path, arguments: list[str]) -> None:
    """A full disk behind standard output is said, however little was to be written."""
    run_file(tmp_path)
    with Path("/dev/full").open("wb") as full:
        done = run([*EFFICARCH, *arguments], tmp_path, stdout=full, stderr=subprocess.PIPE)

    assert done.returncode == 2
    assert one_sentence(done.stderr) == (
        "efficarch: cannot write to standard output: No space left on device"
    )


@pytest.mark.parametrize("broken", ["2>/dev/full", "2>&-", "2>&- >&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("name", "code"), [("run.json", 1), ("nowhere.json", 2)])
def test_standard_error_does_not_matter(tmp_path: Path, broken: str, name: str, code: int) -> None:
    """Whether or not anybody can hear what is wrong, the exit code says it."""
    run_file(tmp_path, Status.FAILED)
    script = f'"$@" {broken}'

    command = ["bash", "-c", script, "bash", *EFFICARCH, "report", name, "--out=out"]
    done = run(command, tmp_path)

    assert done.returncode == code
    assert (tmp_path / "out").exists() == (name == "run.json")


@pytest.mark.parametrize("locale", [{}, ASCII, {"PYTHONIOENCODING": "latin-1"}], ids=str)
def test_no_locale_and_no_name_is_too_strange(tmp_path: Path, locale: dict[str, str]) -> None:
    """What a stream cannot show is escaped: bytes that are no text, signs it does not know."""
    strange = os.fsencode(tmp_path) + b"/\xff\xe2\x9c\x93\x1b[31m.json"
    Path(os.fsdecode(strange)).write_bytes(run_file(tmp_path).read_bytes())
    out = os.fsencode(tmp_path) + b"/out\xfe"

    done = run([*EFFICARCH, "report", strange, b"--out=" + out], tmp_path, environment=locale)
    missing = run([*EFFICARCH, "report", strange + b"x"], tmp_path, environment=locale)
    wrong = run([*EFFICARCH, "report", strange, strange], tmp_path, environment=locale)

    assert (done.returncode, done.stderr) == (0, "")
    assert r"out\udcfe/index.html" in done.stdout
    assert missing.returncode == wrong.returncode == 2
    assert r"\x1b[31m.jsonx: No such file or directory" in one_sentence(missing.stderr)
    assert r"unrecognized arguments" in wrong.stderr
    assert "\x1b" not in missing.stderr + wrong.stderr


@pytest.mark.parametrize("argument", ["a\n::add-mask::b", "a\n##[group]b"])
def test_no_argument_commands_a_workflow(tmp_path: Path, argument: str) -> None:
    """Neither as a file that is not there nor as an option that does not exist."""
    for arguments in (["report", argument], ["report", "a", argument], ["bench", "-k", argument]):
        said = run([*EFFICARCH, *arguments], tmp_path).stderr
        assert not re.search(r"^\s*::|##\[", said, re.MULTILINE), said


@pytest.mark.parametrize(("command", "out"), ENTRIES)
def test_what_is_not_installed_is_named(tmp_path: Path, command: list[str], out: str) -> None:
    """A missing dependency is said in one sentence by every way to start."""
    environment = without(tmp_path / "site", "jinja2", "scipy")
    path = str(run_file(tmp_path))
    folder = ROOT if "reports" in command else tmp_path

    done = run([*command, path, out.replace("=", f"={tmp_path}/")], folder, environment=environment)

    assert done.returncode == 2
    assert re.search(r"(jinja2|scipy) is not installed; run: pip ", one_sentence(done.stderr))
    assert not (tmp_path / "out" / "index.html").exists()


@pytest.mark.parametrize(("command", "out"), ENTRIES)
def test_a_module_that_cannot_be_imported_is_no_verdict(
    tmp_path: Path, command: list[str], out: str
) -> None:
    """Not even one of our own."""
    environment = {**without(tmp_path / "site", "efficarch.store"), "TMPDIR": str(tmp_path)}
    folder = ROOT if "reports" in command else tmp_path

    done = run([*command, str(run_file(tmp_path)), out], folder, environment=environment)

    assert done.returncode == 70
    assert "this is a fault of efficarch, not a verdict" in one_sentence(done.stderr)


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    """Run a command that ends in an error."""

    def broken(_argv: object) -> int:
        raise error

    monkeypatch.setattr("efficarch.commands.run", broken)
    return main(["list"])


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("\x1b[31mbroken\n::error::x"),
        RecursionError(),
        ModuleNotFoundError("No module named 'efficarch.gone'", name="efficarch.gone"),
        ImportError("cannot import name 'x'"),
        OSError(errno.EIO, "Input/output error", "disk"),
        pytest.fail.Exception("outside of a test"),
        GeneratorExit(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_fault_of_ours_is_said_to_be_one(
    error: BaseException,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With exit code 70, and a private file that holds the traceback."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    assert fail_with(monkeypatch, error) == 70

    said = one_sentence(capsys.readouterr().err)
    assert type(error).__name__ in said
    assert "docs/security.md" in said
    (file,) = tmp_path.iterdir()
    assert str(file) in said
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "in broken\n" in file.read_text(encoding="utf-8")


def test_a_fault_is_said_where_no_file_can_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full disk does not hide it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))

    assert fail_with(monkeypatch, ValueError("odd")) == 70

    assert "ValueError: odd; its traceback could not be kept (No such" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (EfficarchError("bad\ninput"), "efficarch: bad input"),
        (KeyboardInterrupt(), "efficarch: interrupted"),
        (
            ModuleNotFoundError("No module named 'torch'", name="torch"),
            "efficarch: torch is not installed; run: pip install 'efficarch[models]'",
        ),
        (
            ModuleNotFoundError("No module named 'PIL'", name="PIL.Image"),
            "efficarch: PIL is not installed; run: pip install 'efficarch[models]'",
        ),
        (
            ImportError("libcudart.so.13: no such file\nmore", name="torch._C"),
            "efficarch: torch cannot be imported (libcudart.so.13: no such file); install it again",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "a/b"),
            "efficarch: a/b: No space left on device",
        ),
        (OSError(errno.EMFILE, "Too many open files"), "efficarch: Too many open files"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_what_is_not_our_fault_is_exit_2(
    error: BaseException,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Bad input, an interruption, and what the machine lacks."""
    assert fail_with(monkeypatch, error) == 2

    assert one_sentence(capsys.readouterr().err) == sentence


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    """A FIFO that nobody writes to would hold the command up for ever."""
    os.mkfifo(tmp_path / "fifo")
    good = str(run_file(tmp_path))

    for arguments in (["report", "fifo"], ["report", good, "--baseline", "fifo"]):
        done = run([*EFFICARCH, *arguments], tmp_path)
        assert done.returncode == 2
        assert "fifo is no regular file; name a run file" in one_sentence(done.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", ""],
        ["report", "/dev/null"],
        ["report", "."],
        ["report", "run.json", "--baseline", "/dev/null"],
        ["report", "run.json", "--baseline", "."],
        ["report", "run.json", "--baseline", ""],
        ["report", "run.json", "--out", ""],
        ["report", "run.json", "--out", "run.json"],
        ["report", "run.json", "--out", "/dev/null"],
        ["bench", "--rounds", str(10**9)],
        ["bench", "--rounds", "9" * 5000],
        ["bench", "--rounds", "-5"],
        ["bench", "--rounds", "nan"],
        ["bench", "--rounds", ""],
        ["bench", "--suites", ""],
        ["bench", "--suites", "run.json"],
        ["bench", "--images", ""],
        ["bench", "--clip-path", ""],
        ["bench", "--suites", ".", "--out", "run.json"],
        ["tune", "--model", "", "--latency-ratio", "0.5"],
        ["tune", "--model", "dinov2-small", "--latency-ratio", "nan"],
        ["tune", "--model", "dinov2-small", "--latency-ratio", "-5"],
        ["tune", "--model", "dinov2-small", "--latency-ratio", "0.5", "--methods", ""],
        ["tune", "--model", "dinov2-small", "--latency-ratio", "0.5", "--rounds", str(10**9)],
        ["tune", "--model", "dinov2-small", "--latency-ratio", "0.5", "--seed", "-1"],
        ["tune", "--model", "dinov2-small", "--latency-ratio", "0.5", "--seed", str(10**30)],
        ["tune", "--model", "dinov2-small", "--latency-ratio", "0.5", "--images", "run.json"],
    ],
    ids=lambda arguments: " ".join(each[:12] or "''" for each in arguments if each[:2] != "di"),
)
def test_odd_values_are_refused(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Numbers without end, empty words, folders for files and files for folders."""
    monkeypatch.chdir(tmp_path)
    before = run_file(tmp_path).read_text()

    try:
        code = main(arguments)
    except SystemExit as stopped:
        code = stopped.code
    assert code == 2

    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("efficarch"), said
    assert "fault" not in said[-1]
    assert (tmp_path / "run.json").read_text() == before


LONG_NAME = "a" * 300
NAMED = [
    ["report", "NAME"],
    ["report", "run.json", "--out", "NAME"],
    ["report", "run.json", "--baseline", "NAME"],
    ["compare", "--base", "NAME", "--head", "run.json"],
    ["compare", "--base", "run.json", "--head", "run.json", "--out", "NAME"],
    ["compare", "--base", "run.json", "--head", "run.json", "--policy", "NAME"],
    ["gate", "--show-policy", "--policy", "NAME"],
    ["gate", "--base", "HEAD", "--out", "NAME"],
    ["gate", "--base", "HEAD", "--suites", "NAME"],
    ["gate", "--base", "HEAD", "--policy", "NAME"],
    ["gate", "--base", "HEAD", "--base-python", "NAME"],
    ["bench", "--suites", "NAME"],
    ["bench", "--suites", ".", "--out", "NAME"],
    ["bench", "--suites", ".", "--images", "NAME"],
    ["tune", "--model", "dinov2-small", "--latency-ratio", "0.5", "--images", "NAME"],
]


@pytest.mark.parametrize(
    "name", [LONG_NAME, "circle", "~nobody-of-this-name/a"], ids=lambda n: n[:7]
)
@pytest.mark.parametrize("arguments", NAMED, ids=" ".join)
def test_a_path_that_leads_nowhere_is_no_fault_of_ours(
    arguments: list[str],
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A link in a circle, a name that no disk takes, the home of nobody: one sentence."""
    monkeypatch.chdir(tmp_path)
    run_file(tmp_path)
    (tmp_path / "circle").symlink_to("round")
    (tmp_path / "round").symlink_to("circle")
    subprocess.run(["git", "init", "-q"], check=True)

    code = main([each.replace("NAME", name) for each in arguments])

    said = capsys.readouterr().err.splitlines()
    if name.startswith("~") and "--out" in arguments:
        assert code != 70
        return
    assert code == 2
    assert said[-1].startswith("efficarch: "), said
    assert "fault" not in said[-1]


def test_an_error_of_an_endless_link_is_told_as_any_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python before 3.13 raises what is no error of the system."""
    error = RuntimeError("Symlink loop from '/a'")
    error.__context__ = OSError(errno.ELOOP, "Too many levels of symbolic links", "/a")

    assert fail_with(monkeypatch, error) == 2

    assert one_sentence(capsys.readouterr().err) == (
        "efficarch: /a: Too many levels of symbolic links"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["gate", "--base", "HEAD"],
        ["gate", "--show-policy"],
        ["compare", "--base", "a", "--head", "b"],
        ["list"],
        ["doctor"],
        ["bench"],
        ["bench", "--suites", "packaged"],
        ["report", "x"],
        ["tune", "--model", "dinov2-small", "--latency-ratio", "0.5"],
    ],
    ids=" ".join,
)
def test_a_folder_that_is_gone(tmp_path: Path, arguments: list[str]) -> None:
    """Whoever stands in one is told so, by every command."""
    gone = tmp_path / "gone"
    gone.mkdir()
    script = 'rmdir "$PWD"; exec "$@"'

    done = run(["bash", "-c", script, "bash", *EFFICARCH, *arguments], gone)

    assert done.returncode == 2
    assert one_sentence(done.stderr) == (
        "efficarch: the folder in which this was typed is gone; change to another and run it again"
    )


def test_only_an_annotation_passes(capsys: pytest.CaptureFixture[str]) -> None:
    """What is said is text, unless it was made to show a sentence in a workflow."""
    made = annotation("error", "efficarch gate", "a\n24 PASS")
    for line in (made, str(made) + "", "::add-mask::a", "x\n::error title=a::b"):
        console.say(line)

    assert capsys.readouterr().out.splitlines() == [
        "::error title=efficarch gate::a 24 PASS",
        r"\x3a:error title=efficarch gate::a 24 PASS",
        r"\x3a:add-mask::a",
        "x ::error title=a::b",
    ]


BREAKS = "slow\n24 PASS\rnote: all pass\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029::error::x"


@pytest.mark.parametrize("speak", [console.say, console.complain])
def test_what_is_said_is_one_line(
    speak: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever breaks a line for anybody."""
    speak(BREAKS)

    said = "".join(capsys.readouterr())
    assert len(said.splitlines()) == 1
    assert "slow 24 PASS note: all pass" in said


def test_foreign_text_writes_no_line_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names of cells, reasons and files, where stored files are judged, told and reported."""
    monkeypatch.chdir(tmp_path)
    odd = f"odd\n24 PASS\n::error title=a::b{BREAKS}"
    files = {
        side: [str(plain_file(tmp_path / f"{side}{n}\n.json", {odd: 0.1, "b": 0.2}, 2 * n + place))
               for n in range(5)]
        for place, side in enumerate(("base", "head"))
    }  # fmt: skip
    out = tmp_path / "out\n0 FAIL"
    (tmp_path / "policy.toml").write_text(
        f"[tool.efficarch.gate]\ncells = [{json.dumps(odd)}, 'gone']\n", encoding="utf-8"
    )
    sides = ["--base", *files["base"], "--head", *files["head"]]

    main(["compare", *sides, "--out", str(out), "--annotate", "--policy", "policy.toml"])
    main(["compare", *sides, "--out", str(out), "--annotate"])
    main(["report", str(run_file(tmp_path, name="a\n.json")), "--out", str(out)])
    main(["report", f"missing\n24 PASS{BREAKS}"])
    main(["gate", "--show-policy", "--policy", "policy.toml"])

    said = "".join(capsys.readouterr())
    assert not re.search(r"^(24 PASS|0 FAIL|note: all|::error title=a)", said, re.MULTILINE), said
    assert len(said.splitlines()) == said.count("\n")


def test_an_error_of_arguments_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """It repeats what was typed."""
    with pytest.raises(SystemExit):
        main(["gate", "--device", f"a{BREAKS}"])

    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith("efficarch gate: error: argument --device")


ENDS_IN_A_CELL = """
import os
import pytest

@pytest.mark.parametrize(("model", "reducer", "keep", "batch"), [("tiny", "none", None, 1)])
def test_it(bench, model, reducer, keep, batch):
    os._exit(1)
"""
CHILD_ENDS = """
import os

if not (child := os.fork()):
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""
NO_VERDICT = "so there is no verdict; nothing was written"
ENDS = {
    "sys.exit": ("conftest", "import sys; sys.exit(1)", NO_VERDICT),
    "sys.exit with words": ("conftest", "import sys; sys.exit('no gpu')", NO_VERDICT),
    "of another kind": ("conftest", "class Stop(BaseException): ...\nraise Stop", NO_VERDICT),
    "os._exit": ("conftest", "import os; os._exit(1)", NO_VERDICT),
    "in a cell": ("test_it", ENDS_IN_A_CELL, NO_VERDICT),
    "a child": ("conftest", CHILD_ENDS, "no cell was measured"),
}


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
@pytest.mark.parametrize(("name", "text", "words"), ENDS.values(), ids=ENDS)
def test_measured_code_that_ends_the_process_gives_no_verdict(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    """Exit code 1 is for a cell that fails, whatever a conftest or a test would end with."""
    (tmp_path / "budgets.toml").write_text(SMALLEST_BUDGETS, encoding="utf-8")
    (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    (tmp_path / "reports" / "out").mkdir(parents=True)
    mine = tmp_path / "reports" / "out" / ".run.json.partial"
    mine.write_text("mine", encoding="utf-8")

    done = run([*EFFICARCH, "bench", "--suites", "."], tmp_path)

    assert done.returncode == 2, done.stdout + done.stderr
    assert words in one_sentence(done.stderr)
    assert mine.read_text(encoding="utf-8") == "mine"


def test_only_a_command_line_that_is_not_understood_ends_by_itself(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Any other code would read like a verdict."""

    def command() -> int:
        raise SystemExit(1)

    assert console.ended(command) == 2
    assert one_sentence(capsys.readouterr().err).endswith(
        "some code asked to end the process (SystemExit(1)), which is no verdict"
    )


@pytest.mark.parametrize(
    ("package", "arguments"), [("torch", ["doctor"]), ("jinja2", ["report", "run.json"])]
)
def test_a_dependency_that_breaks_when_it_is_imported(
    tmp_path: Path, package: str, arguments: list[str]
) -> None:
    """By whatever error; it is not efficarch's fault."""
    run_file(tmp_path)
    broken = tmp_path / "site" / package
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("import json\njson.loads('{')\n", encoding="utf-8")
    path = {"PYTHONPATH": f"{broken.parent}{os.pathsep}{ROOT}"}

    done = run([*EFFICARCH, *arguments], tmp_path, environment=path)

    assert done.returncode == 2
    said = f"efficarch: {package} cannot be imported (JSONDecodeError: Expecting property name"
    assert one_sentence(done.stderr).startswith(said)
