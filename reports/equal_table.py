"""The table "At equal latency" of a suite: comparisons as rows of ready-made text."""

from collections.abc import Sequence
from dataclasses import dataclass

from .badges import variant
from .equal import Comparison, Standing
from .formats import ABSENT, cossim, interval, signed


@dataclass(frozen=True)
class EqualRow:
    """A cell beside random pruning at its latency."""

    name: str
    place: str
    ratio: str
    ratio_interval: str
    cossim: str
    there: str
    gap: str
    gap_interval: str
    glyph: str
    words: str
    style: str
    reason: str


@dataclass(frozen=True)
class EqualTable:
    """Every cell of a suite that could be set beside random pruning."""

    anchor: str
    caption: str
    rows: tuple[EqualRow, ...]


# glyph and style of a verdict, whose words alone suffice
_LOOKS = {
    Standing.BEATS: ("✓", "pass"),
    Standing.OPEN: ("?", "inconclusive"),
    Standing.LOSES: ("✕", "fail"),
    Standing.APART: ("○", "not-comparable"),
}


def equal_table(anchor: str, suite: str, compared: Sequence[Comparison]) -> EqualTable | None:
    """Return the table, or ``None`` where random was not measured."""
    if not compared:
        return None
    caption = (
        f"{suite}: mean CosSim of each cell and of random pruning, read off at the same latency "
        "ratio between the random cells and the dense model"
    )
    return EqualTable(anchor, caption, tuple(_row(item) for item in compared))


def _row(item: Comparison) -> EqualRow:
    cell, ratio = item.cell, item.measured.ratio
    gap, _, bounds = signed(item.gap).partition(" ") if item.gap else (ABSENT, "", "")
    glyph, style = _LOOKS[item.standing]
    return EqualRow(
        name=variant(cell),
        place=f"batch {cell.batch}, {cell.model}, {cell.dtype}, {cell.device}",
        ratio=f"{ratio.value:.3f}",
        ratio_interval=interval(ratio, 3),
        cossim=cossim(item.measured.cossim.mean),
        there=ABSENT if item.there is None else cossim(item.there),
        gap=gap,
        gap_interval=bounds,
        glyph=glyph,
        words=item.standing.value,
        style=style,
        reason=item.reason,
    )
