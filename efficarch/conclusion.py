"""What a gate tells: exit code, lines, annotations, and the files that people and programs read."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from efficarch.gate import WORST_FIRST, Outcome, Verdict
from efficarch.observation import Sample
from efficarch.policy import Policy
from efficarch.series import counted_pairs
from efficarch.store import plain, write_text
from efficarch.text import annotation

CODES = {
    Outcome.FAIL: 1,
    Outcome.NOT_COMPARABLE: 4,
    Outcome.INCONCLUSIVE: 3,
    Outcome.PASS: 0,
}
"""Exit codes by the worst verdict."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Judged:
    """What a gate concludes with."""

    verdicts: Sequence[Verdict]
    pairs: Sequence[tuple[Sample, Sample]]
    subjects: str
    policy: Policy
    notices: tuple[str, ...] = ()
    """What a reader has to know before the verdicts, in sentences."""
    resumed: int = 0
    """How many of the pairs an interrupted run had measured."""


Report = Callable[[Judged, Sequence[tuple[str, str]], Path], None]
"""Writes page and summary: what was concluded, further facts by name, and the folder."""


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """Return 1 for any FAIL, else 4 or 3 for what was not judged, else 0; 4 where nothing was."""
    counted = {verdict.outcome for verdict in verdicts if not verdict.advisory}
    return next((CODES[outcome] for outcome in WORST_FIRST if outcome in counted), 4)


def conclude(judged: Judged, out: Path, say: Say, report: Report, *, annotate: bool) -> int:
    """Tell, write and report the verdicts; return the exit code."""
    code = exit_code(judged.verdicts)
    data = {
        "exit_code": code,
        "pairs": len(judged.pairs),
        "resumed_pairs": judged.resumed,
        "notices": list(judged.notices),
        "verdicts": plain(list(judged.verdicts)),
    }
    write_text(out / "verdicts.json", json.dumps(data, indent=1) + "\n")
    facts = [(name, str(v)) for name, v in asdict(judged.policy).items() if v != ()]
    facts += next((list(head.machine) for _base, head in judged.pairs if head.machine), [])
    report(judged, facts, out)
    for verdict in judged.verdicts:
        if verdict.outcome is not Outcome.PASS:
            say(f"{_word(verdict)} {verdict.cell_id}: {'; '.join(verdict.reasons)}")
            if annotate:
                say(_annotation(verdict))
    words = [_word(verdict) for verdict in judged.verdicts]
    say(", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words)))
    say(f"report: {out / 'index.html'}")
    return code


def compared(judged: Judged) -> str:
    """Say what was compared and how often."""
    return f"{judged.subjects}; {counted_pairs(len(judged.pairs))}."


def _word(verdict: Verdict) -> str:
    word = verdict.outcome.value.upper()
    return f"({word})" if verdict.advisory else word


def _annotation(verdict: Verdict) -> str:
    level = "error" if verdict.outcome is Outcome.FAIL else "warning"
    words = f"{verdict.cell_id}: {'; '.join(verdict.reasons)}"
    return annotation(level, "efficarch gate", words)
