"""Charts as plain geometry: latency against CosSim, and latency against sequence length."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from efficarch.record import Cell, CellRun, Estimate, Measurement, Weights
from efficarch.stats import median

from .badges import reference_name, variant
from .formats import cossim, number
from .plot import (
    SHAPES,
    Box,
    Guide,
    Label,
    Mark,
    Scale,
    Series,
    Tick,
    decades,
    place_labels,
    straight,
)

WIDTH = 760
PLOT = Box(64.0, 16.0, 560.0, 344.0)
LEGEND_X = 584.0
LEGEND_STEP = 20

# beyond this many points texts cover each other wherever they stand, and the legend must do
MOST_LABELS = 40

# colours of static/report.css
COLOURS = 8

REFERENCE = "causal attention"

Sample = tuple[Cell, Measurement]


@dataclass(frozen=True)
class Chart:
    """A finished chart; the template only draws it."""

    anchor: str
    title: str
    description: str
    width: int
    height: float
    plot: Box
    legend_x: float
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    guides: tuple[Guide, ...]
    series: tuple[Series, ...]
    labels: tuple[Label, ...]


@dataclass(frozen=True)
class Point:
    """A value on each axis, before it is put on a scale."""

    series: str
    x: float
    y: float
    interval: Estimate
    label: str
    words: str


@dataclass(frozen=True)
class Axes:
    """Both scales; intervals run along y where ``upright``, else along x."""

    x: Scale
    y: Scale
    upright: bool

    def whisker(self, point: Point) -> tuple[float, float, float, float]:
        """Return both ends of the interval of a point in pixels."""
        if self.upright:
            x = self.x.at(point.x)
            return x, self.y.at(point.interval.low), x, self.y.at(point.interval.high)
        y = self.y.at(point.y)
        return self.x.at(point.interval.low), y, self.x.at(point.interval.high), y


def charts(lines: Sequence[CellRun]) -> tuple[Chart, ...]:
    """Return the charts of a run: those of pretrained quality, then those over length."""
    samples = [(line.cell, line.measurement) for line in lines if line.measurement is not None]
    methods = list(dict.fromkeys(cell.method for cell, _ in samples))
    tradeoffs = [sample for sample in samples if _shows_tradeoff(*sample)]
    lengths = [sample for sample in samples if sample[0].length is not None]
    sweeps = [group for group in _groups(lengths, with_length=False) if _sweeps(group)]
    found = [
        *[_tradeoff_chart(group, methods) for group in _groups(tradeoffs, with_length=True)],
        *[_length_chart(group) for group in sweeps],
    ]
    return tuple(replace(chart, anchor=f"chart-{n}") for n, chart in enumerate(found, start=1))


def _shows_tradeoff(cell: Cell, measured: Measurement) -> bool:
    """Whether a cell gives up quality for speed: a scan backend without a keep ratio does not."""
    reduces = cell.length is None or cell.keep is not None
    return reduces and measured.weights is Weights.PRETRAINED


def _sweeps(group: Sequence[Sample]) -> bool:
    """Whether a group holds more than one length; a line needs two."""
    return len({cell.length for cell, _ in group}) > 1


def _groups(samples: Sequence[Sample], *, with_length: bool) -> list[list[Sample]]:
    groups: dict[tuple[object, ...], list[Sample]] = {}
    for cell, measured in samples:
        length = cell.length if with_length else None
        key = (cell.suite, cell.model, length, cell.batch, cell.dtype, cell.device)
        groups.setdefault(key, []).append((cell, measured))
    return list(groups.values())


def _place(cell: Cell) -> str:
    return f"{cell.suite}, {cell.model}, batch {cell.batch}, {cell.dtype}, {cell.device}"


def _tradeoff_chart(group: Sequence[Sample], methods: Sequence[str]) -> Chart:
    """Draw latency ratio against mean CosSim; a method looks the same in every chart."""
    cell = group[0][0]
    points = [_tradeoff_point(*sample) for sample in group]
    bounds = [bound for point in points for bound in (point.interval.low, point.interval.high)]
    x, x_ticks = straight([*bounds, 1.0], PLOT.left, PLOT.right)
    lowest = min(point.y for point in points)
    # a little below the lowest point, so that its marker does not sit on the axis
    y, y_ticks = straight([lowest - 0.03 * (1.0 - lowest), 1.0], PLOT.bottom, PLOT.top)
    axes = Axes(x, y, upright=False)
    reference = reference_name(cell)
    length = "" if cell.length is None else f", length {cell.length}"
    one = x.at(1.0)
    guide = Guide(f"M{one} {PLOT.top}V{PLOT.bottom}", one - 5, PLOT.bottom - 8, reference)
    return Chart(
        anchor="",
        title=f"Latency against CosSim: {_place(cell)}{length}",
        description=_description("Upper left is better.", points),
        width=WIDTH,
        height=_height(points),
        plot=PLOT,
        legend_x=LEGEND_X,
        x_label=f"latency relative to {reference} (ratio, 95 % interval)",
        y_label="mean CosSim",
        x_ticks=x_ticks,
        y_ticks=y_ticks,
        guides=(guide,),
        series=_series(points, axes, methods),
        labels=_labels(points, axes),
    )


def _tradeoff_point(cell: Cell, measured: Measurement) -> Point:
    # the marker and the legend name the method; at keep 1 all lie on the dense model
    keep = cell.method if cell.keep is None else f"{cell.keep:g}"
    ratio = measured.ratio
    return Point(
        series=cell.method,
        x=ratio.value,
        y=measured.cossim.mean,
        interval=ratio,
        label="" if cell.keep == 1 else keep,
        words=f"{variant(cell)}: ratio {ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}], "
        f"CosSim {cossim(measured.cossim.mean)}",
    )


def _length_chart(group: Sequence[Sample]) -> Chart:
    """Draw latency over length on logarithmic axes, with the reference as a series of its own."""
    cell = group[0][0]
    points = [*_reference_points(group), *[_length_point(*sample) for sample in group]]
    lengths = sorted({point.x for point in points})
    x, _ = decades(lengths, PLOT.left, PLOT.right)
    bounds = [bound for point in points for bound in (point.interval.low, point.interval.high)]
    y, y_ticks = decades(bounds, PLOT.bottom, PLOT.top)
    axes = Axes(x, y, upright=True)
    names = list(dict.fromkeys(point.series for point in points))
    return Chart(
        anchor="",
        title=f"Latency over length: {_place(cell)}",
        description=_description("Both axes are logarithmic. Lower is better.", points),
        width=WIDTH,
        height=_height(points),
        plot=PLOT,
        legend_x=LEGEND_X,
        x_label="sequence length (tokens, logarithmic)",
        y_label="latency (ms, logarithmic, 95 % interval)",
        x_ticks=tuple(Tick(x.at(length), f"{length:g}") for length in lengths),
        y_ticks=y_ticks,
        guides=(),
        series=_series(points, axes, names),
        labels=(),
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
    timed: dict[int, list[Estimate]] = {}
    for cell, measured in group:
        timed.setdefault(cell.length or 1, []).append(measured.reference_ms)
    points = []
    for length, estimates in timed.items():
        middle = median([estimate.value for estimate in estimates])
        whole = Estimate(middle, min(e.low for e in estimates), max(e.high for e in estimates))
        words = f"{REFERENCE} at length {length}: {number(middle)} ms"
        points.append(Point(REFERENCE, float(length), middle, whole, "", words))
    return points


def _series(points: Sequence[Point], axes: Axes, order: Sequence[str]) -> tuple[Series, ...]:
    named: dict[str, list[Point]] = {}
    for point in points:
        named.setdefault(point.series, []).append(point)
    return tuple(
        Series(
            name=name,
            shape=SHAPES[order.index(name) % len(SHAPES)],
            style=_style(order.index(name)),
            line=_line(named[name], axes),
            marks=tuple(_mark(point, axes) for point in named[name]),
            legend_y=PLOT.top + 12 + LEGEND_STEP * row,
        )
        for row, name in enumerate(named)
    )


def _style(index: int) -> str:
    """Return the style of a method; past the last shape they repeat hollow."""
    hollow = " hollow" if index // len(SHAPES) % 2 else ""
    return f"series-{index % COLOURS}{hollow}"


def _mark(point: Point, axes: Axes) -> Mark:
    x1, y1, x2, y2 = axes.whisker(point)
    caps = f"M{x1 - 4:.1f} {y1}h8M{x2 - 4:.1f} {y2}h8"
    if not axes.upright:
        caps = f"M{x1} {y1 - 4:.1f}v8M{x2} {y2 - 4:.1f}v8"
    return Mark(axes.x.at(point.x), axes.y.at(point.y), f"M{x1} {y1}L{x2} {y2}{caps}", point.words)


def _line(points: Sequence[Point], axes: Axes) -> str:
    spots = [f"{axes.x.at(p.x)} {axes.y.at(p.y)}" for p in sorted(points, key=lambda p: p.x)]
    return f"M{'L'.join(spots)}" if len(spots) > 1 else ""


def _labels(points: Sequence[Point], axes: Axes) -> tuple[Label, ...]:
    if len(points) > MOST_LABELS:
        return ()
    whiskers = [axes.whisker(point) for point in points]
    obstacles = [Box(x1 - 1, y1 - 3, x2 + 1, y2 + 3) for x1, y1, x2, y2 in whiskers]
    spots = [(axes.x.at(point.x), axes.y.at(point.y), point.label) for point in points]
    obstacles += [Box(x - 6, y - 6, x + 6, y + 6) for x, y, text in spots if not text]
    return tuple(place_labels([spot for spot in spots if spot[2]], obstacles, PLOT))


def _height(points: Sequence[Point]) -> float:
    rows = len({point.series for point in points})
    return max(PLOT.bottom + 52, PLOT.top + 12 + LEGEND_STEP * rows)


def _description(advice: str, points: Sequence[Point]) -> str:
    if len(points) > MOST_LABELS:
        return f"{advice} {len(points)} points; the tables hold their numbers."
    return " ".join([advice, *(f"{point.words}." for point in points)])
