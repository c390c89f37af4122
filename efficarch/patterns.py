"""Patterns over cell ids, as policies and budgets write them."""

import re
from functools import cache


def matches(pattern: str, cell_id: str) -> bool:
    """Whether a pattern names a cell: ``*`` is any text, ``?`` one character, all else itself.

    Brackets stand for themselves, unlike in a shell: pytest writes parameters in them.
    """
    return _compiled(pattern).fullmatch(cell_id) is not None


def expression(pattern: str) -> str:
    """Return a pattern as a regular expression, for ``re.DOTALL`` and a full match.

    What stands between two stars is taken where it first occurs, which is always right, and not
    looked for again: many stars in a pattern cost no more than one.
    """
    first, *between = (
        "".join("." if c == "?" else re.escape(c) for c in part)
        for part in re.split(r"\*+", pattern)
    )
    if not between:
        return first
    *middle, last = between
    return first + "".join(f"(?>.*?{part})" for part in middle) + f".*{last}"


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(expression(pattern), re.DOTALL)
