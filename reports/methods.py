"""What the table of methods says about the methods of a run."""

from collections.abc import Iterable
from dataclasses import dataclass

from efficarch.errors import UnknownNameError
from efficarch.reducers import REDUCERS, Method


@dataclass(frozen=True)
class MethodFact:
    """A method of the run in the words of its table row."""

    name: str
    source: str
    where: str
    cost: str
    keeps: str


def method_facts(names: Iterable[str]) -> tuple[MethodFact, ...]:
    """Describe each method once; one of another project's suite has no row and is left out."""
    known = [_row(name) for name in dict.fromkeys(names)]
    return tuple(
        MethodFact(row.name, row.paper, row.where, row.cost, row.keeps)
        for row in known
        if row is not None
    )


def is_control(name: str) -> bool:
    """Whether a method is there to be beaten."""
    row = _row(name)
    return row is not None and row.control


def _row(name: str) -> Method | None:
    try:
        return REDUCERS[name]
    except UnknownNameError:
        return None
