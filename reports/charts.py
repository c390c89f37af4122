"""The charts of a run: latency against CosSim, and latency against sequence length."""

from collections.abc import Sequence
from dataclasses import replace

from efficarch.record import Cell, CellRun, Estimate, Measurement, Weights
from efficarch.stats import median

from .badges import reference_name, settings
from .drawing import (
    LEGEND_X,
    Axes,
    Chart,
    Point,
    chart_width,
    description_of,
    plot_box,
    series_of,
)
from .formats import number
from .plot import Tick, decades
from .tradeoff import Sample, tradeoff_chart


def charts(lines: Sequence[CellRun]) -> tuple[Chart, ...]:
    """Return the charts of a run: those of pretrained quality, then those over length."""
    samples = [(line.cell, line.measurement) for line in lines if line.measurement is not None]
    methods = list(dict.fromkeys(cell.method for cell, _ in samples))
    tradeoffs = [sample for sample in samples if _shows_tradeoff(*sample)]
    lengths = [
        sample for sample in samples if sample[0].length is not None and sample[1].saving is None
    ]
    sweeps = [group for group in _groups(lengths, with_length=False) if _sweeps(group)]
    found = [
        *[tradeoff_chart(group, methods) for group in _groups(tradeoffs, with_length=True)],
        *[_length_chart(group) for group in sweeps],
    ]
    return tuple(replace(chart, anchor=f"chart-{n}") for n, chart in enumerate(found, start=1))


def _shows_tradeoff(cell: Cell, measured: Measurement) -> bool:
    """Whether a cell gives up quality for speed: a scan backend without a keep ratio does not."""
    reduces = cell.length is None or cell.keep is not None
    # what a scan saves has charts of its own
    return reduces and measured.saving is None and measured.weights is Weights.PRETRAINED


def _sweeps(group: Sequence[Sample]) -> bool:
    """Whether a group holds more than one length; a line needs two."""
    return len({cell.length for cell, _ in group}) > 1


def _groups(samples: Sequence[Sample], *, with_length: bool) -> list[list[Sample]]:
    groups: dict[tuple[object, ...], list[Sample]] = {}
    for cell, measured in samples:
        length = cell.length if with_length else None
        same = (cell.suite, cell.model, length, cell.batch, cell.dtype, cell.device)
        key = (*same, settings(cell))
        groups.setdefault(key, []).append((cell, measured))
    return list(groups.values())


def _length_chart(group: Sequence[Sample]) -> Chart:
    """Draw latency over length on logarithmic axes, with the reference as a series of its own."""
    cell = group[0][0]
    points = [*_reference_points(group), *[_length_point(*sample) for sample in group]]
    lengths = sorted({point.x for point in points})
    names = list(dict.fromkeys(point.series for point in points))
    plot = plot_box(len(names))
    x, _ = decades(lengths, plot.left, plot.right)
    bounds = [bound for point in points for bound in (point.interval.low, point.interval.high)]
    y, y_ticks = decades(bounds, plot.bottom, plot.top)
    axes = Axes(x, y, upright=True)
    return Chart(
        anchor="",
        title=f"Latency over length: {cell.suite}, {cell.model}, batch {cell.batch}, "
        f"{cell.dtype}, {cell.device}{''.join(f', {each}' for each in settings(cell))}",
        description=description_of("Both axes are logarithmic. Lower is better.", points),
        width=chart_width(names),
        height=plot.bottom + 52,
        plot=plot,
        legend_x=LEGEND_X,
        x_label="sequence length (tokens, logarithmic)",
        y_label="latency (ms, logarithmic, 95 % interval)",
        x_ticks=tuple(Tick(x.at(length), f"{length:g}") for length in lengths),
        y_ticks=y_ticks,
        guides=(),
        series=series_of(points, axes, names),
        fronts=(),
        labels=(),
        front_words=(),
    )


def _length_point(cell: Cell, measured: Measurement) -> Point:
    keep = "" if cell.keep is None else f" keep={cell.keep:g}"
    latency = measured.latency_ms
    return Point(
        series=f"{cell.method}{keep}",
        x=float(cell.length or 1),
        y=latency.value,
        interval=latency,
        label="",
        words=f"{cell.method}{keep} at length {cell.length}: {number(latency.value)} ms",
    )


def _reference_points(group: Sequence[Sample]) -> list[Point]:
    """Return the reference once per length: its median over the cells that timed it there."""
    reference = reference_name(*group[0])
    timed: dict[int, list[Estimate]] = {}
    for cell, measured in group:
        timed.setdefault(cell.length or 1, []).append(measured.reference_ms)
    points = []
    for length, estimates in timed.items():
        middle = median([estimate.value for estimate in estimates])
        whole = Estimate(middle, min(e.low for e in estimates), max(e.high for e in estimates))
        words = f"{reference} at length {length}: {number(middle)} ms"
        points.append(Point(reference, float(length), middle, whole, "", words))
    return points
