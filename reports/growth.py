"""How latency grows with length: the slopes of a cell, what its limits make of them, in words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf

from efficarch.gate import Outcome, judge_slope
from efficarch.record import Cell, Scaling, Sweep
from efficarch.scaling import (
    Crossover,
    Growth,
    Nested,
    Refusal,
    Slope,
    crossover,
    fit_nested,
    fit_slope,
)
from efficarch.stats import median, paired_ratio

from .badges import Badge, Judged, badge, reference_name, variant
from .drawing import Chart
from .formats import ABSENT, interval, number
from .growth_chart import Curve, growth_chart


@dataclass(frozen=True)
class SideRow:
    """One side of a cell; ``verdict`` is absent where no limit judges its slope."""

    name: str
    slope: str
    interval: str
    allowed: str
    verdict: Badge | None
    fitted: str
    nested: str
    checks: tuple[str, ...]


@dataclass(frozen=True)
class LengthRow:
    """Both sides at one length; a dash where one was not timed there."""

    length: str
    subject_ms: str
    reference_ms: str
    ratio: str


@dataclass(frozen=True)
class GrowthView:
    """Everything shown of one cell that swept over length."""

    anchor: str
    cell_anchor: str
    title: str
    place: str
    sentence: str
    sides: tuple[SideRow, ...]
    chart: Chart
    lengths: tuple[LengthRow, ...]
    subject_name: str
    reference_name: str


def growths(judged: Iterable[Judged]) -> tuple[GrowthView, ...]:
    """Return the cells that swept over length, in the order of the run."""
    swept = [item for item in judged if item.line.measurement and item.line.measurement.scaling]
    return tuple(_view(f"growth-{n}", item) for n, item in enumerate(swept, start=1))


def _view(anchor: str, item: Judged) -> GrowthView:
    cell, measured, limits = item.line.cell, item.line.measurement, item.line.limits
    assert measured is not None
    assert measured.scaling is not None
    names = cell.method, reference_name(cell, measured)
    sweeps = measured.scaling.subject, measured.scaling.reference
    curves = tuple(
        Curve(name, sweep, fit_slope(sweep)) for name, sweep in zip(names, sweeps, strict=True)
    )
    ranges = limits.slope, limits.reference_slope
    crossing = crossover(measured.scaling)
    title = f"{cell.suite}: {variant(cell)}"
    return GrowthView(
        anchor=anchor,
        cell_anchor=item.anchor,
        title=title,
        place=_place(cell),
        sentence=_sentence(curves, ranges, crossing, cell),
        sides=tuple(_side(*each) for each in zip(curves, ranges, strict=True)),
        chart=growth_chart(f"{anchor}-chart", f"Latency over length: {title}", curves, crossing),
        lengths=_lengths(measured.scaling),
        subject_name=names[0],
        reference_name=names[1],
    )


def _place(cell: Cell) -> str:
    return f"batch {cell.batch}, {cell.model}, {cell.dtype}, {cell.device}"


def _side(curve: Curve, allowed: tuple[float, ...] | None) -> SideRow:
    fit, sweep = curve.fit, curve.sweep
    nested = fit_nested(sweep)
    found = None if isinstance(fit, Refusal) else fit
    return SideRow(
        name=curve.name,
        slope=ABSENT if found is None else f"{found.estimate.value:.3f}",
        interval="" if found is None else interval(found.estimate, 3),
        allowed="" if allowed is None else f"{allowed[0]:.2f} to {allowed[1]:.2f}",
        verdict=None if allowed is None else _verdict(fit, allowed),
        fitted=fit.reason if isinstance(fit, Refusal) else _fitted(fit, sweep),
        nested="" if isinstance(nested, Refusal) else _nested(nested),
        checks=() if found is None else found.disagreements,
    )


def _verdict(fit: Slope | Refusal, allowed: tuple[float, ...]) -> Badge:
    outcome = judge_slope(fit, allowed)
    words = {Outcome.PASS: "WITHIN", Outcome.FAIL: "OUTSIDE", Outcome.INCONCLUSIVE: "UNCERTAIN"}
    plain = badge(outcome)
    word = "NO SLOPE" if isinstance(fit, Refusal) else words[outcome]
    return Badge(word, plain.glyph, plain.style)


def _fitted(fit: Slope, sweep: Sweep) -> str:
    left_out = len(sweep.lengths) - len(fit.lengths)
    more = f"; {left_out} shorter left out" if left_out else ""
    return f"{len(fit.lengths)} lengths, {fit.lengths[0]:,} to {fit.lengths[-1]:,}{more}"


def _nested(nested: Nested) -> str:
    share = nested.share
    # adding zero turns a rounded -0.0 into 0.0
    low, value, high = (
        f"{round(100 * bound) + 0.0:.0f}" for bound in (share.low, share.value, share.high)
    )
    size = f"{value} % [{low}, {high}] of the time at the longest length is quadratic"
    words = {
        Growth.LINEAR: "linear",
        Growth.QUADRATIC: "quadratic",
        Growth.BETWEEN: "between linear and quadratic",
        Growth.UNCLEAR: "linear or quadratic, which cannot be told",
    }
    return f"{words[nested.growth]}: {size}"


def _sentence(
    curves: Sequence[Curve],
    ranges: Sequence[tuple[float, ...] | None],
    crossing: Crossover | Refusal,
    cell: Cell,
) -> str:
    parts = [_grows(*each) for each in zip(curves, ranges, strict=True)]
    names = [curve.name for curve in curves]
    where = ", ".join(dict.fromkeys((cell.suite, cell.model, cell.dtype, cell.device)))
    return (
        f"Latency over length, {where}: {'; '.join([*parts, _crossing_words(crossing, *names)])}."
    )


def _grows(curve: Curve, allowed: tuple[float, ...] | None) -> str:
    if isinstance(curve.fit, Refusal):
        return f"{curve.name} has no slope, since {curve.fit.reason}"
    slope = curve.fit.estimate
    words = f"{curve.name} grows to the power {slope.value:.3f} {interval(slope, 3)}"
    outcome = Outcome.PASS if allowed is None else judge_slope(curve.fit, allowed)
    if allowed is None or outcome is Outcome.PASS:
        return words
    verdict = "outside" if outcome is Outcome.FAIL else "not told to lie within"
    return f"{words}, {verdict} {allowed[0]:.2f} to {allowed[1]:.2f}"


def _crossing_words(found: Crossover | Refusal, subject: str, reference: str) -> str:
    if isinstance(found, Refusal):
        return f"where they cross cannot be told: {found.reason}"
    measured = f"from {found.shortest:,} to {found.longest:,}"
    if found.length is not None:
        return f"{subject} is the faster one from length {found} on"
    if found.always:
        sure = (
            ""
            if found.high == 0
            else f", though the interval of the crossover ends at {_end(found.high)}"
        )
        return f"{subject} is the faster one at every length measured, {measured}{sure}"
    return f"{subject} does not become the faster one at the lengths measured, {measured}"


def _end(high: float) -> str:
    return "the longest" if high == inf else f"{high:,.0f}"


def _lengths(scaling: Scaling) -> tuple[LengthRow, ...]:
    subject, reference = (
        dict(zip(sweep.lengths, sweep.rounds_ms, strict=True))
        for sweep in (scaling.subject, scaling.reference)
    )
    rows = []
    for length in sorted({*subject, *reference}):
        a, b = subject.get(length), reference.get(length)
        ratio = paired_ratio(a, b) if a and b else None
        rows.append(
            LengthRow(
                length=f"{length:,}",
                subject_ms=number(median(a)) if a else ABSENT,
                reference_ms=number(median(b)) if b else ABSENT,
                ratio=f"{ratio.value:.3f} {interval(ratio, 3)}" if ratio else ABSENT,
            )
        )
    return tuple(rows)
