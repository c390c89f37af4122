"""Cells without a measurement, one group for each suite, status and message."""

from collections.abc import Sequence
from dataclasses import dataclass

from efficarch.gate import Outcome

from .badges import Badge, Judged, badge
from .formats import count

MESSAGE_LENGTH = 2_000


@dataclass(frozen=True)
class Group:
    """Cells of a suite that share why they have no numbers."""

    suite: str
    verdict: Badge
    amount: str
    why: str
    cell_ids: tuple[str, ...]


def stands_alone(item: Judged) -> bool:
    """Whether a cell has a row of its own: it was measured, or it failed without a number."""
    return item.line.measurement is not None or item.failed


def unmeasured_groups(judged: Sequence[Judged]) -> tuple[Group, ...]:
    """Collect the cells that have no row, in the order of the run."""
    groups: dict[tuple[str, str], list[str]] = {}
    for item in judged:
        if not stands_alone(item):
            key = (item.line.cell.suite, unmeasured(item))
            groups.setdefault(key, []).append(item.line.cell.id)
    return tuple(
        Group(suite, badge(Outcome.NOT_COMPARABLE), count(len(ids), "cell"), why, tuple(ids))
        for (suite, why), ids in groups.items()
    )


def unmeasured(item: Judged) -> str:
    """Say why a cell has no numbers."""
    status, message = item.line.status.value, item.line.message
    return f"{status}: {message}"[:MESSAGE_LENGTH] if message else status
