"""``python -m reports run.json``: the report of a run file, from files alone."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from efficarch.console import Parser, ended, path, regular, say
from efficarch.output_folder import refuse_foreign


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m reports", description="Turn a run file into one self-contained HTML page."
    )
    parser.add_argument("run", type=path, help="run.json of a bench run")
    parser.add_argument(
        "-o",
        "--output",
        type=path,
        default=Path("reports/out/index.html"),
        help="where the page goes (default: %(default)s)",
    )
    parser.add_argument("--baseline", type=path, help="run file to compare with")
    parser.add_argument(
        "--summary", type=path, help="where a Markdown summary goes (default: none)"
    )
    return parser


def _write(options: argparse.Namespace) -> int:
    from efficarch.store import load_run

    from . import write_report

    run = load_run(regular(options.run))
    baseline = load_run(regular(options.baseline)) if options.baseline else None
    refuse_foreign(options.output, "index.html")
    if options.summary is not None:
        refuse_foreign(options.summary, "summary.md")
    write_report(
        run, options.output, options.summary, baseline=baseline, baseline_note="none was given"
    )
    say(f"wrote {options.output}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report and return the exit code: 0, or 2 for unreadable input or output."""
    return ended(lambda: _write(_parser().parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
