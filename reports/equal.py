"""Methods beside random pruning at equal latency: the same images, the same time, paired."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from efficarch.record import Cell, CellRun, Estimate, Measurement, Weights
from efficarch.stats import MIN_IMAGES, mean_interval, row_at

from .badges import settings
from .formats import count
from .methods import is_control

CONTROL = "random"

TAIL = "+exact-tail"
"""What costs no CosSim: a method that has it is compared with random pruning that has it too."""

Sample = tuple[Cell, Measurement]


class Standing(Enum):
    """How a cell stands to random pruning at its latency."""

    BEATS = "beats random"
    OPEN = "cannot be told"
    LOSES = "does not beat random"
    APART = "not comparable at this latency"


@dataclass(frozen=True)
class Comparison:
    """A cell beside random pruning at its latency ratio.

    ``there`` is random's mean CosSim at that ratio and ``gap`` the mean over the images of the
    cell's CosSim less random's; both are ``None`` where ``reason`` says why nothing was compared.
    """

    cell: Cell
    measured: Measurement
    standing: Standing
    there: float | None = None
    gap: Estimate | None = None
    reason: str = ""


@dataclass(frozen=True)
class Curve:
    """CosSim of each image under random pruning over latency ratio, ascending, up to dense at 1.

    ``slack`` is the widest relative half-width of the random cells' own latency intervals.
    """

    ratios: tuple[float, ...]
    rows: tuple[tuple[float, ...], ...]
    slack: float


def comparisons(lines: Sequence[CellRun]) -> tuple[Comparison, ...]:
    """Compare every method cell on pretrained weights with random, where random was measured.

    Controls are not compared, nor cells at keep 1, which are the dense model.
    """
    groups: dict[tuple[object, ...], list[Sample]] = {}
    for line in lines:
        if line.measurement is not None and line.measurement.weights is Weights.PRETRAINED:
            groups.setdefault(place(line.cell), []).append((line.cell, line.measurement))
    return tuple(found for group in groups.values() for found in _within(group))


def place(cell: Cell) -> tuple[object, ...]:
    """Return what two cells must share to be compared."""
    same = cell.suite, cell.model, cell.length, cell.batch, cell.dtype, cell.device
    return *same, settings(cell)


def _within(group: Sequence[Sample]) -> list[Comparison]:
    controls = {
        tail: [
            measured
            for cell, measured in group
            if _untuned(cell) == CONTROL + tail and _reduces(cell, measured)
        ]
        for tail in ("", TAIL)
    }
    if not any(controls.values()):
        return []
    found = [
        _compare(cell, measured, controls[TAIL if _untuned(cell).endswith(TAIL) else ""])
        for cell, measured in group
        if cell.keep != 1 and not is_control(cell.method)
    ]
    order = list(Standing)
    # sorting is stable: what was not compared stays in the order of the run
    return sorted(
        found,
        key=lambda item: (order.index(item.standing), -item.gap.value if item.gap else 0.0),
    )


def _untuned(cell: Cell) -> str:
    """Return the method of a cell without the latency it may have been tuned for."""
    return cell.method.partition("@")[0]


def _reduces(cell: Cell, measured: Measurement) -> bool:
    """Whether a random cell gives a point of the curve; files of schema 1 know no single image."""
    return cell.keep != 1 and bool(measured.cossim_items)


def _compare(cell: Cell, measured: Measurement, controls: Sequence[Measurement]) -> Comparison:
    same = [item for item in controls if _same_images(item, measured)]
    reason = _why_apart(measured, same)
    if reason:
        return Comparison(cell, measured, Standing.APART, reason=reason)
    curve = _curve(same)
    here = row_at(measured.ratio.value, curve.ratios, curve.rows)
    gap = _gap(measured, curve)
    standing = Standing.BEATS if gap.low > 0 else Standing.LOSES if gap.high < 0 else Standing.OPEN
    return Comparison(cell, measured, standing, sum(here) / len(here), gap)


def _same_images(first: Measurement, second: Measurement) -> bool:
    """Whether images pair up; ``source`` holds their number and a digest of their content."""
    same_number = len(first.cossim_items) == len(second.cossim_items)
    return same_number and (first.source, first.seed) == (second.source, second.seed)


def _why_apart(measured: Measurement, controls: Sequence[Measurement]) -> str:
    ratio = measured.ratio.value
    if not controls:
        return "random was not measured on these images in this form"
    if len(measured.cossim_items) < MIN_IMAGES:
        amount = count(len(measured.cossim_items), "image")
        return f"{amount}, fewer than the {MIN_IMAGES} an interval needs"
    if ratio > 1:
        return f"slower than the dense model: ratio {ratio:.3f}"
    fastest = min(item.ratio.value for item in controls)
    if ratio < fastest:
        return f"faster than every random cell: ratio {ratio:.3f}, the fastest has {fastest:.3f}"
    return ""


def _curve(controls: Sequence[Measurement]) -> Curve:
    # a random cell no faster than dense gives nothing: dense has the same latency and CosSim 1
    faster = sorted(
        (item for item in controls if item.ratio.value < 1), key=lambda item: item.ratio.value
    )
    dense = (1.0,) * len(controls[0].cossim_items)
    return Curve(
        ratios=(*(item.ratio.value for item in faster), 1.0),
        rows=(*(item.cossim_items for item in faster), dense),
        slack=max(_half_width(item.ratio) for item in controls),
    )


def _half_width(ratio: Estimate) -> float:
    return max(ratio.high / ratio.value, ratio.value / ratio.low) - 1


def _gap(measured: Measurement, curve: Curve) -> Estimate:
    """Return the mean paired difference; its interval holds for the latencies' intervals too.

    Random is read off at the cell's ratio and at both ends of that ratio's interval, widened by
    random's own uncertainty; the interval returned encloses those of all three.
    """
    ratio, slack = measured.ratio, 1 + curve.slack
    point, *ends = (
        mean_interval(_differences(measured, curve, x))
        for x in (ratio.value, ratio.low / slack, ratio.high * slack)
    )
    low = min(point.low, *(end.low for end in ends))
    high = max(point.high, *(end.high for end in ends))
    return Estimate(point.value, low, high)


def _differences(measured: Measurement, curve: Curve, ratio: float) -> list[float]:
    control = row_at(ratio, curve.ratios, curve.rows)
    return [own - other for own, other in zip(measured.cossim_items, control, strict=True)]
