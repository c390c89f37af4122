"""Verdicts as a word, a glyph and a style, and cells paired with the verdicts on them."""

from collections.abc import Sequence
from dataclasses import dataclass

from efficarch.gate import SLOWDOWN_FLOOR, Outcome, Verdict
from efficarch.record import Cell, CellRun, Run


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


def variant(cell: Cell) -> str:
    """Name what tells a cell from its neighbours: method, keep ratio and length."""
    keep = "" if cell.keep is None else f" keep={cell.keep:g}"
    length = "" if cell.length is None else f" length={cell.length}"
    return f"{cell.method}{keep}{length}"


def reference_name(cell: Cell) -> str:
    """Name what a cell is timed against."""
    return "the dense model" if cell.length is None else "causal attention"
