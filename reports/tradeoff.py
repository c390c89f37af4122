"""The chart of latency against CosSim, with its Pareto front."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from efficarch.record import Cell, Measurement
from efficarch.stats import pareto_front

from .badges import reference_name, settings, variant
from .drawing import (
    LEGEND_X,
    MOST_LABELS,
    Axes,
    Chart,
    Point,
    chart_width,
    description_of,
    labels_of,
    legend_y,
    plot_box,
    series_of,
)
from .formats import cossim
from .plot import Box, Front, Guide, Scale, Series, Tick, decades, straight

Sample = tuple[Cell, Measurement]

FRONT = "Pareto front"

NEAREST = 1e-4
"""Least distance 1 - CosSim the axis tells apart; exact methods stand on its upper edge."""


@dataclass(frozen=True)
class Tradeoff:
    """Points of one chart, ``y`` being 1 - CosSim, and those of them on the front."""

    points: tuple[Point, ...]
    front: tuple[Point, ...]

    @property
    def crowded(self) -> bool:
        """Whether there are too many points for a label and a line each."""
        return len(self.points) > MOST_LABELS


def tradeoff_chart(group: Sequence[Sample], methods: Sequence[str]) -> Chart:
    """Draw latency ratio against mean CosSim; a method looks the same in every chart."""
    cell = group[0][0]
    data = _tradeoff(group)
    plot = plot_box(len({point.series for point in data.points}) + 1)
    axes, x_ticks, y_ticks = _axes(data.points, plot)
    reference = reference_name(*group[0])
    length = "" if cell.length is None else f", length {cell.length}"
    series = _series(data, axes, methods)
    return Chart(
        anchor="",
        title=f"Latency against CosSim: {cell.suite}, {cell.model}, batch {cell.batch}, "
        f"{cell.dtype}, {cell.device}{length}{''.join(f', {each}' for each in settings(cell))}",
        description=_description(data),
        width=chart_width([item.name for item in series]),
        height=plot.bottom + 52,
        plot=plot,
        legend_x=LEGEND_X,
        x_label=f"latency relative to {reference} (ratio, 95 % interval)",
        y_label="mean CosSim (logarithmic in 1 \N{MINUS SIGN} CosSim)",
        x_ticks=x_ticks,
        y_ticks=y_ticks,
        guides=(_guide(axes.x.at(1.0), plot, reference),),
        series=series,
        fronts=(Front(_steps(data.front, axes), FRONT, legend_y(len(series))),),
        labels=labels_of(_labelled(data), axes, plot),
        front_words=tuple(point.words for point in data.front),
    )


def _tradeoff(group: Sequence[Sample]) -> Tradeoff:
    points = tuple(_point(*sample) for sample in group)
    spots = [(measured.ratio.value, measured.cossim.mean) for _, measured in group]
    return Tradeoff(points, tuple(points[index] for index in pareto_front(spots)))


def _point(cell: Cell, measured: Measurement) -> Point:
    # the marker and the legend name the method; at keep 1 all lie on the dense model
    keep = cell.method if cell.keep is None else f"{cell.keep:g}"
    ratio = measured.ratio
    return Point(
        series=cell.method,
        x=ratio.value,
        # rounded, so that a CosSim of 0.9 lies on its tick
        y=max(NEAREST, round(1 - measured.cossim.mean, 9)),
        interval=ratio,
        label="" if cell.keep == 1 else keep,
        words=f"{variant(cell)}: ratio {ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}], "
        f"CosSim {cossim(measured.cossim.mean)}",
    )


def _axes(points: Sequence[Point], plot: Box) -> tuple[Axes, tuple[Tick, ...], tuple[Tick, ...]]:
    bounds = [bound for point in points for bound in (point.interval.low, point.interval.high)]
    x, x_ticks = straight([*bounds, 1.0], plot.left, plot.right)
    y, y_ticks = cossim_axis([point.y for point in points], plot)
    return Axes(x, y, upright=False), x_ticks, y_ticks


def cossim_axis(distances: Sequence[float], plot: Box) -> tuple[Scale, tuple[Tick, ...]]:
    """Return an axis logarithmic in 1 - CosSim, best on top, with ticks that read as CosSim."""
    y, ticks = decades(distances, plot.top, plot.bottom)
    return y, _cossim_ticks(y, ticks)


def _cossim_ticks(y: Scale, distances: Sequence[Tick]) -> tuple[Tick, ...]:
    """Write ticks of 1 - CosSim as CosSim; the nearest one stands for all that is nearer."""
    return tuple(
        replace(tick, text=f"{'≥ ' if distance <= NEAREST else ''}{round(1 - distance, 6):g}")
        for tick in distances
        for distance in (float(tick.text),)
    )


def _guide(one: float, plot: Box, reference: str) -> Guide:
    return Guide(f"M{one} {plot.top}V{plot.bottom}", one - 5, plot.bottom - 8, reference)


def _steps(front: Sequence[Point], axes: Axes) -> str:
    """Return the path of the best CosSim measured at each latency or less."""
    spots = [(axes.x.at(point.x), axes.y.at(point.y)) for point in front]
    (x, y), *others = spots
    return f"M{x} {y}" + "".join(f"H{right}V{up}" for right, up in others)


def _series(data: Tradeoff, axes: Axes, methods: Sequence[str]) -> tuple[Series, ...]:
    """Return the series, joined by lines unless these would hide the points."""
    series = series_of(data.points, axes, methods)
    return tuple(replace(item, line="") for item in series) if data.crowded else series


def _labelled(data: Tradeoff) -> list[Point]:
    """Return the points with their labels: where they are many, the front's, by its number."""
    if not data.crowded:
        return list(data.points)
    numbers = {id(point): str(number) for number, point in enumerate(data.front, start=1)}
    return [replace(point, label=numbers.get(id(point), "")) for point in data.points]


def _description(data: Tradeoff) -> str:
    front = "; ".join(point.words for point in data.front)
    advice = f"Upper left is better. {FRONT}, fastest first: {front}."
    return description_of(advice, data.points)
