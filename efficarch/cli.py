"""The command line: ``efficarch bench | gate | compare | tune | report | doctor | list``.

Exit codes: 0 pass, 1 fail, 2 usage or unreadable input, 3 inconclusive, 4 not comparable. Every
error a user can cause ends in one sentence on stderr.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from efficarch.conclusion import Judged
from efficarch.errors import EfficarchError
from efficarch.gate import check_limits, compare, differing_fields, exit_code
from efficarch.gate_command import add_compare, add_gate, run_compare, run_gate
from efficarch.listing import markdown_tables
from efficarch.models import OPTIONS, destination
from efficarch.record import DTYPES, Run, Status
from efficarch.stats import MIN_ROUNDS
from efficarch.store import baseline_path, load_run, save_baseline, write_text
from efficarch.tune_command import add_tune, tune

INTERRUPTED = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except EfficarchError as error:
        print(f"efficarch: {error}", file=sys.stderr)  # noqa: T201
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="efficarch", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_bench(commands.add_parser("bench", help="measure the suites and write the report"))
    gating = commands.add_parser("gate", help="measure two commits by turns and judge each cell")
    add_gate(gating)
    gating.set_defaults(command=lambda arguments: run_gate(arguments, _say, _write_gate_report))
    comparing = commands.add_parser("compare", help="judge stored run files, several a side")
    add_compare(comparing)
    comparing.set_defaults(
        command=lambda arguments: run_compare(arguments, _say, _write_gate_report)
    )
    report = commands.add_parser("report", help="write the report of a run file, without torch")
    report.add_argument("run", type=Path)
    report.add_argument("--baseline", type=Path)
    report.add_argument("--out", type=Path, default=Path("reports/out"), help="folder")
    report.set_defaults(command=_report)
    doctor = commands.add_parser("doctor", help="say what this machine can measure")
    doctor.set_defaults(command=_doctor)
    tuning = commands.add_parser("tune", help="find the best schedules that meet one latency")
    add_tune(tuning)
    tuning.set_defaults(command=_tune)
    listing = commands.add_parser("list", help="list methods, models and scan backends")
    listing.set_defaults(command=_list)
    return parser


def _add_bench(bench: argparse.ArgumentParser) -> None:
    bench.add_argument("--suites", type=Path, help="folder (default: ./suites, else the packaged)")
    bench.add_argument("--out", type=Path, default=Path("reports/out"), help="folder")
    bench.add_argument("-k", dest="expression", help="run the cells pytest's -k would select")
    bench.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    bench.add_argument("--dtype", choices=DTYPES, default="float32")
    bench.add_argument("--weights", choices=("pretrained", "random"), default="pretrained")
    bench.add_argument("--images", metavar="DIR", help="images of your own, one subfolder a class")
    for option, model in OPTIONS.items():
        bench.add_argument(option, metavar="ID_OR_FOLDER", help=f"weights of {model}")
    rounds = bench.add_mutually_exclusive_group()
    rounds.add_argument("--rounds", type=int, help="paired rounds per cell")
    rounds.add_argument(
        "--short",
        dest="rounds",
        action="store_const",
        const=MIN_ROUNDS,
        help=f"every cell, with {MIN_ROUNDS} rounds",
    )
    bench.add_argument(
        "--save-baseline",
        action="store_true",
        help="store a green run as SUITES/baselines/<machine>.json",
    )
    bench.set_defaults(command=_bench)


def _bench(arguments: argparse.Namespace) -> int:
    import pytest

    suites = _suites(arguments.suites)
    run_file: Path = arguments.out / "run.json"
    partial = run_file.with_name(".run.json.partial")
    # find out before half an hour of measuring that the folder cannot be written
    write_text(partial, "")
    partial.unlink()
    code = int(pytest.main([*_pytest_arguments(arguments, suites), f"--benchmark-json={partial}"]))
    try:
        run = _accept(partial, run_file, code)
    finally:
        partial.unlink(missing_ok=True)
    baseline, note = _baseline(suites / "baselines", run)
    _write_report(run, arguments.out, baseline, note)
    _say(f"report: {arguments.out / 'index.html'}")
    if run.interrupted:
        left = sum(line.status is Status.NOT_RUN for line in run.cells)
        _say(f"interrupted: {left} of {len(run.cells)} cells were not run")
        return INTERRUPTED
    if arguments.save_baseline:
        _say(f"baseline: {save_baseline(run_file, suites / 'baselines')}")
    return exit_code(check_limits(run), compare(run, baseline) if baseline else ())


def _suites(asked: Path | None) -> Path:
    """Return the suites folder: the one asked for, that of this checkout, or the packaged one."""
    if asked is not None:
        if not asked.is_dir():
            raise EfficarchError(f"no suites folder {str(asked)!r}; name one with test_*.py in it")
        return asked
    local = Path("suites")
    if (local / "budgets.toml").is_file():
        return local
    packaged = find_spec("efficarch.suites")
    if packaged is None or packaged.origin is None:
        raise EfficarchError("no suites folder here; run in a checkout or pass --suites FOLDER")
    return Path(packaged.origin).parent


def _pytest_arguments(arguments: argparse.Namespace, suites: Path) -> list[str]:
    options = [
        str(suites),
        "--verbose",
        "-p",
        "efficarch.plugin",
        # the packaged suites may lie in a folder nobody can or should write to
        "-p",
        "no:cacheprovider",
        # this process imported the package before pytest could rewrite its (absent) assertions
        "-W",
        "ignore:Module already imported:pytest.PytestAssertRewriteWarning",
        "--benchmark-quiet",
        f"--efficarch-device={arguments.device}",
        f"--efficarch-dtype={arguments.dtype}",
        f"--efficarch-weights={arguments.weights}",
    ]
    if arguments.rounds is not None:
        options.append(f"--efficarch-rounds={arguments.rounds}")
    if arguments.images is not None:
        options.append(f"--efficarch-images={arguments.images}")
    for option in OPTIONS:
        location = getattr(arguments, destination(option))
        if location is not None:
            options.append(f"{option}={location}")
    return options + (["-k", arguments.expression] if arguments.expression else [])


def _accept(partial: Path, run_file: Path, code: int) -> Run:
    """Check what pytest wrote and put it in place; an earlier run file stays otherwise."""
    if not partial.is_file():
        why = "the session could not start" if code in (3, 4) else "no cell was measured"
        raise EfficarchError(f"{why}; see pytest's messages above; nothing was written")
    run = load_run(partial)
    partial.replace(run_file)
    return run


def _baseline(folder: Path, run: Run) -> tuple[Run | None, str]:
    """Return this machine's baseline if it is comparable, else why there is none."""
    path = baseline_path(folder, run.machine)
    if not path.is_file():
        return None, f"{path} does not exist; store one with --save-baseline"
    baseline = load_run(path)
    differing = differing_fields(run.machine, baseline.machine)
    if differing:
        return None, f"{path} is of another machine: {'; '.join(differing)}"
    return baseline, ""


def _report(arguments: argparse.Namespace) -> int:
    run = load_run(arguments.run)
    baseline = load_run(arguments.baseline) if arguments.baseline else None
    note = "" if baseline else "none was given; pass one with --baseline"
    _write_report(run, arguments.out, baseline, note)
    _say(f"report: {arguments.out / 'index.html'}")
    return exit_code(check_limits(run), compare(run, baseline) if baseline else ())


def _write_report(run: Run, out: Path, baseline: Run | None, note: str) -> None:
    _reports().write_report(
        run, out / "index.html", out / "summary.md", baseline=baseline, baseline_note=note
    )


def _write_gate_report(judged: Judged, facts: Sequence[tuple[str, str]], out: Path) -> None:
    _reports().write_gate_report(judged, facts, out)


def _reports() -> Any:
    """Return the generator: the one place that reaches it; `reports` in a bare checkout."""
    installed = find_spec("efficarch.reports") is not None
    return import_module("efficarch.reports" if installed else "reports")


def _tune(arguments: argparse.Namespace) -> int:
    return tune(
        arguments, _say, lambda run, out: _write_report(run, out, None, "a search has none")
    )


def _doctor(_arguments: argparse.Namespace) -> int:
    from efficarch.doctor import findings

    for finding in findings():
        _say(str(finding))
    return 0


def _list(_arguments: argparse.Namespace) -> int:
    _say(markdown_tables())
    return 0


def _say(text: str) -> None:
    print(text)  # noqa: T201
