"""The commands: options in, exit codes out."""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from efficarch.bench_command import add_bench, run_bench
from efficarch.conclusion import Judged
from efficarch.console import Parser, path, regular, say, standing
from efficarch.errors import EfficarchError
from efficarch.gate import check_limits, compare, exit_code
from efficarch.gate_command import add_compare, add_gate, run_compare, run_gate
from efficarch.listing import markdown_tables
from efficarch.output_folder import claim
from efficarch.record import Run
from efficarch.store import load_run
from efficarch.tune_command import add_tune, tune


def run(argv: Sequence[str] | None) -> int:
    """Run the command that the arguments name and return its exit code."""
    arguments = _parser().parse_args(argv)
    standing()
    command: Callable[[argparse.Namespace], int] = arguments.command
    return command(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="efficarch", description="Measure, gate and report, cell by cell.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    benching = commands.add_parser("bench", help="measure the suites and write the report")
    add_bench(benching)
    benching.set_defaults(command=lambda arguments: run_bench(arguments, say, _write_report))
    gating = commands.add_parser("gate", help="measure two commits by turns and judge each cell")
    add_gate(gating)
    gating.set_defaults(command=lambda arguments: run_gate(arguments, say, _write_gate_report))
    comparing = commands.add_parser("compare", help="judge stored run files, several a side")
    add_compare(comparing)
    comparing.set_defaults(
        command=lambda arguments: run_compare(arguments, say, _write_gate_report)
    )
    report = commands.add_parser("report", help="write the report of a run file, without torch")
    report.add_argument("run", type=path)
    report.add_argument("--baseline", type=path)
    report.add_argument("--out", type=path, default=Path("reports/out"), help="folder")
    report.set_defaults(command=_report)
    doctor = commands.add_parser("doctor", help="say what this machine can measure")
    doctor.set_defaults(command=_doctor)
    tuning = commands.add_parser("tune", help="find the best schedules that meet one latency")
    add_tune(tuning)
    tuning.set_defaults(command=_tune)
    listing = commands.add_parser("list", help="list methods, models and scan backends")
    listing.set_defaults(command=_list)
    return parser


def _report(arguments: argparse.Namespace) -> int:
    measured = load_run(regular(arguments.run))
    baseline = load_run(regular(arguments.baseline)) if arguments.baseline else None
    claim(arguments.out, ("index.html", "summary.md"))
    note = "" if baseline else "none was given; pass one with --baseline"
    _write_report(measured, arguments.out, baseline, note)
    say(f"report: {arguments.out / 'index.html'}")
    return exit_code(check_limits(measured), compare(measured, baseline) if baseline else ())


def _write_report(measured: Run, out: Path, baseline: Run | None, note: str) -> None:
    _reports().write_report(
        measured, out / "index.html", out / "summary.md", baseline=baseline, baseline_note=note
    )


def _write_gate_report(judged: Judged, facts: Sequence[tuple[str, str]], out: Path) -> None:
    _reports().write_gate_report(judged, facts, out)


def _reports() -> Any:
    """Return the report generator: the one place that reaches it.

    It is part of the wheel; in a bare checkout it lies beside this package. Another project's
    ``reports`` is never taken for it.
    """
    name = "efficarch.reports"
    if find_spec(name) is not None:
        return import_module(name)
    folder = Path(__file__).parents[1] / "reports"
    spec = spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if not (folder / "templates" / "page.html.j2").is_file() or spec is None or spec.loader is None:
        raise EfficarchError(
            "this installation lacks the report generator (efficarch/reports); install it again: "
            "pip install --force-reinstall efficarch"
        )
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _tune(arguments: argparse.Namespace) -> int:
    return tune(arguments, say, lambda run, out: _write_report(run, out, None, "a search has none"))


def _doctor(_arguments: argparse.Namespace) -> int:
    from efficarch.doctor import findings

    for finding in findings():
        say(str(finding))
    return 0


def _list(_arguments: argparse.Namespace) -> int:
    # text of our own, and nobody else's
    for line in markdown_tables().split("\n"):
        say(line)
    return 0
