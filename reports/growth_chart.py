"""The chart of both sides of a cell over length: medians, fitted lines and where they cross."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, inf, log2

from efficarch.record import Sweep
from efficarch.scaling import Crossover, Refusal, Slope
from efficarch.stats import median_interval

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
from .plot import Box, Guide, Scale, Tick, decades

MOST_TICKS = 8


@dataclass(frozen=True)
class Curve:
    """One side: what was measured and the line fitted to it."""

    name: str
    sweep: Sweep
    fit: Slope | Refusal

    @property
    def label(self) -> str:
        """The name in the legend, with the slope where there is one."""
        if isinstance(self.fit, Refusal):
            return self.name
        return f"{self.name}, slope {self.fit.estimate.value:.2f}"


def growth_chart(
    anchor: str, title: str, curves: Sequence[Curve], crossing: Crossover | Refusal
) -> Chart:
    """Draw latency over length, both logarithmic; the lines are the fits."""
    points = [point for curve in curves for point in _points(curve)]
    names = [curve.label for curve in curves]
    plot = plot_box(len(names))
    x, x_ticks = _lengths([point.x for point in points], plot)
    bounds = [bound for point in points for bound in (point.interval.low, point.interval.high)]
    y, y_ticks = decades(bounds, plot.bottom, plot.top)
    axes = Axes(x, y, upright=True)
    return Chart(
        anchor=anchor,
        title=title,
        description=description_of(
            "Both axes are logarithmic, lower is better. A line is the fit of a side, drawn over "
            "the lengths it was fitted to.",
            points,
        ),
        width=chart_width(names),
        height=plot.bottom + 52,
        plot=plot,
        legend_x=LEGEND_X,
        x_label="sequence length (positions, logarithmic)",
        y_label="latency (ms, logarithmic, 95 % interval)",
        x_ticks=x_ticks,
        y_ticks=y_ticks,
        guides=_crossing(crossing, x, plot),
        series=tuple(
            replace(series, line=_line(curve, axes))
            for series, curve in zip(series_of(points, axes, names), curves, strict=True)
        ),
        fronts=(),
        labels=(),
        front_words=(),
    )


def _points(curve: Curve) -> list[Point]:
    found = []
    for length, rounds in zip(curve.sweep.lengths, curve.sweep.rounds_ms, strict=True):
        latency = median_interval(rounds)
        words = f"{curve.name} at length {length:,}: {number(latency.value)} ms"
        found.append(Point(curve.label, float(length), latency.value, latency, "", words))
    return found


def _line(curve: Curve, axes: Axes) -> str:
    """Return the fitted line, straight on these axes; empty where nothing was fitted."""
    fit = curve.fit
    if isinstance(fit, Refusal):
        return ""
    ends = ((fit.lengths[at], fit.fitted_ms[at]) for at in (0, -1))
    return "M" + "L".join(f"{axes.x.at(length)} {axes.y.at(ms)}" for length, ms in ends)


def _lengths(lengths: Sequence[float], plot: Box) -> tuple[Scale, tuple[Tick, ...]]:
    """Return a logarithmic scale with ticks at powers of two, as few as can be read."""
    first, last = floor(log2(min(lengths))), ceil(log2(max(lengths)))
    last = max(last, first + 1)
    scale = Scale(2.0**first, 2.0**last, plot.left, plot.right, log=True)
    step = ceil((last - first + 1) / MOST_TICKS)
    powers = range(first, last + 1, step)
    return scale, tuple(Tick(scale.at(2.0**power), f"{2**power:,}") for power in powers)


def _crossing(found: Crossover | Refusal, x: Scale, plot: Box) -> tuple[Guide, ...]:
    """Return a line at the crossover, with a bar over its interval as far as it was measured."""
    if isinstance(found, Refusal) or found.length is None:
        return ()
    here = x.at(found.length)
    low = x.at(max(found.low, found.shortest))
    high = plot.right if found.high == inf else x.at(found.high)
    y = plot.top + 24
    path = f"M{here} {plot.top}V{plot.bottom}M{low} {y}H{high}"
    leftwards = here > (plot.left + plot.right) / 2
    edge, anchor = (low - 6, "end") if leftwards else (high + 6, "start")
    return (Guide(path, edge, y + 4, f"crossover {found}", anchor),)
