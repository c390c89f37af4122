"""The geometry of the charts."""

from dataclasses import replace
from itertools import combinations

import pytest

from efficarch.record import CellRun, Weights
from reports.charts import charts
from reports.drawing import CHARACTER_WIDTH, MOST_LABELS, plot_box
from reports.plot import Box, decades, place_labels, straight
from tests import samples
from tests.reports import cases

PLOT = plot_box(1)


def test_controls_stand_beside_methods_with_shapes_of_their_own() -> None:
    """random, norm and tome share a chart, each with its own marker shape and its keep ratio."""
    chart = charts(cases.every_state().cells)[0]
    shapes = {series.name: series.shape for series in chart.series}
    assert {"random", "norm", "tome"} <= set(shapes)
    assert len(set(shapes.values())) == len(shapes)
    assert [label.text for label in chart.labels].count("0.5") >= 3


def test_points_at_keep_1_have_no_label_to_hide_others() -> None:
    """At keep 1 all methods lie on one spot; a method without a keep ratio is named."""
    keeps = [("tome", 1.0), ("tome", 0.5), ("exact-tail", None)]
    (chart,) = charts(
        [
            samples.line(samples.cell(method, keep=keep), measured=samples.measurement(cossim=0.9))
            for method, keep in keeps
        ]
    )
    assert sorted(label.text for label in chart.labels) == ["0.5", "exact-tail"]


def test_methods_past_the_last_shape_are_hollow_and_then_recoloured() -> None:
    """Sixteen methods differ without their colour, and fifty still look different with it."""
    lines = [cases.reduced(f"m{number}", 0.9 + number / 1000) for number in range(50)]
    (chart,) = charts(lines)
    shapes = {(series.shape, "hollow" in series.style) for series in chart.series[:16]}
    assert len(shapes) == 16
    assert len({(series.shape, series.style) for series in chart.series}) == 50


def test_the_plot_is_as_high_as_its_legend() -> None:
    """With many methods every name of the legend stands beside the plot, and inside the chart."""
    lines = [cases.reduced(f"method-number-{number}+exact-tail", 0.95) for number in range(30)]
    (chart,) = charts(lines)
    rows = [series.legend_y for series in chart.series] + [front.legend_y for front in chart.fronts]
    assert chart.plot.top < min(rows)
    assert max(rows) <= chart.plot.bottom
    assert len(set(rows)) == 31
    longest = max(len(series.name) for series in chart.series)
    assert chart.legend_x + 14 + CHARACTER_WIDTH * longest <= chart.width + 1


def test_a_method_looks_the_same_in_every_chart() -> None:
    """Shape and style follow the method, whichever others share its chart."""
    lines = [cases.reduced("norm", 0.9), cases.reduced("tome", 0.95, batch=1)]
    lines.append(cases.reduced("tome", 0.95))
    looks = [
        (series.shape, series.style)
        for chart in charts(lines)
        for series in chart.series
        if series.name == "tome"
    ]
    assert len(looks) == 2
    assert len(set(looks)) == 1


def test_points_stand_where_their_numbers_are() -> None:
    """Faster is farther left, better is higher, and the interval encloses its point."""
    fast = cases.reduced("fast", 0.92, ratio=0.5)
    good = cases.reduced("good", 0.99, ratio=0.9)
    (chart,) = charts([fast, good])
    left, right = (series.marks[0] for series in chart.series)
    assert left.x < right.x
    assert left.y > right.y
    assert "ratio 0.500 [0.4" in left.words or "ratio 0.500 [0.5" in left.words
    for mark in (left, right):
        assert PLOT.left <= mark.x <= PLOT.right
        assert PLOT.top <= mark.y <= PLOT.bottom


def test_only_pretrained_quality_is_charted() -> None:
    """CosSim on random weights is not drawn."""
    assert charts([cases.on_random_weights(0.5)]) == ()


def test_scan_is_charted_over_length_with_its_reference() -> None:
    """The scan suite gets one log-log chart with causal attention as a series."""
    chart = charts(cases.every_state().cells)[-1]
    assert [series.name for series in chart.series] == ["causal attention", "chunked"]
    assert [tick.text for tick in chart.x_ticks] == ["256", "1024", "4096"]
    first, second, third = (tick.position for tick in chart.x_ticks)
    # equal factors of length are equal distances
    assert second - first == pytest.approx(third - second, abs=0.2)
    assert chart.series[0].line.count("L") == 2


def test_reduced_scan_with_trained_weights_has_both_charts() -> None:
    """A trained scan with a keep ratio trades quality for speed, so it gets that chart as well."""
    lines = [_trained(1024), _trained(2048)]
    kinds = [chart.title.split(":")[0] for chart in charts(lines)]
    assert kinds == ["Latency against CosSim"] * 2 + ["Latency over length"]
    assert [chart.title.split(":")[0] for chart in charts(lines[:1])] == kinds[:1]


def _trained(length: int) -> CellRun:
    line = cases.scan("mrss", length, 0.5)
    assert line.measurement is not None
    trained = samples.with_weights(line.measurement, Weights.PRETRAINED)
    return replace(line, cell=replace(line.cell, keep=0.65), measurement=trained)


def test_crowded_labels_do_not_cover_each_other() -> None:
    """Labels of points close together move apart."""
    marks = [(300 + 3.0 * i, 200 + 4.0 * i, f"method{i} 0.5") for i in range(8)]
    labels = place_labels(marks, [], PLOT)
    boxes = []
    for label in labels:
        width = 6 * len(label.text)
        left = label.x - {"start": 0, "middle": width / 2, "end": width}[label.anchor]
        boxes.append(Box(left, label.y - 9, left + width, label.y + 2))
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]


def test_too_many_points_leave_names_to_the_legend() -> None:
    """Thousands of points stay drawable: only the front is labelled, the description is short."""
    lines = [
        replace(cases.reduced("tome", 0.9), cell=cases.named(f"c{n}"))
        for n in range(MOST_LABELS + 1)
    ]
    (chart,) = charts(lines)
    assert [label.text for label in chart.labels] == ["1"]
    assert f"{MOST_LABELS + 1} points" in chart.description


@pytest.mark.parametrize(
    "values", [[1.0], [1.0, 1.0], [0.5, 1.0], [-0.2, 1.0], [0.99999, 1.0], [0.3, 40.0]], ids=str
)
def test_straight_axis_encloses_its_values(values: list[float]) -> None:
    """Every value lies on the axis, and its ticks are distinct and few."""
    scale, ticks = straight(values, 0.0, 100.0)
    assert all(-0.05 <= scale.at(value) <= 100.05 for value in values)
    texts = [tick.text for tick in ticks]
    assert 2 <= len(set(texts)) == len(texts) <= 9


@pytest.mark.parametrize(
    "values",
    [[1.0], [0.004, 0.005], [256.0], [3.0, 7.0], [0.01, 900.0], [1000.0], [1 - 0.9]],
    ids=str,
)
def test_logarithmic_axis_encloses_its_values(values: list[float]) -> None:
    """Every value lies on the axis, and the axis has at least two ticks."""
    scale, ticks = decades(values, 0.0, 100.0)
    assert all(-0.05 <= scale.at(value) <= 100.05 for value in values)
    assert len(ticks) >= 2
