"""The section on multi-resolution scans: tables, charts and sentences as ready-made text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from math import isfinite

from efficarch.gate import bits_breach, cossim_breach
from efficarch.record import Estimate, LayerSaving, Limits

from .badges import Badge, Judged, badge, variant
from .drawing import Chart
from .formats import ABSENT, cossim, interval
from .rows import Column
from .savings import (
    CONTROL,
    Against,
    Saver,
    against_control,
    alike,
    best_against_others,
    grouped,
    savers,
)
from .savings_chart import savings_charts


@dataclass(frozen=True)
class Figure:
    """One table cell: a figure, its interval or what it belongs to, and a broken limit."""

    text: str
    detail: str = ""
    flag: str = ""


@dataclass(frozen=True)
class SavingRow:
    """One cell that deferred updates."""

    anchor: str
    name: str
    source: str
    verdict: Badge
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class LayerRow:
    """CosSim of the SSM term in every layer of one cell."""

    name: str
    layers: tuple[Figure, ...]


@dataclass(frozen=True)
class SavingView:
    """The cells of one model, or of one operator over its signals."""

    anchor: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[SavingRow, ...]
    layers: int
    layer_rows: tuple[LayerRow, ...]
    charts: tuple[Chart, ...]
    findings: tuple[str, ...]
    summary: tuple[str, ...]
    """Those of the findings that the Markdown summary has, too."""


_COLUMNS = (
    Column("Updates saved", ""),
    Column("CosSim", "mean"),
    Column("CosSim", "5th percentile"),
    Column("Bits per byte lost", "95 % interval, paired by segment"),
    Column("Relative L2", "of the SSM term; last state"),
    Column("Time saved", "95 % interval"),
)


def saving_views(judged: Sequence[Judged]) -> tuple[SavingView, ...]:
    """Return a view for every group of cells that deferred updates, in the order of the run."""
    by_id = {item.line.cell.id: item for item in judged}
    groups = grouped(savers([item.line for item in judged]))
    return tuple(_view(f"saving-{n}", group, by_id) for n, group in enumerate(groups, start=1))


def _view(anchor: str, group: Sequence[Saver], by_id: Mapping[str, Judged]) -> SavingView:
    cell = group[0].cell
    length = "" if cell.length is None else f", length {cell.length:,}"
    what = cell.suite if cell.model == cell.suite else f"{cell.suite}: {cell.model}"
    title = f"{what}, batch {cell.batch}, {cell.dtype}, {cell.device}{length}"
    charts = [
        chart
        for inputs in alike(group)
        for chart in savings_charts(inputs, f"{title}; {inputs[0].measured.source}")
    ]
    best = tuple(map(best_sentence, best_against_others(group)))
    layered = [saver for saver in group if saver.saving.layers]
    figures = [_figures(saver, by_id[saver.cell.id].line.limits) for saver in group]
    # a column that no cell of the group fills is left out
    shown = [any(row[n].text != ABSENT for row in figures) for n in range(len(_COLUMNS))]
    return SavingView(
        anchor=anchor,
        title=title,
        columns=tuple(compress(_COLUMNS, shown)),
        rows=tuple(
            _row(saver, by_id[saver.cell.id], tuple(compress(row, shown)))
            for saver, row in zip(group, figures, strict=True)
        ),
        layers=max((len(saver.saving.layers) for saver in layered), default=0),
        layer_rows=tuple(_layer_row(saver) for saver in layered),
        charts=tuple(
            replace(chart, anchor=f"{anchor}-chart-{n}") for n, chart in enumerate(charts, start=1)
        ),
        findings=(*best, *map(control_sentence, against_control(group))),
        summary=best,
    )


def _row(saver: Saver, item: Judged, figures: tuple[Figure, ...]) -> SavingRow:
    return SavingRow(
        anchor=item.anchor,
        name=variant(saver.cell),
        source=saver.measured.source,
        verdict=badge(item.outcome),
        figures=figures,
    )


def _figures(saver: Saver, limits: Limits) -> tuple[Figure, ...]:
    found, saving, ratio = saver.measured.cossim, saver.saving, saver.measured.ratio
    mean_low = not found.mean >= limits.cossim
    p5_low = cossim_breach(saver.measured, limits) is not None and not mean_low
    spared = Estimate(1 - ratio.value, 1 - ratio.high, 1 - ratio.low)
    return (
        Figure(f"{100 * saving.updates_saved:.1f} %"),
        Figure(
            cossim(found.mean),
            f"floor {cossim(limits.cossim)}",
            "below floor" if mean_low else "",
        ),
        Figure(
            cossim(found.p5),
            "" if limits.cossim_p5 is None else f"floor {cossim(limits.cossim_p5)}",
            "below floor" if p5_low else "",
        ),
        _bits(saver, limits),
        Figure(
            ABSENT if saving.relative_l2 is None else f"{saving.relative_l2:.4f}",
            "" if saving.state_error is None else f"state {saving.state_error:.4f}",
        ),
        Figure(f"{100 * spared.value:.1f} %", _percents(spared)),
    )


def _bits(saver: Saver, limits: Limits) -> Figure:
    bits = saver.bits_lost
    if bits is None:
        return Figure(ABSENT)
    dense = sum(saver.saving.reference_bits) / len(saver.saving.reference_bits)
    bounds = _bounds(bits, len(saver.saving.bits))
    over = bits_breach(saver.measured, limits) is not None
    return Figure(
        f"{bits.value:+.4f}", f"{bounds} of {dense:.4f}", "above its limit" if over else ""
    )


def _bounds(bits: Estimate, segments: int) -> str:
    if isfinite(bits.low):
        return interval(bits, 4)
    return f"{segments} segments: too few for an interval,"


def _percents(share: Estimate) -> str:
    return f"[{100 * share.low:.1f}, {100 * share.high:.1f}]"


def _layer_row(saver: Saver) -> LayerRow:
    return LayerRow(variant(saver.cell), tuple(map(_layer, saver.saving.layers)))


def _layer(layer: LayerSaving) -> Figure:
    found = layer.cossim
    return Figure(cossim(found.mean), f"p5 {cossim(found.p5)}, {100 * layer.updates_saved:.0f} %")


def control_sentence(item: Against) -> str:
    """Say how a planner stands to the control at equal savings."""
    mine, other = item.saver.measured.cossim, item.other.measured.cossim
    similarity = (
        f"mean CosSim {cossim(mine.mean)} against {cossim(other.mean)}, "
        f"p5 {cossim(mine.p5)} against {cossim(other.p5)}"
    )
    name = _at(item.saver)
    bits = item.fewer_bits
    if bits is None:
        source = item.saver.measured.source
        return f"{name} beside {CONTROL}: {similarity} ({source}; one input, so no interval)."
    segments = f"{len(item.saver.saving.bits)} segments"
    if not isfinite(bits.low):
        return f"{name} cannot be told from {CONTROL}: {segments} are too few for an interval."
    standing = "cannot be told from" if not item.decided else "does not beat"
    if item.decided and bits.low > 0:
        standing = "beats"
    more = Estimate(-bits.value, -bits.high, -bits.low)
    difference = f"{_exact(bits)} bits per byte less"
    if bits.value < 0:
        difference = f"{_exact(more)} bits per byte more"
    return f"{name} {standing} {CONTROL}: it loses {difference} ({segments}, paired; {similarity})."


def best_sentence(beside: Sequence[Against]) -> str:
    """Say which planner loses fewest bits at one amount saved, and by how much less."""
    best = beside[0].saver
    lost = best.bits_lost
    assert lost is not None
    bounds = f" {interval(lost, 4)}" if isfinite(lost.low) else ""
    parts = [_less(item) for item in beside]
    return (
        f"{_at(best)} loses fewest bits per byte, {lost.value:+.4f}{bounds}; "
        f"less than {', '.join(parts)} ({best.cell.model}, {best.cell.dtype}, {best.cell.device})."
    )


def _less(item: Against) -> str:
    bits = item.fewer_bits
    assert bits is not None
    name = item.other.cell.method
    if not isfinite(bits.low):
        return f"{name} by {bits.value:.4f}"
    return f"{name} by {_exact(bits)}{'' if item.decided else ', which cannot be told'}"


def _exact(bits: Estimate) -> str:
    return f"{bits.value:.4f} {interval(bits, 4)}"


def _at(saver: Saver) -> str:
    way = "".join(f", {part}" for part in saver.way)
    return f"{saver.cell.method} at {100 * saver.saving.updates_saved:.1f} % saved{way}"
