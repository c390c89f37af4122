"""One table per suite: measurements as rows of ready-made text."""

from collections.abc import Sequence
from dataclasses import dataclass

from efficarch.gate import Outcome, cossim_breach, latency_breaches
from efficarch.record import Limits, Measurement, Weights

from .badges import Badge, Judged, badge, change_badge, references_of, variant
from .companions import companions
from .equal import comparisons
from .equal_table import EqualTable, equal_table
from .findings import control_sentences, equal_sentences
from .formats import (
    ABSENT,
    budget,
    cossim,
    fraction,
    interval,
    number,
    percent,
    percent_interval,
    places,
)
from .groups import MESSAGE_LENGTH, Group, stands_alone, unmeasured, unmeasured_groups


@dataclass(frozen=True)
class Column:
    """A heading with what its small second line holds."""

    label: str
    detail: str


@dataclass(frozen=True)
class Value:
    """One table cell; ``flag`` is the word for a broken limit, ``wraps`` allows a long detail.

    ``lines`` are figures of equal rank, one below the other, in place of ``text``.
    """

    text: str
    detail: str = ""
    flag: str = ""
    wraps: bool = False
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """One line of a run; ``message`` stands in place of values where nothing was measured."""

    anchor: str
    name: str
    place: str
    cell_id: str
    verdict: Badge
    values: tuple[Value, ...]
    message: str


@dataclass(frozen=True)
class Table:
    """The cells of one suite, failing ones first, and below them those without a row."""

    anchor: str
    suite: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    groups: tuple[Group, ...]
    findings: tuple[str, ...]
    equal: EqualTable | None


def suite_tables(judged: Sequence[Judged], *, with_baseline: bool) -> tuple[Table, ...]:
    """Return a table for each suite, in the order of the run."""
    suites: dict[str, list[Judged]] = {}
    for item in judged:
        suites.setdefault(item.line.cell.suite, []).append(item)
    return tuple(
        _table(f"suite-{index}", suite, items, with_baseline)
        for index, (suite, items) in enumerate(suites.items(), start=1)
    )


def _table(anchor: str, suite: str, items: list[Judged], with_baseline: bool) -> Table:
    ordered = sorted(filter(stands_alone, items), key=lambda item: not item.failed)
    references = references_of([item.line for item in items])
    lines = [item.line for item in items]
    compared = comparisons(lines)
    extra = Extra(
        change=with_baseline,
        companions=any(companions(line.measurement) for line in lines if line.measurement),
        backend=any(line.measurement.backend for line in lines if line.measurement),
    )
    return Table(
        anchor=anchor,
        suite=suite,
        caption=f"{suite}: every cell against {' or '.join(references)} in the same rounds",
        columns=_columns(extra),
        rows=tuple(_row(item, extra) for item in ordered),
        groups=unmeasured_groups(items),
        findings=(*equal_sentences(compared), *control_sentences(lines)),
        equal=equal_table(f"{anchor}-equal", suite, compared),
    )


@dataclass(frozen=True)
class Extra:
    """Which columns a table has besides those of every table."""

    change: bool
    companions: bool
    backend: bool


def _columns(extra: Extra) -> tuple[Column, ...]:
    change = (Column("Change", "of the ratio"),) if extra.change else ()
    cossim_change = (Column("CosSim change", "of the mean"),) if extra.change else ()
    beside = (Column("Beside CosSim", "not gated"),) if extra.companions else ()
    backend = (Column("Backend", "of the scan"),) if extra.backend else ()
    return (
        Column("Reference, ms", "95 % interval"),
        Column("Now, ms", "95 % interval"),
        Column("Ratio", "95 % interval"),
        Column("Budget", "ratio or ms"),
        *change,
        Column("CosSim", "mean; lowest, floor"),
        *cossim_change,
        *beside,
        *backend,
        Column("Tokens", "mean / last layer"),
        Column("GFLOP", "of reference"),
        Column("Peak MB", "of reference"),
        Column("Items/s", ""),
    )


def _row(item: Judged, extra: Extra) -> Row:
    line, cell = item.line, item.line.cell
    values: tuple[Value, ...] = ()
    weights: tuple[str, ...] = ()
    if line.measurement is not None:
        values = _values(item, line.measurement, extra)
        weights = _weights(line.measurement)
    return Row(
        anchor=item.anchor,
        name=variant(cell),
        place=", ".join(
            [f"batch {cell.batch}, {cell.model}, {cell.dtype}, {cell.device}", *weights]
        ),
        cell_id=cell.id,
        verdict=badge(item.outcome),
        values=values,
        message="" if values else unmeasured(item),
    )


def _values(item: Judged, measured: Measurement, extra: Extra) -> tuple[Value, ...]:
    latency, reference, ratio = measured.latency_ms, measured.reference_ms, measured.ratio
    shown = places(latency.value)
    shown_reference = places(reference.value)
    shown_ratio = max(3, places(ratio.value))
    changes = _changes(item, measured) if extra.change else ()
    return (
        Value(f"{reference.value:,.{shown_reference}f}", interval(reference, shown_reference)),
        Value(f"{latency.value:,.{shown}f}", interval(latency, shown)),
        Value(f"{ratio.value:.{shown_ratio}f}", interval(ratio, shown_ratio)),
        _budget(measured, item.line.limits),
        *changes[:1],
        quality(measured, item.line.limits),
        *changes[1:],
        *((_beside(measured),) if extra.companions else ()),
        *((Value(measured.backend or ABSENT),) if extra.backend else ()),
        Value(
            f"{measured.tokens_mean:,.0f} / {measured.tokens_final:,}",
            f"of {measured.reference_tokens:,}",
        ),
        _amount(measured.flops / 1e9, measured.reference_flops / 1e9),
        _amount(measured.peak_bytes / 1e6, measured.reference_peak_bytes / 1e6),
        Value(number(measured.throughput_per_s)),
    )


def _amount(now: float, reference: float) -> Value:
    """Show an amount beside its share of the reference; 0 means that it was not counted."""
    return Value(number(now), fraction(now, reference)) if now else Value(ABSENT)


def _budget(measured: Measurement, limits: Limits) -> Value:
    ratio = "" if limits.latency_ratio is None else f"≤ {budget(limits.latency_ratio)}"
    absolute = "" if limits.latency_ms is None else f"≤ {number(limits.latency_ms)} ms"
    over = latency_breaches(measured.latency_ms, measured.ratio, limits)
    text, detail = (ratio, absolute) if ratio else (absolute, "")
    return Value(text, detail, "over budget" if over else "")


def quality(measured: Measurement, limits: Limits) -> Value:
    """Show CosSim with its floor; on random weights only whether the output check held."""
    broken = cossim_breach(measured, limits) is not None
    if measured.weights is Weights.RANDOM:
        word = "check broken" if broken else "check ok"
        return Value(word, "random weights: timing only", wraps=True)
    found, floor = measured.cossim, limits.cossim_p5
    detail = f"{cossim(found.minimum)}, floor\N{NO-BREAK SPACE}{cossim(limits.cossim)}"
    if floor is not None:
        detail += f"; p5 {cossim(found.p5)}, floor\N{NO-BREAK SPACE}{cossim(floor)}"
    return Value(cossim(found.mean), detail, "below floor" if broken else "", wraps=True)


def _beside(measured: Measurement) -> Value:
    lines = companions(measured)
    return Value("" if lines else ABSENT, lines=lines)


def _weights(measured: Measurement) -> tuple[str, ...]:
    words = {
        Weights.PRETRAINED: "pretrained weights",
        Weights.RANDOM: "random weights (timing only)",
        Weights.NONE: "no weights (fp64 oracle)",
    }
    return (words[measured.weights], *(["autocast"] if measured.autocast else []))


def _changes(item: Judged, measured: Measurement) -> tuple[Value, Value]:
    compared = item.compared
    if compared is None or compared.change is None or compared.cossim_change is None:
        reason = compared.reasons[0] if compared and compared.reasons else "not in the baseline"
        words = f"not comparable: {reason}"[:MESSAGE_LENGTH]
        return Value(ABSENT, words, wraps=True), Value(ABSENT)
    mark = change_badge(compared)
    failed = compared.outcome is Outcome.FAIL
    change = Value(
        percent(compared.change.value),
        percent_interval(compared.change)
        + ("" if failed else f" {mark.glyph}\N{NO-BREAK SPACE}{mark.word}"),
        flag=mark.word if failed else "",
        wraps=True,
    )
    if measured.weights is Weights.RANDOM:
        return change, Value(ABSENT, "random weights")
    # adding zero turns a rounded -0.0 into 0.0
    difference = round(compared.cossim_change, 5) + 0.0
    return change, Value(f"{difference:+.5f}")
