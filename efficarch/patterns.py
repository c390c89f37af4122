"""Patterns over cell ids, as policies and budgets write them."""

import re
from functools import cache


def matches(pattern: str, cell_id: str) -> bool:
    """Whether a pattern names a cell: ``*`` is any text, ``?`` one character, all else itself.

    Brackets stand for themselves, unlike in a shell: pytest writes parameters in them.
    """
    return _compiled(pattern).fullmatch(cell_id) is not None


def expression(pattern: str) -> str:
    """Return a pattern as a regular expression, for ``re.DOTALL`` and a full match."""
    wild = {"*": ".*", "?": "."}
    return "".join(wild.get(c) or re.escape(c) for c in pattern)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(expression(pattern), re.DOTALL)
