"""One kept snapshot per component, so that a change of one shows as a small diff."""

from reports.render import fragment, markdown
from reports.view import build
from tests import samples
from tests.reports import cases
from tests.reports.golden import assert_golden


def test_verdict_golden() -> None:
    """The verdict of a failing run is placed as kept."""
    assert_golden("report-verdict.html", fragment("verdict.html.j2", build(cases.every_state())))


def test_table_golden() -> None:
    """A table against a baseline, with a failing and an unmeasured row, is placed as kept."""
    now = samples.run(
        cases.reduced("tome", 0.976),
        cases.slower(cases.reduced("norm", 0.95, ratio=0.55), 1.32),
        *cases.every_state().cells[6:8],
    )
    base = samples.run(cases.reduced("tome", 0.976), cases.reduced("norm", 0.95, ratio=0.55))
    assert_golden("report-table.html", fragment("tables.html.j2", build(now, base)))


def test_equal_latency_golden() -> None:
    """The table at equal latency, with every standing, is placed as kept."""
    text = fragment("tables.html.j2", build(cases.every_standing()))
    assert_golden("report-equal.html", text[text.index('<h3 id="suite-1-equal">') :])


def test_chart_golden() -> None:
    """The charts of a run, one of each kind, are drawn as kept."""
    assert_golden("report-chart.svg", fragment("charts.html.j2", build(cases.every_state())))


def test_summary_golden() -> None:
    """The Markdown summary is laid out as kept."""
    assert_golden("report-summary.md", markdown(build(cases.every_state())))


def test_growth_golden() -> None:
    """A cell that keeps its ranges and one that leaves them are placed as kept."""
    run = samples.run(cases.swept(), cases.swept("steep", scaling=cases.STEEP))
    assert_golden("report-growth.html", fragment("growth.html.j2", build(run)))


def test_savings_golden() -> None:
    """Planners in a model and on signals are placed as kept."""
    assert_golden("report-savings.html", fragment("savings.html.j2", build(cases.every_saving())))
