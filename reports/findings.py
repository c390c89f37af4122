"""What the cells of a suite say about each other: does a method beat random pruning?"""

from collections.abc import Mapping, Sequence

from efficarch.record import Cell, CellRun, Measurement, Weights

from .badges import variant
from .formats import count, distinct
from .methods import is_control

# more sentences than this under one table would not be read
SHOWN = 12

Sample = tuple[Cell, Measurement]


def control_sentences(lines: Sequence[CellRun]) -> tuple[str, ...]:
    """Say where a control keeps more CosSim than a method at equal keep, batch and input."""
    measured = {
        _place(line.cell, line.cell.method): (line.cell, line.measurement)
        for line in lines
        if line.measurement is not None and line.measurement.weights is Weights.PRETRAINED
    }
    # a control that keeps every token has no keep ratio: it is a reference, nothing to beat
    names = dict.fromkeys(cell.method for cell, _ in measured.values() if cell.keep is not None)
    controls = [name for name in names if is_control(name)]
    return tuple(sentence for name in controls for sentence in _sentences(name, measured))


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
    return cell.model, method, cell.keep, cell.length, cell.batch, cell.dtype, cell.device


def _sentence(name: str, cell: Cell, result: Measurement, control: Measurement) -> str:
    more, less = distinct(control.cossim.mean, result.cossim.mean)
    place = variant(cell).removeprefix(cell.method).strip()
    at = f"{place}, " if place else ""
    what = f"{name} pruning" if cell.length is None else name
    return (
        f"{what} keeps more than {cell.method} at {at}batch {cell.batch}: "
        f"{more} against {less} (mean CosSim, {cell.model}, {cell.dtype}, {cell.device})."
    )
