"""Foreign text is shown and never obeyed; GitHub's renderer of Markdown is the judge."""

import re
import unicodedata
from html.parser import HTMLParser

import cmarkgfm
import pytest
from cmarkgfm.cmark import Options
from hypothesis import example, given, settings
from hypothesis import strategies as st

from efficarch.text import Annotation, annotation, markdown, printable, terminal

BREAK = "\N{ZERO WIDTH SPACE}"

WORDS = r"""
    http://a.b https://a.b/c?d=e ftp://a.b www.a.b WWW.a.b mailto:a@b.c xmpp:a@b.c a@b.c
    @name @team/x owner/repo#2 #12 GH-12 gh-1 o/r@1234567 deadbeef
    0123456789abcdef0123456789abcdef01234567 :smile: :+1: a::b::c $x$ $$y$$
    <b> </details> <!-- --> <http://a.b> &amp; &#64;name [a](http://b) ![a](b) [^1] [^1]:
    # ## > - + * 1. 1) --- === *** ___ :-- | || \ ` ``` ~~~ ~~a~~ *a* __a__ é x 0 3.5
"""
OTHERS = ("[ ]", "[x]", "\n", "\n\n", "\t", "\r\n", "\x1b[31m", "\0", "\u202e", "\u200b", "\ud800")
TOKENS = (*WORDS.split(), *OTHERS, "\u2028", " ", "    ")

FOREIGN = st.lists(st.sampled_from(TOKENS) | st.text(max_size=4), max_size=12).map("".join)

OBEYED = re.compile(
    r"@\w|#\d|GH-\d|://|www\.|:[\w+-]+:|\b[0-9a-f]{7,40}\b|(?:^|[\s(])\$", re.IGNORECASE
)
"""What GitHub looks for in rendered text, besides what cmark-gfm does."""


class Reader(HTMLParser):
    """Collects the tags and the text of what a renderer wrote."""

    def __init__(self, html: str) -> None:
        super().__init__()
        # which this parser reads as text where it has no end, and a browser does not
        self.tags = {"!"} if "<!" in html else set()
        self.text = ""
        self.cells: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "td":
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.cells:
            self.cells[-1] += data


def rendered(source: str) -> Reader:
    """Render as GitHub does, with raw HTML left in."""
    options = Options.CMARK_OPT_UNSAFE | Options.CMARK_OPT_FOOTNOTES
    return Reader(cmarkgfm.github_flavored_markdown_to_html(source, options=options))


def one_line(text: str) -> str:
    """Return what a reader should see."""
    return " ".join(printable(text).split())


@given(FOREIGN | st.text())
def test_printable_text_is_one_line_of_visible_characters(text: str) -> None:
    """Nothing is left that moves a cursor, reverses a line or cannot be encoded."""
    shown = printable(text)

    assert "\n" not in shown
    categories = {unicodedata.category(character) for character in shown}
    assert not categories & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    shown.encode()
    assert printable(shown) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("tests/a.py::test_é[x  y]", "tests/a.py::test_é[x  y]"),
        ("a\x1b[31mb\x07\x85", r"a\x1b[31mb\x07\x85"),
        ("a\u202eb\u2066c\u200bd\ufeff", r"a\u202eb\u2066c\u200bd\ufeff"),
        ("a\U000e0001\U0010ffff", r"a\U000e0001\U0010ffff"),
        ("\udc80 \ue000", r"\udc80 \ue000"),
        ("a\u2028b", r"a\u2028b"),
        ("a \r\n\t b\n", "a b "),
        ("1\N{NO-BREAK SPACE}ms", "1\N{NO-BREAK SPACE}ms"),
    ],
)
def test_what_cannot_be_seen_is_escaped(text: str, shown: str) -> None:
    """Plain text stays as it is; everything hidden has a name."""
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("::error::x", r"\x3a:error::x"),
        (
            "  \N{NO-BREAK SPACE}::stop-commands::t",
            "  \N{NO-BREAK SPACE}" + r"\x3a:stop-commands::t",
        ),
        ("a\n::error::x", "a ::error::x"),
        ("\n::error::x", r" \x3a:error::x"),
        ("##[error]x", r"\x23#[error]x"),
        ("x ##vso[task.setvariable]y", r"x \x23#vso[task.setvariable]y"),
        ("x ###[group]y", r"x #\x23#[group]y"),
        ("tests/a.py::test", "tests/a.py::test"),
        ("## a [b]", "## a [b]"),
    ],
)
def test_no_line_is_a_command(text: str, shown: str) -> None:
    """GitHub and Azure find none, and the mask can be seen."""
    assert terminal(text) == shown


@given(FOREIGN)
def test_no_foreign_text_becomes_a_command(text: str) -> None:
    """However it is put together."""
    line = terminal(text)

    assert not line.strip().startswith("::")
    assert not re.search(r"##\w*\[", line)


def test_an_annotation_says_what_it_was_given() -> None:
    """Escaped as the runner decodes it: data, and more so properties."""
    line = annotation("error", "gate: a, b%", "50 %\nx::y\x1b, z")

    assert line == r"::error title=gate%3A a%2C b%25::50 %25 x::y\x1b, z"
    with pytest.raises(ValueError, match="level is 'set-env'"):
        annotation("set-env", "a", "b")


@given(FOREIGN, FOREIGN)
def test_an_annotation_is_one_command(title: str, text: str) -> None:
    """What title and text hold cannot end it early, begin another, or make it another."""
    line = annotation("warning", title, text)

    assert len(line.splitlines()) == 1
    properties, _, data = line.removeprefix("::warning title=").partition("::")
    assert not set(properties) & set(":,")
    for escape in re.findall("%..", properties + data):
        assert escape in ("%25", "%3A", "%2C")


def test_only_what_was_made_for_it_is_an_annotation() -> None:
    """What only looks like one, or was made of one, is text."""
    line = annotation("warning", "a", "b")

    assert isinstance(line, Annotation)
    for text in (str(line) + "", line.strip() + " ", line.replace("title", "x"), line[:]):
        assert text.startswith("::warning")
        assert not isinstance(text, Annotation)


@settings(deadline=None, max_examples=400)
@given(FOREIGN)
@example("[ ] task")
@example("<!-- a")
@example("<b> a")
@example("> a")
@example("_www.a.b")
@example("1. a")
@example("-")
def test_github_shows_markdown_as_it_was(text: str) -> None:
    """In a paragraph, in a list and in a table: the same words and no element of their own."""
    source, seen = markdown(text, limit=10_000), one_line(text)
    for placed, tags in (
        (f"{source}\n", {"p"}),
        (f"a\n\n- {source}\n- b\n", {"p", "ul", "li"}),
        (f"before {source}\n", {"p"}),
    ):
        found = rendered(placed)
        assert found.tags <= tags, placed
        assert seen in found.text.replace(BREAK, ""), placed
        assert not OBEYED.search(found.text), placed


@settings(deadline=None, max_examples=400)
@given(FOREIGN, FOREIGN)
def test_github_shows_table_cells_as_they_were(first: str, second: str) -> None:
    """A row keeps its columns, a cell its words."""
    row = f"| {markdown(first, 10_000)} | {markdown(second, 10_000)} | end |"
    found = rendered(f"| a | b | c |\n| :-- | --: | :-- |\n{row}\n")

    assert found.tags <= {"table", "thead", "tbody", "tr", "th", "td"}
    cells = [cell.replace(BREAK, "").strip() for cell in found.cells]
    assert cells == [one_line(first), one_line(second), "end"]


def test_the_judge_would_find_each_of_them() -> None:
    """Unescaped, every token is seen as something: by the renderer, or by what GitHub looks for."""
    for token in ("http://a.b", "www.a.b", "a@b.c", "<b>", "# h", "- a", "1. a", "[x](y)", "> a"):
        assert rendered(f"{token}\n").tags > {"p"} or "p" not in rendered(f"{token}\n").tags, token
    for token in ("@name", "owner/repo#2", "GH-12", ":smile:", "deadbeef", "$x$"):
        assert OBEYED.search(token), token


def test_plain_text_is_left_alone() -> None:
    """Figures, sentences and ids without Markdown in them do not change."""
    for text in (
        "latency +10.0 %",
        "-0.0100",
        "1.5 ms",
        "tests/a.py::test",
        "2 of 3 cells",
        "a - b",
    ):
        assert markdown(text) == text


def test_long_text_is_cut() -> None:
    """To the limit, which counts what a reader sees."""
    assert markdown("a|" * 300) == "a&#124;" * 199 + "a…"
    assert len(markdown("$" * 10**6)) < 10_000
