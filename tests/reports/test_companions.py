"""The companions of CosSim beside it in a table."""

from dataclasses import replace

from efficarch.record import CellRun, Quality, Weights
from reports.companions import companions
from reports.render import fragment
from reports.rows import Row, Table
from reports.view import build
from tests import samples
from tests.reports import cases


def line(method: str, quality: Quality, weights: Weights = Weights.PRETRAINED) -> CellRun:
    """Return a line with companions."""
    measured = replace(samples.measurement(cossim=0.95), quality=quality, weights=weights)
    return samples.line(samples.cell(method), measured=measured)


def table(*lines: CellRun) -> Table:
    """Return the only table of a run of these lines."""
    (found,) = build(samples.run(*lines)).tables
    return found


def beside(row: Row, within: Table) -> tuple[str, ...]:
    """Return the lines of a row's companions."""
    labels = [column.label for column in within.columns]
    return row.values[labels.index("Beside CosSim")].lines


def test_every_companion_has_its_name_and_figure() -> None:
    """No field of Quality is forgotten, and those of one kind share a line."""
    values = [0.9, 0.1, 1.0, 0.97, 0.0123, 0.99, 0.96, 0.25, 0.5]
    measured = replace(samples.measurement(), quality=Quality(*values))
    assert companions(measured) == (
        "centred 0.9000, unrelated 0.1000",
        "R@1 1.000",
        "zero-shot same 0.970, zero-shot KL 0.0123",
        "accuracy kept 0.990",
        "next token same 0.960, next token KL 0.250",
        "answer KL 0.500",
    )


def test_a_row_holds_what_was_measured_of_it() -> None:
    """One row's companions bring the column; another shows its own, or a dash."""
    found = table(
        line("tome", Quality(centred=0.91, retrieval=0.875)),
        line("norm", Quality(unrelated=0.12)),
        line("random", Quality()),
    )
    assert [beside(row, found) for row in found.rows] == [
        ("centred 0.9100", "R@1 0.875"),
        ("unrelated 0.1200",),
        (),
    ]
    index = [column.label for column in found.columns].index("Beside CosSim")
    assert [row.values[index].text for row in found.rows] == ["", "", "–"]
    assert all(len(row.values) == len(found.columns) for row in found.rows)


def test_without_companions_there_is_no_column() -> None:
    """A suite whose cells have none keeps its table narrow."""
    found = table(line("tome", Quality()), line("norm", Quality()))
    assert "Beside CosSim" not in [column.label for column in found.columns]


def test_random_weights_have_no_companions() -> None:
    """Quality on random weights means nothing: it brings no column and fills no cell."""
    quality = Quality(centred=0.123456, retrieval=0.654321)
    untrained = line("fastv", quality, Weights.RANDOM)
    assert "Beside CosSim" not in [column.label for column in table(untrained).columns]

    page = build(samples.run(untrained, line("tome", Quality(centred=0.9))))
    text = fragment("page.html.j2", page)
    assert "centred 0.9000" in text
    assert "0.123" not in text
    assert "0.654" not in text


def test_companions_stand_on_the_page_with_their_meaning() -> None:
    """The lines are in the table, and the end of the page says what they are."""
    text = fragment("page.html.j2", build(cases.every_state()))
    assert "<small>centred 0.8760, unrelated 0.1000</small><small>R@1 1.000</small>" in text
    assert "Unrelated: mean CosSim of dense embeddings of different images" in text
