"""Parts of a chart: scales, ticks, marks and labels that keep clear of each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

# marker outlines around (0, 0); a method is told by its shape first and its colour second
SHAPES = (
    "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z",
    "M-4.5 -4.5h9v9h-9z",
    "M0 -6L5.6 4.2H-5.6z",
    "M0 -6.5L5.5 0L0 6.5L-5.5 0z",
    "M0 6L5.6 -4.2H-5.6z",
    "M-1.8 -5.5h3.6v3.7h3.7v3.6h-3.7v3.7h-3.6v-3.7h-3.7v-3.6h3.7z",
    "M-5 -5L5 5V-5L-5 5z",
    "M0 -6.5L1.8 -1.8L6.5 0L1.8 1.8L0 6.5L-1.8 1.8L-6.5 0L-1.8 -1.8z",
)

CHARACTER_WIDTH = 6.8
LINE_HEIGHT = 13.0


@dataclass(frozen=True)
class Box:
    """An upright rectangle."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: "Box") -> bool:
        """Whether two boxes share any area."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def holds(self, other: "Box") -> bool:
        """Whether another box lies wholly inside this one."""
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.top <= other.top
            and other.bottom <= self.bottom
        )


@dataclass(frozen=True)
class Tick:
    """A position on an axis with its number."""

    position: float
    text: str


@dataclass(frozen=True)
class Scale:
    """A straight or logarithmic map from data to pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Return the pixel of a value, to a tenth so that files stay small and stable."""
        low, high, here = (
            (log10(self.low), log10(self.high), log10(value))
            if self.log
            else (self.low, self.high, value)
        )
        return round(self.start + (here - low) / (high - low) * (self.end - self.start), 1)


@dataclass(frozen=True)
class Mark:
    """One point with its interval; ``words`` is its tooltip."""

    x: float
    y: float
    whisker: str
    words: str


@dataclass(frozen=True)
class Series:
    """The points of one method: shape, style and the line through them."""

    name: str
    shape: str
    style: str
    line: str
    marks: tuple[Mark, ...]
    legend_y: float


@dataclass(frozen=True)
class Guide:
    """A dashed line with its words; ``anchor`` says which end of them stands at ``x``."""

    path: str
    x: float
    y: float
    text: str
    anchor: str = "end"


@dataclass(frozen=True)
class Front:
    """A line along the best points, with its name in the legend."""

    path: str
    name: str
    legend_y: float


def step_of(span: float, wanted: int = 6) -> float:
    """Return the largest of 1, 2 or 5 times a power of ten that gives the wanted ticks."""
    size = 10.0 ** floor(log10(span / wanted))
    return next(size * factor for factor in (1, 2, 5, 10) if span / (size * factor) <= wanted)


def straight(values: Sequence[float], start: float, end: float) -> tuple[Scale, tuple[Tick, ...]]:
    """Return a scale over all values, ending on its ticks."""
    low, high = min(values), max(values)
    step = step_of(max(high - low, 0.004))
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    last = max(last, first + 1)
    decimals = max(0, -floor(log10(step) + 1e-9))
    scale = Scale(first * step, last * step, start, end)
    # adding zero turns -0.0 into 0.0
    numbers = [n * step + 0.0 for n in range(first, last + 1)]
    return scale, tuple(Tick(scale.at(value), f"{value:.{decimals}f}") for value in numbers)


def decades(values: Sequence[float], start: float, end: float) -> tuple[Scale, tuple[Tick, ...]]:
    """Return a logarithmic scale over positive values with ticks at 1, 2 and 5."""
    # a decade more on the low side: rounding lifts the logarithm of a value just below a power
    first, last = floor(log10(min(values))) - 1, ceil(log10(max(values)))
    marks = [factor * 10.0**power for power in range(first, last + 1) for factor in (1, 2, 5)]
    low = max((mark for mark in marks if mark <= min(values)), default=min(values))
    high = min((mark for mark in marks if mark > max(values)), default=10 * max(values))
    scale = Scale(low, high, start, end, log=True)
    inside = [mark for mark in marks if low <= mark <= high]
    return scale, tuple(Tick(scale.at(mark), f"{mark:g}") for mark in inside)


@dataclass(frozen=True)
class Label:
    """A text near its mark; ``leader`` is the path of a line to it where it had to move away."""

    x: float
    y: float
    anchor: str
    text: str
    leader: str


# dx, dy, anchor: beside the mark first, then at the corners, then farther off with a leader line
_NEAR = ((10, 4, "start"), (-10, 4, "end"), (0, -10, "middle"), (0, 19, "middle"))
_CORNERS = ((8, -8, "start"), (8, 17, "start"), (-8, -8, "end"), (-8, 17, "end"))
_FAR = tuple(
    (dx, dy, "start" if dx > 0 else "end")
    for dy in (-24, 32, -40, 48, -56, 64)
    for dx in (16, -16, 40, -40)
)


def place_labels(
    marks: Sequence[tuple[float, float, str]], obstacles: Sequence[Box], plot: Box
) -> list[Label]:
    """Put a text beside every mark where it covers no mark, no obstacle and no earlier text."""
    taken = [Box(x - 6, y - 6, x + 6, y + 6) for x, y, _ in marks] + list(obstacles)
    labels = []
    for x, y, text in marks:
        options = [
            (dx, dy, anchor, _extent(x + dx, y + dy, anchor, text))
            for dx, dy, anchor in (*_NEAR, *_CORNERS, *_FAR)
        ]
        dx, dy, anchor, box = min(options, key=lambda option: _clashes(option[3], taken, plot))
        taken.append(box)
        far = (dx, dy, anchor) in _FAR
        leader = f"M{x} {y}L{round(x + dx, 1)} {round(y + dy - 4, 1)}" if far else ""
        labels.append(Label(round(x + dx, 1), round(y + dy, 1), anchor, text, leader))
    return labels


def _extent(x: float, y: float, anchor: str, text: str) -> Box:
    width = len(text) * CHARACTER_WIDTH
    left = {"start": x, "middle": x - width / 2, "end": x - width}[anchor]
    return Box(left, y - LINE_HEIGHT + 3, left + width, y + 3)


def _clashes(box: Box, taken: Sequence[Box], plot: Box) -> int:
    outside = 0 if plot.holds(box) else 2
    return outside + sum(box.overlaps(other) for other in taken)
