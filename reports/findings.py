"""What the cells of a suite say about each other in words: does a method beat random pruning?"""

from collections.abc import Mapping, Sequence

from efficarch.record import Cell, CellRun, Measurement, Weights

from .badges import settings, variant
from .equal import CONTROL, Comparison, Standing, place
from .formats import count, distinct, signed
from .methods import is_control

# more sentences than this under one table would not be read
SHOWN = 12

# cells that one sentence lists, so that it fits a line of the summary; the table has them all
LISTED = 4

Sample = tuple[Cell, Measurement]


def equal_sentences(compared: Sequence[Comparison]) -> tuple[str, ...]:
    """Say for each model and batch which cells beat random pruning at equal latency."""
    groups: dict[tuple[object, ...], list[Comparison]] = {}
    for item in compared:
        groups.setdefault(place(item.cell), []).append(item)
    return tuple(
        _equal_sentence(standing, [item for item in group if item.standing is standing], group)
        for group in groups.values()
        for standing in Standing
        if any(item.standing is standing for item in group)
    )


_EQUAL_WORDS = {
    Standing.BEATS: "Beats random pruning at equal latency",
    Standing.OPEN: "Cannot be told from random pruning at equal latency",
    Standing.LOSES: "Does not beat random pruning at equal latency",
    Standing.APART: "Not comparable with random pruning at this latency",
}


def _equal_sentence(
    standing: Standing, items: Sequence[Comparison], group: Sequence[Comparison]
) -> str:
    cell = items[0].cell
    left_out = len(items) - LISTED
    listed = [_gap_words(item) for item in items[:LISTED]]
    listed += [f"{left_out} more"] if left_out > 0 else []
    where = f"{cell.model}, batch {cell.batch}, {cell.dtype}, {cell.device}"
    return (
        f"{_EQUAL_WORDS[standing]} ({where}), {len(items)} of {count(len(group), 'cell')}: "
        f"{'; '.join(listed)}."
    )


def _gap_words(item: Comparison) -> str:
    # why a cell was not compared stands in the table
    return f"{variant(item.cell)} {signed(item.gap)}" if item.gap else variant(item.cell)


def control_sentences(lines: Sequence[CellRun]) -> tuple[str, ...]:
    """Say where random pruning keeps more CosSim than a method at equal keep, batch and input.

    Of all controls this one is the bar; the others stand in the table beside it.
    """
    measured = {
        _place(line.cell, line.cell.method): (line.cell, line.measurement)
        for line in lines
        if line.measurement is not None and line.measurement.weights is Weights.PRETRAINED
    }
    # a control that keeps every token has no keep ratio: it is a reference, nothing to beat
    names = dict.fromkeys(cell.method for cell, _ in measured.values() if cell.keep is not None)
    return _sentences(CONTROL, measured) if CONTROL in names else ()


def _sentences(name: str, measured: Mapping[tuple[object, ...], Sample]) -> tuple[str, ...]:
    beaten: list[tuple[float, str]] = []
    rivals = 0
    for cell, result in measured.values():
        control = measured.get(_place(cell, name))
        if control is None or cell.keep is None or is_control(cell.method):
            continue
        rivals += 1
        if control[1].cossim.mean > result.cossim.mean:
            gap = control[1].cossim.mean - result.cossim.mean
            beaten.append((gap, _sentence(name, cell, result, control[1])))
    if rivals and not beaten:
        return (f"{name} beats no method by CosSim ({count(rivals, 'cell')} compared).",)
    # the widest gap first; sorting is stable, so equal gaps stay in the order of the run
    sentences = [sentence for _, sentence in sorted(beaten, key=lambda item: -item[0])]
    left_out = len(sentences) - SHOWN
    more = [f"{name} also beats {count(left_out, 'more cell')}."] if left_out > 0 else []
    return (*sentences[:SHOWN], *more)


def _place(cell: Cell, method: str) -> tuple[object, ...]:
    same = cell.model, method, cell.keep, cell.length, cell.batch, cell.dtype, cell.device
    return *same, settings(cell)


def _sentence(name: str, cell: Cell, result: Measurement, control: Measurement) -> str:
    more, less = distinct(control.cossim.mean, result.cossim.mean)
    place = variant(cell).removeprefix(cell.method).strip()
    at = f"{place}, " if place else ""
    what = f"{name} pruning" if cell.length is None else name
    return (
        f"{what} keeps more than {cell.method} at {at}batch {cell.batch}: "
        f"{more} against {less} (mean CosSim, {cell.model}, {cell.dtype}, {cell.device})."
    )
