"""View objects into text: one HTML page, one Markdown summary that fits a comment."""

import re
from bisect import bisect_right
from collections.abc import Callable
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from efficarch import text as foreign

from .formats import count
from .gate_view import GatePage
from .groups import Group
from .view import Line, Page

MARKDOWN_LIMIT = 65_536
"""Most characters of a comment; the summary keeps to it in UTF-8 bytes, which are never fewer."""

_FOLDER = Path(__file__).parent

# foreign text is escaped where it is placed; this is for what anybody forgot
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def html(page: Page) -> str:
    """Return the self-contained page."""
    return fragment("page.html.j2", page)


def gate_html(page: GatePage) -> str:
    """Return the self-contained page of a gate."""
    return fragment("gate.html.j2", page)


def gate_markdown(page: GatePage) -> str:
    """Return the summary of a gate: worst cells first, as many of them as a comment holds."""
    template = _environment("markdown").get_template("gate.md.j2")

    def summary(shown: int) -> str:
        missing = len(page.rows) - shown
        left_out = count(missing, "cell") if missing else ""
        return _printable(template.render(page=page, rows=page.rows[:shown], left_out=left_out))

    return summary(_most(len(page.rows), summary))


def fragment(template: str, page: Page | GatePage) -> str:
    """Render one HTML template of a page: the whole or a part of it."""
    style = Markup((_FOLDER / "static" / "report.css").read_text(encoding="utf-8"))
    text = _environment("html").get_template(template).render(page=page, style=style)
    return _printable(text)


def markdown(page: Page) -> str:
    """Return the summary: worst cells first, and as many of them as a comment holds."""
    return _summary(page, _most(len(page.entries), lambda shown: _summary(page, shown)))


def _most(entries: int, summary: Callable[[int], str]) -> int:
    """Return how many entries a comment holds; rendered length grows with their number."""
    if _fits(summary(entries)):
        return entries
    rows = range(1, entries + 1)
    return bisect_right(rows, 0, key=lambda n: 0 if _fits(summary(n)) else 1)


def _summary(page: Page, shown: int) -> str:
    left_out = len(page.entries) - shown
    entries = page.entries[:shown]
    lines = [entry for entry in entries if isinstance(entry, Line)]
    groups = [entry for entry in entries if isinstance(entry, Group)]
    note = ""
    if left_out:
        note = f"{count(left_out, 'row')} left out to fit a comment; the HTML page has all of them."
    template = _environment("markdown").get_template("summary.md.j2")
    return _printable(template.render(page=page, lines=lines, groups=groups, note=note))


def _fits(text: str) -> bool:
    return len(text.encode()) <= MARKDOWN_LIMIT


@cache
def _environment(kind: str) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=kind == "html",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_placed,
    )
    environment.filters["md"] = foreign.markdown
    return environment


def _placed(value: object) -> object:
    """Return what stands for an expression in a template: text on one line, all of it visible."""
    return foreign.printable(value) if type(value) is str else value


def _printable(text: str) -> str:
    """Replace what no UTF-8 file or browser takes, and what reverses the direction of text."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
