"""From the verdicts of a gate to plain view objects, the worst cells first, advice last."""

from collections.abc import Sequence
from dataclasses import dataclass

from efficarch.conclusion import Judged, compared
from efficarch.gate import WORST_FIRST, Outcome, Verdict
from efficarch.series import REFERENCES

from .badges import Badge, badge
from .facts import Fact
from .formats import ABSENT, count, percent, percent_interval

READING = (
    "One pair is two fresh processes, one of each commit, that take turns: cells of bench "
    "round by round, ordinary benchmarks one test at a time. It gives one value per cell, however "
    "many rounds it runs. The change is the Hodges-Lehmann "
    "estimate of head over base with its 95 % interval, which inverts the exact signed-rank test.",
    "FAIL: slower than the null by that test, adjusted by Holm over all cells of the gate, with an "
    "estimate of at least the floor and both orders of running agreeing; or worse CosSim, more "
    "memory, a broken limit. PASS: a slowdown as large as the floor is ruled out. INCONCLUSIVE: "
    "neither, or the machine was disturbed while it measured, which only cells of bench notice.",
    "A verdict in brackets is shown and leaves the exit code alone.",
)


@dataclass(frozen=True)
class GateRow:
    """One cell."""

    verdict: Badge
    cell_id: str
    change: str
    interval: str
    cossim: str
    pairs: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class GatePage:
    """Everything that the page and the summary of a gate show."""

    verdict: Badge
    headline: str
    subjects: str
    notices: tuple[str, ...]
    rows: tuple[GateRow, ...]
    reading: tuple[str, ...]
    facts: tuple[Fact, ...]


def build_gate(judged: Judged, facts: Sequence[tuple[str, str]]) -> GatePage:
    """Lay out what a gate concludes with; ``facts`` name the policy in force and the machine."""
    verdicts = judged.verdicts
    ranked = sorted(verdicts, key=lambda v: (v.advisory, WORST_FIRST.index(v.outcome)))
    counted = [verdict for verdict in ranked if not verdict.advisory]
    worst = counted[0].outcome if counted else Outcome.NOT_COMPARABLE
    return GatePage(
        verdict=badge(worst),
        headline=headline(verdicts),
        subjects=compared(judged),
        notices=judged.notices,
        rows=tuple(map(_row, ranked)),
        reading=READING,
        facts=tuple(Fact(name, value) for name, value in facts),
    )


def headline(verdicts: Sequence[Verdict]) -> str:
    """Count the cells by verdict, in words; references are no cell, told if they do not pass."""
    judged = [verdict for verdict in verdicts if not verdict.advisory]
    cells = [verdict.outcome for verdict in judged if verdict.cell_id != REFERENCES]
    told = [
        f"{count(cells.count(outcome), 'cell')} {outcome.value}"
        for outcome in WORST_FIRST
        if outcome in cells
    ]
    told += [
        f"{REFERENCES} {verdict.outcome.value}"
        for verdict in judged
        if verdict.cell_id == REFERENCES and verdict.outcome is not Outcome.PASS
    ]
    return ", ".join(told) or "nothing was judged"


def _row(verdict: Verdict) -> GateRow:
    change, drop = verdict.change, verdict.cossim_change
    shown = badge(verdict.outcome)
    if verdict.advisory:
        shown = Badge(f"({shown.word})", shown.glyph, shown.style)
    return GateRow(
        verdict=shown,
        cell_id=verdict.cell_id,
        change=ABSENT if change is None else percent(change.value),
        interval="" if change is None else percent_interval(change),
        # adding zero turns a rounded -0.0 into 0.0
        cossim=ABSENT if drop is None else f"{round(drop, 4) + 0.0:+.4f}",
        pairs=ABSENT if verdict.pairs is None else str(verdict.pairs),
        reasons=verdict.reasons,
    )
