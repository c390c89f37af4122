"""What a process that measured nothing said last, and what to do about it."""

import re
from pathlib import Path

LONGEST = 200


def complaint(log: Path) -> str:
    """Return what a process says went wrong, with a way on where a module is missing."""
    return with_way_on(_last_words(log))


def with_way_on(words: str) -> str:
    """Add what to do about a module that is missing, if it is that."""
    missing = re.search(r"No module named '?([\w.]+)", words)
    if missing is None:
        return words
    if missing[1] in ("pytest", "pytest_benchmark"):
        return f"{words}; name pytest and pytest-benchmark in install of the policy too"
    return (
        f"{words}; install it, or if the project itself builds or generates it, say how: install "
        "in the policy"
    )


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    # pytest marks the error itself with an E; its summary only names the file
    telling = [line[1:].strip() for line in lines if line.startswith("E  ")]
    words = (telling or [line for line in lines if line] or ["it said nothing"])[-1]
    return words if len(words) <= LONGEST else words[: LONGEST - 3] + "..."
