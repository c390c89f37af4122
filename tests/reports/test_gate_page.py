"""Claims about the page and the summary of a gate."""

from collections.abc import Sequence

from efficarch.conclusion import Judged
from efficarch.gate import Outcome, Verdict
from efficarch.policy import Policy
from efficarch.record import Estimate
from reports.gate_view import GatePage, build_gate
from reports.render import MARKDOWN_LIMIT, gate_html, gate_markdown

FACTS = [("floor", "0.03"), ("torch", "2.13.0")]


def verdict(outcome: Outcome, cell: str, *, advisory: bool = False, why: str = "why") -> Verdict:
    """Return a verdict on a change of ten per cent."""
    return Verdict(cell, outcome, (why,), Estimate(1.1, 1.0, 1.2), -0.01, advisory, pairs=6)


def page_of(
    verdicts: Sequence[Verdict],
    subjects: str = "this against that",
    facts: Sequence[tuple[str, str]] = (),
    notices: tuple[str, ...] = (),
) -> GatePage:
    """Return the page of some verdicts; no pair was measured."""
    return build_gate(Judged(verdicts, [], subjects, Policy(), notices), facts)


def test_the_worst_comes_first_and_gives_the_page_its_verdict() -> None:
    """What is advisory is in brackets and does not."""
    page = page_of(
        [
            verdict(Outcome.PASS, "good"),
            verdict(Outcome.INCONCLUSIVE, "so so"),
            verdict(Outcome.FAIL, "bad"),
            verdict(Outcome.NOT_COMPARABLE, "new", advisory=True),
        ],
        "this against that",
        FACTS,
    )

    assert [row.cell_id for row in page.rows] == ["bad", "so so", "good", "new"]
    assert (page.verdict.word, page.headline) == (
        "FAIL",
        "1 cell fail, 1 cell inconclusive, 1 cell pass",
    )
    assert page.rows[-1].verdict.word == "(NOT COMPARABLE)"
    assert (page.rows[0].change, page.rows[0].cossim) == ("+10.0 %", "-0.0100")


def test_references_are_no_cell() -> None:
    """They are told where they do not pass."""
    fine = [verdict(Outcome.PASS, "good"), verdict(Outcome.PASS, "references")]
    slow = [verdict(Outcome.PASS, "good"), verdict(Outcome.FAIL, "references")]

    assert page_of(fine).headline == "1 cell pass"
    assert page_of(slow).headline == "1 cell pass, references fail"
    assert page_of(slow).verdict.word == "FAIL"


def test_nothing_compared_is_no_pass() -> None:
    """Neither is nothing but advice."""
    advice = [verdict(Outcome.NOT_COMPARABLE, "new", advisory=True)]

    assert page_of([]).verdict.word == "NOT COMPARABLE"
    assert page_of(advice).headline == "nothing was judged"


def test_the_page_holds_everything_and_loads_nothing() -> None:
    """Cells, reasons, facts; markup in any of them is shown as it is."""
    text = gate_html(page_of([verdict(Outcome.FAIL, "<b>", why="x < y")], "a & b", FACTS))

    for words in ("&lt;b&gt;", "x &lt; y", "a &amp; b", "2.13.0", "+10.0 %"):
        assert words in text
    assert "<b>" not in text
    assert "http:" not in text
    assert "https:" not in text
    assert '<meta name="generator" content="efficarch">' in text


def test_the_summary_fits_into_a_comment() -> None:
    """It says how many cells it leaves out; none of them is worse than one it shows."""
    many = [verdict(Outcome.PASS, f"{'x' * 100}{n}") for n in range(1000)]

    text = gate_markdown(page_of([*many, verdict(Outcome.FAIL, "bad")], facts=FACTS))

    assert len(text.encode()) <= MARKDOWN_LIMIT
    assert "| bad |" in text
    shown = text.count("✓ PASS")
    assert shown > 300
    assert f"{1000 - shown} cells left out" in text


def test_the_summary_notifies_nobody_and_keeps_its_table() -> None:
    """Ids and reasons are other people's words."""
    text = gate_markdown(page_of([verdict(Outcome.FAIL, "a|b", why="@all `x`")], facts=FACTS))

    assert "a&#124;b" in text
    assert "@all" not in text


def test_what_a_reader_has_to_know_first_comes_first() -> None:
    """Before any cell, on the page and in the summary, and as text alone."""
    noticed = page_of([verdict(Outcome.PASS, "good")], notices=("the head changes <the policy>",))

    html, summary = gate_html(noticed), gate_markdown(noticed)

    assert html.index("the head changes &lt;the policy&gt;") < html.index('scope="row">good')
    assert summary.index("the head changes &lt;the policy&gt;") < summary.index("| good |")
