"""The axis of CosSim and the Pareto front of the chart of latency against CosSim."""

import re
from dataclasses import replace

import pytest

from efficarch.record import CellRun
from reports.charts import charts
from reports.drawing import MOST_LABELS
from reports.render import fragment
from reports.view import build
from tests import samples
from tests.reports import cases


def reduced(method: str, cossim: float, ratio: float, keep: float | None = 0.5) -> CellRun:
    """Return a measured line of a method."""
    measured = samples.measurement(ratio=ratio, cossim=cossim, noise=(0.0,) * 8)
    return samples.line(samples.cell(method, keep=keep), measured=measured)


def test_equal_factors_of_the_loss_are_equal_distances() -> None:
    """From 0.9 to 0.99 is as far as from 0.99 to 0.999."""
    (chart,) = charts([reduced(str(c), c, 0.5) for c in (0.9, 0.99, 0.999)])
    low, middle, high = (series.marks[0].y for series in chart.series)
    assert low - middle == pytest.approx(middle - high, abs=0.2)
    assert low > middle


def test_ticks_stand_where_their_cossim_is() -> None:
    """A point with the CosSim of a tick lies on that tick, which is labelled in CosSim."""
    (chart,) = charts([reduced("a", 0.95, 0.5), reduced("b", 0.3, 0.5), reduced("c", 1.0, 0.9)])
    ticks = {tick.text: tick.position for tick in chart.y_ticks}
    assert ticks["0.95"] == chart.series[0].marks[0].y
    assert next(iter(ticks)) == "≥ 0.9999"
    assert {"0.999", "0.99", "0.9", "0.5", "0"} <= set(ticks)
    assert "1 \N{MINUS SIGN} CosSim" in chart.y_label


@pytest.mark.parametrize("cossim", [1.0, 0.999999, 0.9999])
def test_exact_methods_stand_on_the_upper_edge(cossim: float) -> None:
    """CosSim 1 has no logarithm of its distance; the tick of the edge says what stands there."""
    (chart,) = charts([reduced("exact", cossim, 0.9), reduced("tome", 0.95, 0.5)])
    assert chart.series[0].marks[0].y == pytest.approx(chart.plot.top, abs=0.1)
    assert chart.y_ticks[0].text == "≥ 0.9999"


def test_opposite_output_is_on_the_axis() -> None:
    """CosSim may be as low as -1."""
    (chart,) = charts([reduced("broken", -1.0, 0.5), reduced("tome", 0.95, 0.5)])
    assert chart.plot.top <= chart.series[0].marks[0].y <= chart.plot.bottom


def test_an_axis_without_exact_methods_claims_none() -> None:
    """The sign for all that is nearer stands only on the tick where such points are drawn."""
    (chart,) = charts([reduced("tome", 0.95, 0.5), reduced("norm", 0.8, 0.5)])
    assert not [tick.text for tick in chart.y_ticks if "≥" in tick.text]


def test_the_front_holds_the_cells_that_none_betters() -> None:
    """A slower and worse cell is not on the front; its steps go right, then up, to the next."""
    lines = [
        reduced("slow", 0.999, 0.9),
        reduced("bettered", 0.98, 0.7),
        reduced("fast", 0.9, 0.5),
        reduced("middle", 0.99, 0.6),
    ]
    (chart,) = charts(lines)
    assert [words.split(" ")[0] for words in chart.front_words] == ["fast", "middle", "slow"]
    spots = {series.name: (series.marks[0].x, series.marks[0].y) for series in chart.series}
    (x, y), (x1, y1), (x2, y2) = (spots[name] for name in ("fast", "middle", "slow"))
    (front,) = chart.fronts
    assert front.path == f"M{x} {y}H{x1}V{y1}H{x2}V{y2}"
    assert front.name == "Pareto front"
    assert "Pareto front, fastest first: fast keep=0.5: ratio 0.500" in chart.description


def test_few_points_keep_their_labels_and_lines() -> None:
    """Below the limit every point is labelled with its keep ratio, and methods are lines."""
    (chart,) = charts([reduced("tome", 0.95, 0.5, 0.5), reduced("tome", 0.99, 0.7, 0.7)])
    assert [label.text for label in chart.labels] == ["0.5", "0.7"]
    assert chart.series[0].line


def test_of_many_points_the_front_alone_is_numbered() -> None:
    """Beyond the limit labels are numbers of the list below, and no line hides the points."""
    crowd = [
        replace(reduced("norm", 0.5, 0.8 + n / 1000), cell=replace(samples.cell("norm"), id=f"{n}"))
        for n in range(MOST_LABELS)
    ]
    front = [reduced("tome", 0.9, 0.5), reduced("tome", 0.99, 0.7, 0.7)]
    (chart,) = charts([*crowd, *front])
    assert [label.text for label in chart.labels] == ["1", "2"]
    assert [words.split(":")[0] for words in chart.front_words] == [
        "tome keep=0.5",
        "tome keep=0.7",
    ]
    assert {series.line for series in chart.series} == {""}


def test_the_front_is_in_the_legend_and_listed_below() -> None:
    """A reader finds the line by its name, and its cells as a list that needs no colour."""
    text = fragment("charts.html.j2", build(cases.every_state()))
    assert text.count(">Pareto front</text>") == 1
    listed = text[text.index('<ol class="front">') : text.index("</ol>")]
    assert re.findall(r"<li>(\w+)", listed) == ["tome", "dense"]
