"""The report generator: run files in, one self-contained HTML page and one Markdown summary out."""

from pathlib import Path

from efficarch.record import Run
from efficarch.store import write_text

from .render import html, markdown
from .view import build

__all__ = ["write_report"]


def write_report(
    run: Run,
    html_path: Path,
    summary_path: Path | None = None,
    *,
    baseline: Run | None = None,
    baseline_note: str = "",
) -> None:
    """Write the HTML page and, where a path is given, the Markdown summary of a run.

    Raises:
        EfficarchError: a folder cannot be created or written.
    """
    page = build(run, baseline, baseline_note)
    # both are complete before either is written, so that a defect in one leaves no lone other
    page_text, summary_text = html(page), markdown(page)
    write_text(html_path, page_text)
    if summary_path is not None:
        write_text(summary_path, summary_text)
