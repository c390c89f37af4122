"""The report generator: run files in, one self-contained HTML page and one Markdown summary out."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from efficarch.conclusion import Judged
    from efficarch.record import Run

# imported where they are used, so that ``python -m reports`` can say what is missing

__all__ = ["write_gate_report", "write_report"]


def write_gate_report(judged: "Judged", facts: Sequence[tuple[str, str]], folder: Path) -> None:
    """Write ``index.html`` and ``summary.md`` of a gate into a folder.

    ``facts`` are what else to show, by name.

    Raises:
        EfficarchError: the folder cannot be created or written.
    """
    from efficarch.store import write_text

    from .gate_view import build_gate
    from .render import gate_html, gate_markdown

    page = build_gate(judged, facts)
    # both are complete before either is written
    page_text, summary_text = gate_html(page), gate_markdown(page)
    write_text(folder / "index.html", page_text)
    write_text(folder / "summary.md", summary_text)


def write_report(
    run: "Run",
    html_path: Path,
    summary_path: Path | None = None,
    *,
    baseline: "Run | None" = None,
    baseline_note: str = "",
) -> None:
    """Write the HTML page and, where a path is given, the Markdown summary of a run.

    Raises:
        EfficarchError: a folder cannot be created or written.
    """
    from efficarch.store import write_text

    from .render import html, markdown
    from .view import build

    page = build(run, baseline, baseline_note)
    # both are complete before either is written, so that a defect in one leaves no lone other
    page_text, summary_text = html(page), markdown(page)
    write_text(html_path, page_text)
    if summary_path is not None:
        write_text(summary_path, summary_text)
