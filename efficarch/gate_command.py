"""``efficarch gate`` and ``efficarch compare``: verdicts on two commits, or on stored files."""

import argparse
import json
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType

from efficarch import power
from efficarch.decision import gate, undecided
from efficarch.environments import environment
from efficarch.errors import EfficarchError
from efficarch.experiment import (
    Experiment,
    Options,
    finished_pairs,
    interpreter,
    load_pairs,
    measure,
)
from efficarch.gate import WORST_FIRST, Outcome, Verdict
from efficarch.observation import Sample
from efficarch.policy import Policy, load_policy
from efficarch.record import DTYPES, Limits
from efficarch.series import counted_pairs
from efficarch.store import load_sample, plain, write_text
from efficarch.worktree import Arms, checked_out, differing_dependencies

CODES = {
    Outcome.FAIL: 1,
    Outcome.NOT_COMPARABLE: 4,
    Outcome.INCONCLUSIVE: 3,
    Outcome.PASS: 0,
}
"""Exit codes by the worst verdict."""

Say = Callable[[str], None]
Report = Callable[[Sequence[Verdict], str, Sequence[tuple[str, str]], Path], None]
"""Writes page and summary: verdicts, what was compared, further facts, and the folder."""


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
    parser.add_argument("--timeout", type=int, default=1800, metavar="SECONDS", help="per pair")
    parser.add_argument("--base-python", type=Path, help="Python with what the base needs")
    parser.add_argument("--head-python", type=Path, help="Python with what the head needs")
    parser.add_argument(
        "--show-policy",
        action="store_true",
        help="print the policy in force and what it can tell under the noise in --out",
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


def run_gate(arguments: argparse.Namespace, say: Say, report: Report) -> int:
    """Run or go on with a paired experiment, judge it and return the exit code."""
    policy = load_policy(arguments.policy)
    if arguments.show_policy:
        say(json.dumps(asdict(policy), indent=1))
        for line in power.table(load_pairs(arguments.out), policy):
            say(line)
        return 0
    if arguments.base is None:
        raise EfficarchError("name the commit to compare with: --base REF")
    try:
        with _signals_as_interrupts():
            subjects, pairs = _measured(arguments, policy, say)
            verdicts = gate(*_sides(pairs), _limits(pairs), policy)
            return _conclude(verdicts, pairs, subjects, policy, arguments, say, report)
    except KeyboardInterrupt:
        raise EfficarchError(
            f"interrupted; {finished_pairs(arguments.out)} finished pairs are kept in "
            f"{arguments.out}, run the same command to go on"
        ) from None


def _measured(
    arguments: argparse.Namespace, policy: Policy, say: Say
) -> tuple[str, list[tuple[Sample, Sample]]]:
    """Run or go on with the experiment; say what was compared, and return its pairs."""
    options = _options(arguments, policy)
    pythons = arguments.base_python or interpreter(), arguments.head_python or interpreter()
    with checked_out(Path.cwd(), arguments.base, arguments.head, pythons) as arms:
        arms = _with_environments(arms, arguments, policy, say)
        experiment = Experiment(arguments.out, arms, options)
        experiment.claim()
        pairs = measure(
            experiment,
            policy.pairs,
            lambda found: undecided(*_sides(found), _limits(found), policy),
            lambda done, look, seconds: say(_progress(done, look, seconds)),
        )
    head = "the working tree" if arguments.head is None else arguments.head
    base = f"{arguments.base} ({arms.base.commit[:12]})"
    return f"{head} ({arms.head.commit[:12]}) against {base}", pairs


def _with_environments(arms: Arms, arguments: argparse.Namespace, policy: Policy, say: Say) -> Arms:
    """Give each side an environment of its own where they may need different packages."""
    differing = differing_dependencies(arms)
    given = {"base": arguments.base_python, "head": arguments.head_python}
    if not differing or None not in given.values():
        return arms
    words = f"{' and '.join(differing)} differ between base and head"
    if not policy.install:
        raise EfficarchError(
            f"{words}, so they may need different packages; give an environment for each "
            "(--base-python, --head-python), or say how to build one: install in the policy"
        )
    say(f"{words}: building an environment for each")
    folder = arguments.out / "environments"
    base, head = (
        tree if given[arm] else replace(tree, python=environment(tree, folder, policy.install))
        for arm, tree in (("base", arms.base), ("head", arms.head))
    )
    return Arms(base, head)


def run_compare(arguments: argparse.Namespace, say: Say, report: Report) -> int:
    """Judge stored files, pair by pair in the order given, and return the exit code."""
    policy = load_policy(arguments.policy)
    base, head = ([load_sample(path) for path in side] for side in (arguments.base, arguments.head))
    pairs = list(zip(base, head, strict=False))
    verdicts = gate(base, head, _limits(pairs), policy)
    subjects = f"{len(head)} files of the head against {len(base)} of the base"
    return _conclude(verdicts, pairs, subjects, policy, arguments, say, report)


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """Return 1 for any FAIL, else 4 or 3 for what was not judged, else 0; 4 where nothing was."""
    counted = {verdict.outcome for verdict in verdicts if not verdict.advisory}
    return next((CODES[outcome] for outcome in WORST_FIRST if outcome in counted), 4)


def _conclude(
    verdicts: Sequence[Verdict],
    pairs: Sequence[tuple[Sample, Sample]],
    subjects: str,
    policy: Policy,
    arguments: argparse.Namespace,
    say: Say,
    report: Report,
) -> int:
    """Tell, write and report the verdicts."""
    code = exit_code(verdicts)
    out: Path = arguments.out
    data = {"exit_code": code, "pairs": len(pairs), "verdicts": plain(list(verdicts))}
    write_text(out / "verdicts.json", json.dumps(data, indent=1) + "\n")
    facts = [(name, str(value)) for name, value in asdict(policy).items() if value != ()]
    facts += list(pairs[0][1].machine)
    report(verdicts, f"{subjects}; {counted_pairs(len(pairs))}.", facts, out)
    for verdict in verdicts:
        if verdict.outcome is not Outcome.PASS:
            say(f"{_word(verdict)} {verdict.cell_id}: {'; '.join(verdict.reasons)}")
            if arguments.annotate:
                say(_annotation(verdict))
    counts = {word: sum(_word(v) == word for v in verdicts) for word in map(_word, verdicts)}
    say(", ".join(f"{count} {word}" for word, count in counts.items()))
    say(f"report: {out / 'index.html'}")
    return code


def _word(verdict: Verdict) -> str:
    word = verdict.outcome.value.upper()
    return f"({word})" if verdict.advisory else word


def _annotation(verdict: Verdict) -> str:
    level = "error" if verdict.outcome is Outcome.FAIL else "warning"
    words = f"{verdict.cell_id}: {'; '.join(verdict.reasons)}"
    escaped = words.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return f"::{level} title=efficarch gate::{escaped}"


def _options(arguments: argparse.Namespace, policy: Policy) -> Options:
    if arguments.timeout < 1:
        raise EfficarchError(f"--timeout is {arguments.timeout}; give seconds, at least 1")
    given = [
        f"--efficarch-device={arguments.device}",
        f"--efficarch-dtype={arguments.dtype}",
        f"--efficarch-weights={arguments.weights}",
    ]
    given += ["-k", arguments.expression] if arguments.expression else []
    # what is asked for by name need not be among the cells of the policy
    cells = policy.cells if policy.cells and not arguments.expression else None
    return Options(
        tuple(given),
        arguments.suites,
        arguments.seed,
        arguments.timeout,
        cells,
        subject_alone=policy.metric != "ratio",
    )


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
def _signals_as_interrupts() -> Iterator[None]:
    """Let SIGTERM end the gate as Ctrl-C does, with everything tidied up.

    SIGINT too: a process that a shell started in the background ignores it unless told otherwise.
    """

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {each: signal.signal(each, interrupt) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
