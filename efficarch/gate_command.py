"""``efficarch gate`` and ``efficarch compare``: verdicts on two commits, or on stored files."""

import argparse
import json
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from efficarch.decision import gate, undecided
from efficarch.errors import EfficarchError
from efficarch.experiment import Experiment, Options, interpreter, measure
from efficarch.gate import Outcome, Verdict
from efficarch.observation import Sample
from efficarch.policy import load_policy
from efficarch.record import DTYPES, Limits
from efficarch.store import load_sample, plain, write_text
from efficarch.worktree import checked_out, differing_dependencies

CODES = {
    Outcome.FAIL: 1,
    Outcome.NOT_COMPARABLE: 4,
    Outcome.INCONCLUSIVE: 3,
    Outcome.PASS: 0,
}
"""Exit codes, the one that counts most first."""

MARKS = {
    Outcome.FAIL: "✕ FAIL",
    Outcome.NOT_COMPARABLE: "– NOT COMPARABLE",
    Outcome.INCONCLUSIVE: "? INCONCLUSIVE",
    Outcome.PASS: "✓ PASS",
}

MOST_CHARACTERS = 65_536
"""What a comment on a pull request may have."""

Say = Callable[[str], None]


def add_gate(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``efficarch gate``."""
    parser.add_argument("--base", help="commit to compare with")
    parser.add_argument("--head", help="commit to judge (default: the working tree)")
    parser.add_argument("-k", dest="expression", help="run the cells pytest's -k would select")
    parser.add_argument("--suites", default="suites", help="folder, from the top of the repository")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--weights", choices=("pretrained", "random"), default="pretrained")
    parser.add_argument("--seed", type=int, default=0, help="of the order of arms and cells")
    parser.add_argument("--timeout", type=int, default=1800, metavar="SECONDS", help="per process")
    parser.add_argument("--base-python", type=Path, help="Python with what the base needs")
    parser.add_argument("--head-python", type=Path, help="Python with what the head needs")
    parser.add_argument(
        "--show-policy", action="store_true", help="print the policy in force and measure nothing"
    )
    _add_output(parser)


def add_compare(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``efficarch compare``."""
    parser.add_argument("--base", type=Path, nargs="+", required=True, metavar="RUN.json")
    parser.add_argument("--head", type=Path, nargs="+", required=True, metavar="RUN.json")
    _add_output(parser)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("reports/out/gate"), help="folder")
    parser.add_argument(
        "--policy",
        type=Path,
        default=Path("pyproject.toml"),
        help="TOML with [tool.efficarch.gate]",
    )
    parser.add_argument("--annotate", action="store_true", help="print GitHub annotations too")


def run_gate(arguments: argparse.Namespace, say: Say) -> int:
    """Run or go on with a paired experiment, judge it and return the exit code."""
    policy = load_policy(arguments.policy)
    if arguments.show_policy:
        say(json.dumps(asdict(policy), indent=1))
        return 0
    if arguments.base is None:
        raise EfficarchError("name the commit to compare with: --base REF")
    options = _options(arguments)
    pythons = arguments.base_python or interpreter(), arguments.head_python or interpreter()
    with (
        _terminated_as_interrupted(),
        checked_out(Path.cwd(), arguments.base, arguments.head, pythons) as arms,
    ):
        differing = differing_dependencies(arms)
        if differing and None in (arguments.base_python, arguments.head_python):
            raise EfficarchError(
                f"{' and '.join(differing)} differ between base and head, so they may need "
                "different packages; give an environment for each: --base-python, --head-python"
            )
        experiment = Experiment(arguments.out, arms, options)
        experiment.claim()
        try:
            pairs = measure(
                experiment,
                policy.pairs,
                lambda found: undecided(*_sides(found), _limits(found), policy),
                lambda done, look, seconds: say(_progress(done, look, seconds)),
            )
        except KeyboardInterrupt:
            kept = len(experiment.finished())
            raise EfficarchError(
                f"interrupted; {kept} finished pairs are kept in {arguments.out}, run the same "
                "command to go on"
            ) from None
    verdicts = gate(*_sides(pairs), _limits(pairs), policy)
    return _conclude(verdicts, len(pairs), arguments, say)


def run_compare(arguments: argparse.Namespace, say: Say) -> int:
    """Judge stored files, pair by pair in the order given, and return the exit code."""
    policy = load_policy(arguments.policy)
    base, head = ([load_sample(path) for path in side] for side in (arguments.base, arguments.head))
    pairs = list(zip(base, head, strict=False))
    verdicts = gate(base, head, _limits(pairs), policy)
    return _conclude(verdicts, len(pairs), arguments, say)


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """Return 1 for any FAIL, else 4 or 3 for what was not judged, else 0; 4 where nothing was."""
    counted = {verdict.outcome for verdict in verdicts if not verdict.advisory}
    return next((code for outcome, code in CODES.items() if outcome in counted), 4)


def summary(verdicts: Sequence[Verdict], pairs: int) -> str:
    """Return the verdicts as Markdown, the worst first, within what a comment may have."""
    ranked = sorted(verdicts, key=lambda verdict: list(CODES).index(verdict.outcome))
    lines = [f"**{_headline(verdicts)}** ({pairs} pairs of fresh processes)", ""]
    lines += ["| verdict | cell | head / base | pairs | why |", "|---|---|---|---|---|"]
    size = sum(len(line) + 1 for line in lines)
    for index, verdict in enumerate(ranked):
        row = _row(verdict)
        left = f"\n{len(ranked) - index} more cells are in verdicts.json."
        if size + len(row) + 1 + len(left) > MOST_CHARACTERS:
            lines.append(left)
            break
        lines.append(row)
        size += len(row) + 1
    return "\n".join(lines) + "\n"


def _row(verdict: Verdict) -> str:
    change = verdict.change
    ratio = f"{change.value:.3f} [{change.low:.3f}, {change.high:.3f}]" if change else "–"
    pairs = "–" if verdict.pairs is None else str(verdict.pairs)
    entries = [
        MARKS[verdict.outcome],
        verdict.cell_id,
        ratio,
        pairs,
        "; ".join(verdict.reasons),
    ]
    escaped = [entry.replace("|", "\\|").replace("\n", " ") for entry in entries]
    return f"| {' | '.join(escaped)} |"


def _headline(verdicts: Sequence[Verdict]) -> str:
    counts = {
        outcome: sum(v.outcome is outcome and not v.advisory for v in verdicts) for outcome in CODES
    }
    told = [f"{count} {outcome.value}" for outcome, count in counts.items() if count]
    return ", ".join(told) or "nothing was judged"


def _conclude(
    verdicts: Sequence[Verdict], pairs: int, arguments: argparse.Namespace, say: Say
) -> int:
    code = exit_code(verdicts)
    out: Path = arguments.out
    data = {"exit_code": code, "pairs": pairs, "verdicts": plain(list(verdicts))}
    write_text(out / "verdicts.json", json.dumps(data, indent=1) + "\n")
    write_text(out / "summary.md", summary(verdicts, pairs))
    for verdict in verdicts:
        if verdict.outcome is not Outcome.PASS:
            say(f"{MARKS[verdict.outcome]} {verdict.cell_id}: {'; '.join(verdict.reasons)}")
            if arguments.annotate:
                say(_annotation(verdict))
    say(f"{_headline(verdicts)}; verdicts: {out / 'verdicts.json'}")
    return code


def _annotation(verdict: Verdict) -> str:
    level = "error" if verdict.outcome is Outcome.FAIL else "warning"
    words = f"{verdict.cell_id}: {'; '.join(verdict.reasons)}"
    escaped = words.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return f"::{level} title=efficarch gate::{escaped}"


def _options(arguments: argparse.Namespace) -> Options:
    if arguments.timeout < 1:
        raise EfficarchError(f"--timeout is {arguments.timeout}; give seconds, at least 1")
    given = [
        f"--efficarch-device={arguments.device}",
        f"--efficarch-dtype={arguments.dtype}",
        f"--efficarch-weights={arguments.weights}",
    ]
    given += ["-k", arguments.expression] if arguments.expression else []
    return Options(tuple(given), arguments.suites, arguments.seed, arguments.timeout)


def _sides(pairs: Sequence[tuple[Sample, Sample]]) -> tuple[list[Sample], list[Sample]]:
    return [base for base, _head in pairs], [head for _base, head in pairs]


def _limits(pairs: Sequence[tuple[Sample, Sample]]) -> Mapping[str, Limits]:
    """Return the hand-written limits of the head, by cell."""
    cells = [cell for _base, head in pairs for cell in head.cells.values()]
    return {cell.cell_id: cell.limits for cell in cells if cell.limits is not None}


def _progress(done: int, look: int, seconds: float) -> str:
    width = 20
    filled = width * done // look
    left = f", about {(look - done) * seconds / 60:.0f} min to go" if seconds else ""
    return f"[{'#' * filled}{'.' * (width - filled)}] pair {done + 1} of {look}{left}"


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM end the gate as Ctrl-C does, with everything tidied up."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
