"""``python -m reports run.json``: the report of a run file, from files alone."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from efficarch.errors import EfficarchError
from efficarch.store import load_run

from . import write_report


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m reports", description="Turn a run file into one self-contained HTML page."
    )
    parser.add_argument("run", type=Path, help="run.json of a bench run")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("reports/out/index.html"),
        help="where the page goes (default: %(default)s)",
    )
    parser.add_argument("--baseline", type=Path, help="run file to compare with")
    parser.add_argument(
        "--summary", type=Path, help="where a Markdown summary goes (default: none)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report and return the exit code: 0, or 2 for unreadable input or output."""
    options = _parser().parse_args(arguments)
    try:
        run = load_run(options.run)
        baseline = load_run(options.baseline) if options.baseline else None
        write_report(
            run,
            options.output,
            options.summary,
            baseline=baseline,
            baseline_note="none was given",
        )
    except EfficarchError as error:
        sys.stderr.write(f"efficarch: {error}\n")
        return 2
    sys.stdout.write(f"wrote {options.output}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
