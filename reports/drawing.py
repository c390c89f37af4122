"""What every chart is made of: its finished geometry, points, axes, series and labels."""

from collections.abc import Sequence
from dataclasses import dataclass

from efficarch.record import Estimate

from .plot import (
    CHARACTER_WIDTH,
    SHAPES,
    Box,
    Front,
    Guide,
    Label,
    Mark,
    Scale,
    Series,
    Tick,
    place_labels,
)

WIDTH = 760
LEGEND_X = 584.0
LEGEND_STEP = 18

# beyond this many points texts cover each other wherever they stand, and the legend must do
MOST_LABELS = 40

# colours of static/report.css
COLOURS = 8


@dataclass(frozen=True)
class Chart:
    """A finished chart; the template only draws it."""

    anchor: str
    title: str
    description: str
    width: float
    height: float
    plot: Box
    legend_x: float
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    guides: tuple[Guide, ...]
    series: tuple[Series, ...]
    fronts: tuple[Front, ...]
    labels: tuple[Label, ...]
    front_words: tuple[str, ...]


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


def plot_box(rows: int) -> Box:
    """Return where points stand, as high as the legend of so many rows needs."""
    return Box(64.0, 16.0, 560.0, max(344.0, 16.0 + LEGEND_STEP * rows))


def chart_width(names: Sequence[str]) -> float:
    """Return a width in which the longest name of the legend ends."""
    longest = max(len(name) for name in names)
    return max(WIDTH, round(LEGEND_X + 14 + CHARACTER_WIDTH * longest))


def legend_y(row: int) -> float:
    """Return the height of a row of the legend."""
    return 28.0 + LEGEND_STEP * row


def series_of(points: Sequence[Point], axes: Axes, order: Sequence[str]) -> tuple[Series, ...]:
    """Return the points by series, each with the look of its place in ``order``."""
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
            legend_y=legend_y(row),
        )
        for row, name in enumerate(named)
    )


def _style(index: int) -> str:
    """Return the style of a method; past the last shape they repeat hollow, then recoloured."""
    rounds = index // len(SHAPES)
    hollow = " hollow" if rounds % 2 else ""
    return f"series-{(index + 3 * (rounds // 2)) % COLOURS}{hollow}"


def _mark(point: Point, axes: Axes) -> Mark:
    x1, y1, x2, y2 = axes.whisker(point)
    caps = f"M{x1 - 4:.1f} {y1}h8M{x2 - 4:.1f} {y2}h8"
    if not axes.upright:
        caps = f"M{x1} {y1 - 4:.1f}v8M{x2} {y2 - 4:.1f}v8"
    return Mark(axes.x.at(point.x), axes.y.at(point.y), f"M{x1} {y1}L{x2} {y2}{caps}", point.words)


def _line(points: Sequence[Point], axes: Axes) -> str:
    spots = [f"{axes.x.at(p.x)} {axes.y.at(p.y)}" for p in sorted(points, key=lambda p: p.x)]
    return f"M{'L'.join(spots)}" if len(spots) > 1 else ""


def labels_of(points: Sequence[Point], axes: Axes, plot: Box) -> tuple[Label, ...]:
    """Place the labels of points clear of all marks and of each other."""
    whiskers = [axes.whisker(point) for point in points]
    obstacles = [Box(x1 - 1, y1 - 3, x2 + 1, y2 + 3) for x1, y1, x2, y2 in whiskers]
    spots = [(axes.x.at(point.x), axes.y.at(point.y), point.label) for point in points]
    obstacles += [Box(x - 6, y - 6, x + 6, y + 6) for x, y, text in spots if not text]
    return tuple(place_labels([spot for spot in spots if spot[2]], obstacles, plot))


def description_of(advice: str, points: Sequence[Point]) -> str:
    """Describe a chart in words: every point, or where to find them if they are many."""
    if len(points) > MOST_LABELS:
        return f"{advice} {len(points)} points; the tables hold their numbers."
    return " ".join([advice, *(f"{point.words}." for point in points)])
