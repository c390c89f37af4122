"""Text and JSON that others wrote: read in whatever encoding it is, or refused in words."""

import json
import os
import re
from pathlib import Path
from typing import Any

LARGEST_BYTES = 256 * 2**20
"""More than any run file: a thousand cells with a thousand rounds each take a quarter of it."""

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
"""Half of a pair that JSON writes a character beyond 65,535 as, or a lone one."""


def resolved(path: Path) -> Path:
    """Return where a path leads; links that lead in a circle stay as they are.

    `Path.resolve` raises there, and another error in every version of Python.
    """
    return Path(os.path.realpath(path))


def from_home(text: str) -> Path:
    """Return a path, ``~`` at its beginning for a home; where nobody has one it stays as it is."""
    # Path.expanduser raises for a user who is not known
    return Path(os.path.expanduser(text))  # noqa: PTH111


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, UTF-16 or UTF-32, with a byte order mark or without.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is too large, empty or no text; says which and what to do.
    """
    data = content(path, LARGEST_BYTES)
    try:
        # decoded here and not by json.loads, which lets half characters pass
        return data.decode(json.detect_encoding(data))
    except UnicodeDecodeError as error:
        raise ValueError(
            f"not text in UTF-8, UTF-16 or UTF-32 ({error.reason} at byte {error.start}); "
            "save it in UTF-8"
        ) from error


def content(path: Path, most: int = LARGEST_BYTES) -> bytes:
    """Return what is in a file that has an end, of at most so many bytes.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is too large, or a pipe, a device or the like; says what to do.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        # opening a pipe waits for somebody who writes
        raise ValueError("is a pipe or a device; name a regular file")
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(
            f"is larger than {most // 2**20} MB, more than such a file holds; name another"
        )
    return data


def parse_json(text: str) -> Any:
    """Return a JSON value in which no object has a key twice and all text is Unicode.

    Raises:
        ValueError: it is not; `json.JSONDecodeError` where it is no JSON.
        RecursionError: it is nested too deeply.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"holds text that is no Unicode ({error.reason})") from error
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} stands twice in one object; the file was edited")
        found[key] = value
    return found
