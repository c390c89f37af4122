"""Claims about what the gate tells: exit codes, Markdown, annotations, and stored files."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from efficarch.cli import main
from efficarch.conclusion import exit_code
from efficarch.experiment.ledger import run_file
from efficarch.experiment.run import Options
from efficarch.gate import Outcome, Verdict
from efficarch.gate_setting import Wishes, options_of
from efficarch.policy import Policy
from efficarch.record import Estimate
from tests import samples
from tests.gate.paired_cases import plain_file


def verdict(outcome: Outcome, cell: str = "a", *, advisory: bool = False) -> Verdict:
    """Return a verdict with a reason."""
    return Verdict(cell, outcome, ("why",), Estimate(1.1, 1.0, 1.2), advisory=advisory, pairs=6)


PASS, FAIL = Outcome.PASS, Outcome.FAIL
UNSURE, OTHER = Outcome.INCONCLUSIVE, Outcome.NOT_COMPARABLE


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([PASS], 0),
        ([PASS, UNSURE], 3),
        ([PASS, OTHER], 4),
        ([UNSURE, OTHER], 4),
        ([PASS, UNSURE, OTHER, FAIL], 1),
        ([], 4),
    ],
)
def test_the_exit_code_is_that_of_the_worst(outcomes: list[Outcome], code: int) -> None:
    """Nothing compared is no pass."""
    assert exit_code([verdict(outcome) for outcome in outcomes]) == code


def test_advisory_verdicts_leave_the_exit_code_alone() -> None:
    """Alone they are nothing compared."""
    new = verdict(OTHER, advisory=True)

    assert exit_code([verdict(PASS), new]) == 0
    assert exit_code([new]) == 4


def plain_sides(folder: Path, ratio: float, count: int = 14) -> list[str]:
    """Write files of another project, its head slower, and return the arguments that name them."""
    arguments = []
    for side, factor in (("base", 1.0), ("head", ratio)):
        arguments.append(f"--{side}")
        for n in range(count):
            wobble = 1 + 0.001 * (n + 1) * (1 if n % 2 else -1) / count
            path = folder / f"{side}-{n}.json"
            seconds = {"a": 0.1 * factor * wobble, "b": 0.2}
            arguments.append(str(plain_file(path, seconds, 2 * n + (side == "head"))))
    return arguments


def compare(folder: Path, *arguments: str) -> int:
    """Run ``efficarch compare`` in this process, with the default policy."""
    policy = folder / "policy.toml"
    policy.write_text("[tool.efficarch.gate]\nfamily_error = 0.01\n")
    return main(["compare", "--policy", str(policy), "--out", str(folder), *arguments])


def test_files_of_other_projects_are_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By name of their benchmarks, also as annotations."""
    assert compare(tmp_path, *plain_sides(tmp_path, 1.0)) == 0
    assert "2 PASS" in capsys.readouterr().out

    assert compare(tmp_path, *plain_sides(tmp_path, 1.1), "--annotate") == 1

    output = capsys.readouterr().out
    assert "FAIL a: latency +10.0 %" in output
    assert "::error title=efficarch gate::a: latency +10.0 %25" in output
    verdicts = json.loads((tmp_path / "verdicts.json").read_text())["verdicts"]
    assert [(v["cell_id"], v["outcome"]) for v in verdicts] == [("a", "fail"), ("b", "pass")]


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    """Verdicts and summary."""
    arguments = plain_sides(tmp_path, 1.02)
    written = []
    for _time in range(2):
        compare(tmp_path, *arguments)
        written.append(
            [(tmp_path / n).read_bytes() for n in ("verdicts.json", "summary.md", "index.html")]
        )

    assert written[0] == written[1]


def test_one_file_a_side_describes_and_judges_nothing(tmp_path: Path) -> None:
    """However large the change is."""
    assert compare(tmp_path, *plain_sides(tmp_path, 3.0, count=1)) == 3
    (first, _second) = json.loads((tmp_path / "verdicts.json").read_text())["verdicts"]
    assert first["change"]["value"] == pytest.approx(3.0)


def test_files_of_another_machine_are_not_compared(tmp_path: Path) -> None:
    """The CPU is named."""
    base = plain_file(tmp_path / "a.json", {"a": 0.1}, 0)
    head = plain_file(tmp_path / "b.json", {"a": 0.1}, 1, cpu="B CPU")

    assert compare(tmp_path, "--base", str(base), "--head", str(head)) == 4
    assert r"cpu\_model is A CPU and B CPU" in (tmp_path / "summary.md").read_text()


def test_times_of_another_timer_are_not_compared(tmp_path: Path) -> None:
    """What sleeps takes none by the time of a process."""
    base = plain_file(tmp_path / "a.json", {"a": 0.1}, 0)
    head = plain_file(tmp_path / "b.json", {"a": 0.1}, 1, timer="process_time")

    assert compare(tmp_path, "--base", str(base), "--head", str(head)) == 4
    summary = (tmp_path / "summary.md").read_text()
    assert "timer is 'perf_counter' and 'process_time'" in summary.replace("\\", "")


def test_our_own_files_are_read_whole(tmp_path: Path) -> None:
    """CosSim is judged with them."""
    paths = {}
    for side, cossim in (("base", 0.95), ("head", 0.91)):
        measured = samples.measurement(cossim=cossim)
        data = samples.run_json(samples.run(samples.line(measured=measured)))
        paths[side] = tmp_path / f"{side}.json"
        paths[side].write_text(json.dumps(data))

    code = compare(tmp_path, "--base", str(paths["base"]), "--head", str(paths["head"]))

    assert code == 1
    assert "CosSim fell by 0.0400" in (tmp_path / "summary.md").read_text()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "not a pytest-benchmark file"),
        ("{", "not complete JSON"),
        ('{"benchmarks": [], "machine_info": {}}', "datetime is null"),
        (
            '{"benchmarks": [{"fullname": "a", "stats": {"median": "0"}}], "machine_info": {}}',
            "not a number",
        ),
        ('{"benchmarks": [{"fullname": "a", "stats": []}], "machine_info": {}}', "stats is []"),
        ('{"benchmarks": [{"fullname": 7}], "machine_info": {}}', "fullname is 7"),
    ],
)
def test_what_is_no_run_file_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    """In one sentence with its path."""
    bad = tmp_path / "bad.json"
    bad.write_text(text)

    assert compare(tmp_path, "--base", str(bad), "--head", str(bad)) == 2
    errors = capsys.readouterr().err
    assert str(bad) in errors
    assert words in errors
    assert not (tmp_path / "verdicts.json").exists()


def test_the_policy_in_force_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON, defaults included; then its power, for which a gate must have measured."""
    policy, out = tmp_path / "p.toml", tmp_path / "out"
    policy.write_text("[tool.efficarch.gate]\nfloor = 0.05\n")
    arguments = ["gate", "--show-policy", "--policy", str(policy), "--out", str(out)]

    assert main(arguments) == 0

    shown, _, power = capsys.readouterr().out.partition("\n}\n")
    assert json.loads(shown + "}") == json.loads(json.dumps(asdict(Policy(floor=0.05))))
    assert power == "power: not known before a gate has measured two pairs\n"
    (out / "runs").mkdir(parents=True)
    for index in range(6):
        for arm in ("base", "head"):
            plain_file(run_file(out, index, arm), {"quiet": 0.1 + 1e-5 * index, "b": 0.2}, index)

    assert main(arguments) == 0

    power = capsys.readouterr().out.partition("\n}\n")[2]
    assert "over 6 pairs" in power
    assert re.search(r"0\.\d %  quiet", power)
    rows = {line.split()[0]: line.split()[1:3] for line in power.splitlines()[-6:]}
    assert rows["0%"] == ["0%", "100%"]
    assert rows["10%"] == ["100%", "0%"]


@pytest.mark.parametrize(
    ("given", "cells"), [((), ("dinov2/*",)), (("-k", "norm"), None)], ids=["policy", "-k"]
)
def test_the_policy_names_the_cells_unless_asked_for_others(
    given: tuple[str, ...], cells: tuple[str, ...] | None
) -> None:
    """What -k selects need not be among them."""
    wishes = Wishes(
        "main", None, (None, None), None, False, None, (), Options(given, (), (), 0, 60)
    )

    options = options_of(("suites",), wishes, Policy(cells=("dinov2/*",)))

    assert (options.suites, options.cells) == (("suites",), cells)
    assert options_of(("suites",), wishes, Policy()).cells is None


BRACKETS = """
[tool.efficarch.gate]
cells = ["t.py::a[cuda-float16]", "t.py::gone"]
[[tool.efficarch.gate.cell]]
cells = "t.py::a[cuda-float16]"
floor = 0.5
reason = "noisy"
"""


def test_an_exact_id_names_its_cell_and_an_entry_without_one_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Brackets stand for themselves; what the policy does not name is not judged."""
    policy = tmp_path / "policy.toml"
    policy.write_text(BRACKETS)
    sides = []
    for side, factor in (("base", 1.0), ("head", 1.2)):
        sides.append(f"--{side}")
        for n in range(10):
            seconds = {"t.py::a[cuda-float16]": 0.1 * factor, "t.py::b": 0.1 * factor}
            path = tmp_path / f"{side}-{n}.json"
            seconds = {name: value + 1e-6 * n for name, value in seconds.items()}
            sides.append(str(plain_file(path, seconds, 2 * n + (side == "head"))))

    code = main(["compare", "--policy", str(policy), "--out", str(tmp_path / "out"), *sides])

    output = capsys.readouterr().out
    assert (code, "1 PASS" in output) == (0, True)
    assert output.startswith("note: the policy names cells that there are not (t.py::gone)\n")
    assert "t.py::gone" in (tmp_path / "out" / "summary.md").read_text()
