"""``efficarch gate`` and ``efficarch compare``: verdicts on two commits, or on stored files."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from efficarch import power
from efficarch.conclusion import Judged, Report, conclude
from efficarch.console import path, regular
from efficarch.decision import gate
from efficarch.errors import EfficarchError
from efficarch.experiment.interrupts import signals_as_interrupts
from efficarch.experiment.ledger import Ledger, claimed_alone
from efficarch.experiment.project import project_folder
from efficarch.experiment.request import Request, requested
from efficarch.experiment.run import Options, load_pairs
from efficarch.gate import Outcome, Verdict
from efficarch.gate_run import run
from efficarch.gate_setting import Wishes
from efficarch.observation import Sample
from efficarch.patterns import matches
from efficarch.policy import Policy, load_named_policy, load_policy
from efficarch.probe import cuda_required
from efficarch.record import DTYPES
from efficarch.store import load_sides
from efficarch.trust import limits_in_force, unmatched_notice

Say = Callable[[str], None]

LONGEST_TIMEOUT_S = 7 * 24 * 3600

OF_CELLS = {
    "device": ("auto", "cpu", "cuda"),
    "dtype": DTYPES,
    "weights": ("pretrained", "random"),
}
OF_TESTS = "for tests that use bench (default: %(default)s)"


def add_gate(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``efficarch gate``."""
    parser.add_argument("--base", help="commit to compare with")
    parser.add_argument("--head", help="commit to judge (default: the working tree)")
    parser.add_argument("-k", dest="expression", help="run the cells pytest's -k would select")
    parser.add_argument(
        "--suites",
        type=path,
        help="folder of the benchmarks (default: suites, pytest's testpaths, benchmarks or tests)",
    )
    for name, choices in OF_CELLS.items():
        parser.add_argument(f"--{name}", choices=choices, default=choices[0], help=OF_TESTS)
    parser.add_argument("--seed", type=int, default=0, help="of the order of sides and cells")
    parser.add_argument(
        "--timeout",
        type=int,
        default=1800,
        metavar="SECONDS",
        help="per pair, and per environment that is built (default: %(default)s)",
    )
    parser.add_argument("--base-python", type=path, help="Python with what the base needs")
    parser.add_argument("--head-python", type=path, help="Python with what the head needs")
    parser.add_argument(
        "--policy", type=path, help="TOML with [tool.efficarch.gate], in place of the base's"
    )
    parser.add_argument(
        "--trust-head",
        action="store_true",
        help="judge by the head's policy and limits instead of the base's",
    )
    parser.add_argument(
        "--show-policy",
        action="store_true",
        help="print the policy in force and what it can tell under the noise in --out",
    )
    parser.add_argument(
        "--out", type=path, help="folder (default: reports/out/gate of the project)"
    )
    _add_annotate(parser)


def add_compare(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``efficarch compare``."""
    parser.add_argument("--base", type=path, nargs="+", required=True, metavar="RUN.json")
    parser.add_argument("--head", type=path, nargs="+", required=True, metavar="RUN.json")
    parser.add_argument("--out", type=path, default=Path("reports/out/compare"), help="folder")
    parser.add_argument(
        "--policy",
        type=path,
        help="TOML with [tool.efficarch.gate] (default: pyproject.toml, where there is one)",
    )
    _add_annotate(parser)


def _add_annotate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--annotate", action="store_true", help="print GitHub annotations too")


def run_gate(arguments: argparse.Namespace, say: Say, report: Report) -> int:
    """Run or go on with a paired experiment, judge it and return the exit code."""
    if arguments.show_policy:
        return _show_policy(arguments, say)
    if arguments.base is None:
        raise EfficarchError("name the commit to compare with: --base REF")
    request = requested(arguments.out)
    wishes = _wishes(arguments, request)
    ledger = Ledger(request.out)
    try:
        with signals_as_interrupts():
            judged = run(request, wishes, Path(sys.executable), ledger, say)
            return conclude(judged, request.out, say, report, annotate=arguments.annotate)
    except KeyboardInterrupt:
        raise EfficarchError(f"interrupted; {ledger.kept()}") from None
    except OSError as error:
        raise EfficarchError(
            f"cannot write {error.filename or request.out}: {error.strerror or error}; "
            f"{ledger.kept()}"
        ) from error


def _show_policy(arguments: argparse.Namespace, say: Say) -> int:
    here = Path.cwd()
    try:
        request = requested(arguments.out)
        folder, out = request.project, request.out
    except EfficarchError:
        # a policy can be read where there is no repository
        folder = project_folder(here, here)
        out = arguments.out or here / "reports/out/gate"
    policy = _named(arguments.policy, folder / "pyproject.toml")
    # JSON has no line break within a text
    written = json.dumps(asdict(policy), indent=1).split("\n")
    for line in [*written, *power.table(load_pairs(out), policy)]:
        say(line)
    return 0


def _named(given: Path | None, usual: Path) -> Policy:
    return load_policy(usual) if given is None else load_named_policy(given)


def _wishes(arguments: argparse.Namespace, request: Request) -> Wishes:
    if not 1 <= arguments.timeout <= LONGEST_TIMEOUT_S:
        raise EfficarchError(
            f"--timeout is {arguments.timeout}; give seconds, from 1 to {LONGEST_TIMEOUT_S}"
        )
    named = request.suites(arguments.suites)
    return Wishes(
        base=arguments.base,
        head=arguments.head,
        pythons=(
            _python("--base-python", arguments.base_python),
            _python("--head-python", arguments.head_python),
        ),
        policy=None if arguments.policy is None else arguments.policy.absolute(),
        trust_head=arguments.trust_head,
        suites=None if named is None else (named,),
        of_cells=_given_of_cells(arguments),
        options=Options(
            pytest=("-k", arguments.expression) if arguments.expression else (),
            efficarch=tuple(f"--efficarch-{name}={getattr(arguments, name)}" for name in OF_CELLS),
            cuda=_promise_of_cuda(arguments.device),
            suites=(),
            seed=arguments.seed,
            timeout_s=arguments.timeout,
        ),
    )


def _promise_of_cuda(device: str) -> str:
    if cuda_required():
        return "EFFICARCH_REQUIRE_CUDA=1"
    return "--device is cuda" if device == "cuda" else ""


def _given_of_cells(arguments: argparse.Namespace) -> tuple[str, ...]:
    given = {name: getattr(arguments, name) for name in OF_CELLS}
    return tuple(f"--{name} {value}" for name, value in given.items() if value != OF_CELLS[name][0])


def _python(option: str, given: Path | None) -> Path | None:
    """Return an interpreter as an absolute path; a symbolic link in an environment stays one."""
    if given is None:
        return None
    absolute = given.absolute()
    if not absolute.is_file() or not os.access(absolute, os.X_OK):
        raise EfficarchError(f"{option} is {str(given)!r}, which is no program; name a Python")
    return absolute


def run_compare(arguments: argparse.Namespace, say: Say, report: Report) -> int:
    """Judge stored files, pair by pair in the order given, and return the exit code."""
    policy = _named(arguments.policy, Path("pyproject.toml"))
    sides = load_sides(*(list(map(regular, s)) for s in (arguments.base, arguments.head)))
    notices = unmatched_notice(policy, [*sides.base, *sides.head])
    base, head = ([_chosen(s, policy) for s in side] for side in (sides.base, sides.head))
    pairs = list(zip(base, head, strict=False))
    verdicts = gate(base, head, limits_in_force(pairs, trust_head=False), policy)
    if sides.shared:
        notices.append(f"{sides.shared[0]} holds what a file of the base holds: no two commits")
        verdicts = list(map(_undecided, verdicts))
    for notice in notices:
        say(f"note: {notice}")
    subjects = f"{len(head)} files of the head against {len(base)} of the base"
    judged = Judged(verdicts, pairs, subjects, policy, tuple(notices))
    with claimed_alone(arguments.out):
        return conclude(judged, arguments.out, say, report, annotate=arguments.annotate)


def _undecided(verdict: Verdict) -> Verdict:
    """Take back a PASS for which one measurement was compared with itself."""
    if verdict.outcome is not Outcome.PASS:
        return verdict
    reason = "one measurement is on both sides, which shows nothing"
    return replace(verdict, outcome=Outcome.INCONCLUSIVE, reasons=(*verdict.reasons, reason))


def _chosen(sample: Sample, policy: Policy) -> Sample:
    """Keep the cells that the policy names, all where it names none."""
    if not policy.cells:
        return sample
    cells = {
        cell_id: cell
        for cell_id, cell in sample.cells.items()
        if any(matches(pattern, cell_id) for pattern in policy.cells)
    }
    return replace(sample, cells=cells)
