"""From a run to plain view objects: all words, formatting and arithmetic of the page.

Templates only place what stands here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from efficarch.gate import Outcome, Verdict, check_limits, compare
from efficarch.record import Run, Status

from .badges import Badge, Judged, badge, change_badge, judge, references_of
from .charts import charts
from .drawing import Chart
from .facts import (
    READING,
    Fact,
    LimitGroup,
    limit_groups,
    machine_facts,
    run_facts,
    source_facts,
)
from .formats import ABSENT, count, number, percent, were
from .groups import Group, stands_alone, unmeasured_groups
from .growth import GrowthView, growths
from .methods import MethodFact, method_facts
from .rows import Table, quality, suite_tables
from .savings_view import SavingView, saving_views

_COMMIT_LENGTH = 12

# of the summary; the page has them all, each under its table
_MOST_FINDINGS = 12


@dataclass(frozen=True)
class Notice:
    """A cell that must be looked at, with every reason in words."""

    anchor: str
    verdict: Badge
    cell_id: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Line:
    """One row of the Markdown summary."""

    verdict: Badge
    cell_id: str
    reference_ms: str
    now_ms: str
    ratio: str
    cossim: str
    change: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Page:
    """Everything that the page and the summary show."""

    verdict: Badge
    headline: str
    baseline: str
    with_baseline: bool
    broken: tuple[Notice, ...]
    regressed: tuple[Notice, ...]
    missing: tuple[str, ...]
    tables: tuple[Table, ...]
    findings: tuple[str, ...]
    growths: tuple[GrowthView, ...]
    savings: tuple[SavingView, ...]
    charts: tuple[Chart, ...]
    limits: tuple[LimitGroup, ...]
    reading: tuple[str, ...]
    machine: tuple[Fact, ...]
    sources: tuple[Fact, ...]
    facts: tuple[Fact, ...]
    methods: tuple[MethodFact, ...]
    entries: tuple[Line | Group, ...]


def build(run: Run, baseline: Run | None = None, baseline_note: str = "") -> Page:
    """Judge a run by its limits and a baseline, and lay out everything that is to be shown."""
    compared = [] if baseline is None else compare(run, baseline)
    judged = judge(run, check_limits(run), compared)
    with_baseline = any(verdict.change is not None for verdict in compared)
    verdict, headline = _headline(run, judged)
    present = {line.cell.id for line in run.cells}
    tables = suite_tables(judged, with_baseline=with_baseline)
    grown, saved = growths(judged), saving_views(judged)
    findings = [growth.sentence for growth in grown]
    findings += [sentence for view in saved for sentence in view.summary]
    findings += [sentence for table in tables for sentence in table.findings]
    return Page(
        verdict=verdict,
        headline=headline,
        baseline=_baseline_sentence(run, baseline, compared, baseline_note),
        with_baseline=with_baseline,
        broken=_notices(judged, [item.verdict for item in judged]),
        regressed=_notices(judged, [item.compared for item in judged]),
        missing=tuple(item.cell_id for item in compared if item.cell_id not in present),
        tables=tables,
        findings=tuple(findings[:_MOST_FINDINGS]),
        growths=grown,
        savings=saved,
        charts=charts(run.cells),
        limits=limit_groups(run.cells),
        reading=READING,
        machine=machine_facts(run.machine),
        sources=source_facts(run),
        facts=run_facts(run),
        methods=method_facts(_reducers(run)),
        entries=_entries(judged),
    )


def _reducers(run: Run) -> list[str]:
    """Name the methods that reduce tokens: a scan's backend or planner may share their names."""
    return [
        line.cell.method
        for line in run.cells
        if line.measurement is None or line.measurement.backend is None
    ]


def _headline(run: Run, judged: Sequence[Judged]) -> tuple[Badge, str]:
    held = sum(item.verdict.outcome is Outcome.PASS for item in judged)
    faults = _faults(judged)
    idle = [*_untold(judged), *_idle(run, judged)]
    stopped = _interruption(run)
    if faults:
        return badge(Outcome.FAIL), "; ".join([", ".join(faults), *stopped, *idle])
    if not held and _untold(judged):
        return badge(Outcome.INCONCLUSIVE), "; ".join([*stopped, *idle])
    if not held:
        return badge(Outcome.NOT_COMPARABLE), "; ".join(["nothing was measured", *stopped])
    good = f"{count(held, 'cell')} held {'its' if held == 1 else 'their'} limits"
    # the cells that never ran could have failed, so an interrupted run has not passed
    outcome = Outcome.INCONCLUSIVE if stopped else Outcome.PASS
    return badge(outcome), "; ".join([*stopped, good, *idle])


def _faults(judged: Sequence[Judged]) -> list[str]:
    """Count what went wrong; the first count says out of how many cells."""
    failed = [item for item in judged if item.verdict.outcome is Outcome.FAIL]
    raised = sum(item.line.status is Status.ERROR for item in failed)
    compared = [item.compared for item in judged if item.compared is not None]
    regressed = sum(verdict.outcome is Outcome.FAIL for verdict in compared)
    counted = (
        (len(failed) - raised, "broke a limit"),
        (raised, "raised an error"),
        (regressed, "regressed against the baseline"),
    )
    present = [(amount, what) for amount, what in counted if amount]
    return [
        f"{amount:,} {what}" if index else f"{amount:,} of {count(len(judged), 'cell')} {what}"
        for index, (amount, what) in enumerate(present)
    ]


def _interruption(run: Run) -> list[str]:
    if not run.interrupted:
        return []
    not_run = sum(line.status is Status.NOT_RUN for line in run.cells)
    total = count(len(run.cells), "cell")
    return [f"interrupted: {not_run:,} of {total} {were(not_run)} not run"]


def _untold(judged: Sequence[Judged]) -> list[str]:
    """Count the cells that neither held their limits nor broke one."""
    untold = sum(item.verdict.outcome is Outcome.INCONCLUSIVE for item in judged)
    return [f"{count(untold, 'cell')} inconclusive"] if untold else []


def _idle(run: Run, judged: Sequence[Judged]) -> list[str]:
    """Count the cells without a verdict that the interruption does not explain."""
    unmeasured = sum(
        item.verdict.outcome is Outcome.NOT_COMPARABLE
        and not (run.interrupted and item.line.status is Status.NOT_RUN)
        for item in judged
    )
    return [f"{unmeasured:,} {were(unmeasured)} not measured"] if unmeasured else []


def _baseline_sentence(
    run: Run, baseline: Run | None, compared: Sequence[Verdict], note: str
) -> str:
    if baseline is None or not any(verdict.change is not None for verdict in compared):
        reasons = [reason for verdict in compared for reason in verdict.reasons]
        why = (reasons[0] if reasons else note or "none was given").rstrip(".")
        names = references_of(run.cells) or ["the reference"]
        return (
            f"No comparable baseline: {why}. "
            f"Latency is shown against {' or '.join(names)} of the same run."
        )
    counts: dict[str, int] = {}
    for verdict in compared:
        word = change_badge(verdict).word
        counts[word] = counts.get(word, 0) + 1
    order = ("regressed", "inconclusive", "improved", "unchanged", "not comparable")
    parts = ", ".join(f"{counts[word]:,} {word}" for word in order if word in counts)
    edited = " (with uncommitted changes)" if baseline.dirty else ""
    commit, date = baseline.commit[:_COMMIT_LENGTH], baseline.created[:10]
    return f"Against baseline {commit}{edited} of {date}: {parts}."


def _notices(judged: Sequence[Judged], verdicts: Sequence[Verdict | None]) -> tuple[Notice, ...]:
    return tuple(
        Notice(item.anchor, badge(verdict.outcome), item.line.cell.id, verdict.reasons)
        for item, verdict in zip(judged, verdicts, strict=True)
        if verdict is not None and verdict.outcome is Outcome.FAIL
    )


def _entries(judged: Sequence[Judged]) -> tuple[Line | Group, ...]:
    """Rank what the summary shows: failing, then open, then not judged, then passing."""
    lines = [_line(item) for item in judged if stands_alone(item)]
    ranks = {
        badge(outcome): rank
        for rank, outcome in enumerate(
            (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.NOT_COMPARABLE, Outcome.PASS)
        )
    }
    entries: list[Line | Group] = [*lines, *unmeasured_groups(judged)]
    return tuple(sorted(entries, key=lambda entry: ranks[entry.verdict]))


def _line(item: Judged) -> Line:
    measured = item.line.measurement
    change = item.compared.change if item.compared else None
    return Line(
        verdict=badge(item.outcome),
        cell_id=item.line.cell.id,
        reference_ms=number(measured.reference_ms.value) if measured else ABSENT,
        now_ms=number(measured.latency_ms.value) if measured else ABSENT,
        ratio=f"{measured.ratio.value:.3f}" if measured else ABSENT,
        cossim=quality(measured, item.line.limits).text if measured else ABSENT,
        change=percent(change.value) if change else ABSENT,
        reasons=item.reasons,
    )
