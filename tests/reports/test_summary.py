"""The Markdown summary of a pull request."""

import re
from html import unescape

from cmarkgfm import github_flavored_markdown_to_html
from cmarkgfm.cmark import Options

from efficarch.conclusion import Judged
from efficarch.gate import Outcome, Verdict
from efficarch.policy import Policy
from efficarch.record import Status
from reports.gate_view import build_gate
from reports.render import MARKDOWN_LIMIT, gate_markdown, markdown
from reports.view import build
from tests import samples
from tests.reports import cases


def _rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("| ")][2:]


def test_worst_cells_come_first() -> None:
    """The summary is ranked: failing, then not judged, then passing."""
    page = build(cases.every_state())
    words = [entry.verdict.word for entry in page.entries]
    assert words == ["FAIL"] * 4 + ["NOT COMPARABLE"] * 2 + ["PASS"] * 6
    verdicts = [row.split("|")[1].strip() for row in _rows(markdown(page))]
    assert verdicts == ["✕ FAIL"] * 4 + ["✓ PASS"] * 6


def test_unmeasured_cells_are_one_bullet_for_each_reason() -> None:
    """Twenty cells skipped for one reason are a line below the table, not twenty rows."""
    lines = [
        samples.line(cases.named(f"c{n}"), status=Status.SKIPPED, message="no <weights>")
        for n in range(20)
    ]
    text = markdown(build(samples.run(samples.line(), *lines)))
    assert len(_rows(text)) == 1
    assert text.endswith("\n\n- 20 cells of dinov2 skipped: no &lt;weights&gt;\n")


def test_five_thousand_reasons_fit_a_comment() -> None:
    """Groups are cut like rows, and cut before a failing cell is."""
    lines = [
        samples.line(cases.named(f"c{n}"), status=Status.SKIPPED, message=f"{n} {'no ' * 20}")
        for n in range(5_000)
    ]
    text = markdown(build(samples.run(*lines, cases.reduced("norm", 0.5))))
    assert len(text.encode()) <= MARKDOWN_LIMIT
    assert "FAIL" in _rows(text)[0]
    bullets = text.count("- 1 cell of dinov2 skipped: ")
    assert f"{5_000 - bullets:,} rows left out to fit a comment" in text


def test_random_weights_show_no_number_in_the_summary() -> None:
    """The CosSim of random weights is not in the summary either."""
    text = markdown(build(samples.run(cases.on_random_weights(0.123456))))
    assert "0.123" not in text
    assert "check broken" in text


def test_ids_and_messages_cannot_break_the_table() -> None:
    """Pipes, tags, backticks and line breaks of a message leave each row with its columns."""
    evil = f"{cases.EVIL}\n\n| a | b |\n```\n[x](http://y)"
    line = samples.line(cases.named(cases.EVIL), status=Status.ERROR, message=evil)
    text = markdown(build(samples.run(line, samples.line()), None, evil))
    rows = _rows(text)
    assert len(rows) == 2
    assert {row.count("|") for row in rows} == {8}
    assert not re.search(r"<\w", text)
    assert "`" not in text
    assert "&lt;script&gt;" in text
    assert "@you" not in text
    assert r"\[x\](http:&#8203;//y)" in text


def test_foreign_text_shows_as_it_is_on_github() -> None:
    """Ids, messages and notes make no element of their own, link nothing and call nobody."""
    evil = "<!-- <b> @you #12 o/r#2 GH-3 www.a.b https://a.b a@b.c :smile: $x$ [^1] ~~a~~ deadbeef"
    lines = [
        samples.line(cases.named(evil), status=Status.ERROR, message=f"# {evil}"),
        samples.line(cases.named("b"), status=Status.SKIPPED, message=f"1. {evil}"),
    ]
    base = samples.run(samples.line(cases.named(f"- {evil}")))
    for source in (
        markdown(build(samples.run(*lines), None, evil)),
        markdown(build(samples.run(*lines), base)),
        gate_markdown(
            build_gate(
                Judged([Verdict(evil, Outcome.FAIL, (evil,))], [], evil, Policy(), (evil,)), []
            )
        ),
    ):
        html = github_flavored_markdown_to_html(source, Options.CMARK_OPT_UNSAFE)
        tags = set(re.findall(r"<(/?\w+|!)", html))
        own = ("h2", "p", "table", "thead", "tbody", "tr", "th", "td", "ul", "li")
        assert {tag.strip("/") for tag in tags} <= set(own)
        shown = unescape(re.sub(r"<[^>]*>", "", html))
        assert evil in shown.replace("\u200b", "")
        assert not re.search(r"@y|#1|GH-3|://|www\.|:smile:|deadbeef|[ (]\$", shown)


def test_five_thousand_cells_fit_a_comment() -> None:
    """A huge run is cut after the worst rows, and the cut is said with its size."""
    measured = samples.measurement()
    lines = [
        samples.line(cases.named(f"dinov2/{'long-' * 20}{number}"), measured=measured)
        for number in range(4_999)
    ]
    text = markdown(build(samples.run(*lines, cases.reduced("norm", 0.5))))
    rows = _rows(text)
    assert len(text) <= MARKDOWN_LIMIT
    assert len(text) > MARKDOWN_LIMIT - 1_000
    assert "FAIL" in rows[0]
    left_out = 5_000 - len(rows)
    assert f"{left_out:,} rows left out to fit a comment; the HTML page has all of them." in text


def test_one_huge_message_does_not_push_out_the_others() -> None:
    """A message of a megabyte is shortened and every cell keeps its row."""
    huge = samples.line(cases.named("huge"), status=Status.ERROR, message="\\|<" * 300_000)
    text = markdown(build(samples.run(huge, samples.line()), None, "&" * 300_000))
    assert len(text) <= MARKDOWN_LIMIT
    assert len(_rows(text)) == 2
    assert "left out" not in text


def test_change_column_needs_a_baseline() -> None:
    """With a baseline each row tells its change."""
    base = samples.run(cases.reduced("tome", 0.95))
    now = samples.run(cases.slower(base.cells[0], 1.32))
    assert "| +32.0 % |" in markdown(build(now, base))
    assert "change" not in markdown(build(now))
