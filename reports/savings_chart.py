"""The charts of updates saved: against CosSim, its 5th percentile, and bits per byte lost."""

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite

from efficarch.record import Estimate

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
from .formats import cossim
from .plot import Guide, straight
from .savings import Saver
from .tradeoff import NEAREST, cossim_axis

X_LABEL = "state updates saved (share of all)"

ROOM = 0.03
DODGE = 7.0
"""Pixels between planners at the same share, so that their intervals do not cover each other."""


def savings_charts(savers: Sequence[Saver], where: str) -> tuple[Chart, ...]:
    """Return the charts of savers of one input; none for a single one."""
    if len(savers) < 2:
        return ()
    found = [
        _cossim_chart(savers, f"Updates saved against mean CosSim: {where}", percentile=False),
        _cossim_chart(savers, f"Updates saved against CosSim, p5: {where}", percentile=True),
    ]
    if any(saver.bits_lost is not None for saver in savers):
        found.append(_bits_chart(savers, f"Updates saved against bits per byte lost: {where}"))
    return tuple(found)


def name_of(saver: Saver, savers: Sequence[Saver]) -> str:
    """Name a line: the planner, with what else varies among the savers."""
    common = set.intersection(*(set(each.way) for each in savers))
    return " ".join((saver.cell.method, *(part for part in saver.way if part not in common)))


def _cossim_chart(savers: Sequence[Saver], title: str, *, percentile: bool) -> Chart:
    points = []
    for saver in savers:
        found = saver.measured.cossim
        value, what = (found.p5, "p5 of CosSim") if percentile else (found.mean, "mean CosSim")
        y = max(NEAREST, round(1 - value, 9))
        words = f"{_words(saver, savers)}: {what} {cossim(value)}"
        points.append(_point(saver, savers, Estimate(y, y, y), words))
    plot = plot_box(len({point.series for point in points}))
    x, x_ticks = straight([0.0, *(point.x for point in points)], plot.left, plot.right)
    y_axis, y_ticks = cossim_axis([point.y for point in points], plot)
    label = "CosSim, 5th percentile" if percentile else "CosSim, mean"
    chart = _chart(title, points, Axes(x, y_axis, upright=True))
    return replace(
        chart,
        description=description_of("Upper right is better.", points),
        y_label=f"{label} (log of 1 \N{MINUS SIGN} CosSim)",
        x_ticks=x_ticks,
        y_ticks=y_ticks,
    )


def _bits_chart(savers: Sequence[Saver], title: str) -> Chart:
    points = []
    for saver in savers:
        bits = saver.bits_lost
        if bits is None:
            continue
        shown = bits if isfinite(bits.low) else Estimate(bits.value, bits.value, bits.value)
        words = f"{_words(saver, savers)}: {bits.value:+.4f} bits per byte"
        points.append(_point(saver, savers, shown, words))
    plot = plot_box(len({point.series for point in points}))
    # room beside the last ones, which stand side by side
    longest = ROOM + max(point.x for point in points)
    x, x_ticks = straight([0.0, longest], plot.left, plot.right)
    bounds = [bound for point in points for bound in (point.interval.low, point.interval.high)]
    y, y_ticks = straight([0.0, *bounds], plot.bottom, plot.top)
    axes = Axes(x, y, upright=True)
    chart = _chart(title, _dodged(points, axes), axes)
    zero = y.at(0.0)
    return replace(
        chart,
        description=description_of(
            "Lower right is better. Points at one share stand side by side.", points
        ),
        y_label="bits per byte lost (paired by segment, 95 % interval)",
        x_ticks=x_ticks,
        y_ticks=y_ticks,
        guides=(
            Guide(f"M{plot.left} {zero}H{plot.right}", plot.right - 4, zero - 6, "nothing lost"),
        ),
    )


def _point(saver: Saver, savers: Sequence[Saver], value: Estimate, words: str) -> Point:
    x = saver.saving.updates_saved
    return Point(name_of(saver, savers), x, value.value, value, "", words)


def _words(saver: Saver, savers: Sequence[Saver]) -> str:
    return f"{name_of(saver, savers)} at {100 * saver.saving.updates_saved:.1f} % saved"


def _dodged(points: Sequence[Point], axes: Axes) -> list[Point]:
    names = list(dict.fromkeys(point.series for point in points))
    per_pixel = (axes.x.high - axes.x.low) / (axes.x.end - axes.x.start)
    middle = (len(names) - 1) / 2
    return [
        point
        if point.x == 0
        else replace(point, x=point.x + DODGE * per_pixel * (names.index(point.series) - middle))
        for point in points
    ]


def _chart(title: str, points: Sequence[Point], axes: Axes) -> Chart:
    names = list(dict.fromkeys(point.series for point in points))
    plot = plot_box(len(names))
    return Chart(
        anchor="",
        title=title,
        description="",
        width=chart_width(names),
        height=plot.bottom + 52,
        plot=plot,
        legend_x=LEGEND_X,
        x_label=X_LABEL,
        y_label="",
        x_ticks=(),
        y_ticks=(),
        guides=(),
        series=series_of(points, axes, names),
        fronts=(),
        labels=(),
        front_words=(),
    )
