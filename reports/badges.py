"""Verdicts as a word, a glyph and a style, and cells paired with the verdicts on them."""

from collections.abc import Sequence
from dataclasses import dataclass

from efficarch.gate import SLOWDOWN_FLOOR, Outcome, Verdict
from efficarch.record import Cell, CellRun, Measurement, Run, Weights


@dataclass(frozen=True)
class Badge:
    """A verdict that can be read without seeing its colour."""

    word: str
    glyph: str
    style: str


@dataclass(frozen=True)
class Judged:
    """A line of the run with the verdict on its limits and, with a baseline, the one on that."""

    anchor: str
    line: CellRun
    verdict: Verdict
    compared: Verdict | None

    @property
    def outcome(self) -> Outcome:
        """The worse of both verdicts; a cell the baseline lacks keeps the one on its limits."""
        outcomes = [verdict.outcome for verdict in (self.verdict, self.compared) if verdict]
        if Outcome.FAIL in outcomes:
            return Outcome.FAIL
        return Outcome.INCONCLUSIVE if Outcome.INCONCLUSIVE in outcomes else self.verdict.outcome

    @property
    def failed(self) -> bool:
        """Whether the cell broke a limit or regressed."""
        return self.outcome is Outcome.FAIL

    @property
    def reasons(self) -> tuple[str, ...]:
        """What is wrong with the cell in words: its limits first, then the baseline."""
        words = self.verdict.reasons
        if self.compared and self.compared.outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE):
            words += self.compared.reasons
        return words


_GLYPHS = {
    Outcome.PASS: "✓",
    Outcome.FAIL: "✕",
    Outcome.INCONCLUSIVE: "?",
    Outcome.NOT_COMPARABLE: "○",
}


def badge(outcome: Outcome) -> Badge:
    """Return the badge of an outcome."""
    return Badge(outcome.value.upper(), _GLYPHS[outcome], outcome.value.replace(" ", "-"))


def change_badge(compared: Verdict) -> Badge:
    """Return the badge of a comparison, in the words of a change."""
    words = {
        Outcome.PASS: "unchanged",
        Outcome.FAIL: "regressed",
        Outcome.INCONCLUSIVE: "inconclusive",
        Outcome.NOT_COMPARABLE: "not comparable",
    }
    # the mirror image of the gate's floor, so that a gain is named by the rule that names a loss
    gained = compared.change is not None and compared.change.high < 1 - SLOWDOWN_FLOOR
    improved = compared.outcome is Outcome.PASS and gained
    plain = badge(compared.outcome)
    return Badge("improved" if improved else words[compared.outcome], plain.glyph, plain.style)


def judge(run: Run, checked: Sequence[Verdict], compared: Sequence[Verdict]) -> list[Judged]:
    """Pair every line of the run with its verdicts, in the order of the run."""
    against = {verdict.cell_id: verdict for verdict in compared}
    return [
        Judged(f"cell-{number}", line, verdict, against.get(line.cell.id))
        for number, (line, verdict) in enumerate(zip(run.cells, checked, strict=True), start=1)
    ]


_OWN_FIELDS = ("keep", "length", "batch")


def settings(cell: Cell) -> tuple[str, ...]:
    """Return what a suite varied besides the fields of a cell, as its id has it: ``name=value``."""
    named = [part for part in cell.id.split("/") if "=" in part]
    return tuple(part for part in named if part.partition("=")[0] not in _OWN_FIELDS)


def variant(cell: Cell) -> str:
    """Name what tells a cell from its neighbours: method, keep ratio, length and settings."""
    keep = () if cell.keep is None else (f"keep={cell.keep:g}",)
    length = () if cell.length is None else (f"length={cell.length}",)
    return " ".join((cell.method, *keep, *length, *settings(cell)))


def references_of(lines: Sequence[CellRun]) -> list[str]:
    """Name what some cells are timed against, by those that were measured if any was."""
    measured = [line for line in lines if line.measurement is not None]
    return sorted({reference_name(line.cell, line.measurement) for line in measured or lines})


def reference_name(cell: Cell, measured: Measurement | None) -> str:
    """Name what a cell is timed against."""
    if measured is None or measured.backend is None:
        return "the dense model" if cell.length is None else "causal attention"
    operator = measured.weights is Weights.NONE
    if measured.saving is not None:
        return "the plain scan" if operator else "the model on the plain scan"
    return "causal attention" if operator else "the Transformer of its size"
