"""What a process that measured nothing said last, and what to do about it."""

import os
import re
from pathlib import Path

LONGEST = 200
"""Of the last words, in characters."""
READ_BYTES = 2**18
KEPT_BYTES = 2**20
"""Of a log, from its end."""


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


def shorten(log: Path) -> None:
    """Leave the end of a log that is too long to keep."""
    if log.is_file() and log.stat().st_size > KEPT_BYTES:
        end = _end(log, KEPT_BYTES)
        log.write_bytes(b"[what stood before is left out]\n" + end)


def _last_words(log: Path) -> str:
    text = _end(log, READ_BYTES).decode(errors="replace")
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if not line.startswith(("inifile:", "rootdir:"))]
    # pytest marks the error itself with an E; its summary only names the file
    telling = [line[1:].strip() for line in lines if line.startswith("E  ")]
    words = (telling or [line for line in lines if line] or ["it said nothing"])[-1]
    return words if len(words) <= LONGEST else words[: LONGEST - 3] + "..."


def _end(log: Path, size: int) -> bytes:
    with log.open("rb") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - size))
        return stream.read(size)
