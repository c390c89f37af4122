"""Foreign text on its way to a terminal, a workflow, Markdown or HTML: shown, never obeyed.

Test ids, skip reasons, messages, names of files and branches are other people's words. Whatever
prints or writes them goes through one of these functions; HTML through `printable` and the
template engine's escaping.
"""

import re
import unicodedata

_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))

# what a workflow reads as a command: "::" that begins a line; "##[", "##vso[" and their like
# anywhere in one
_COMMAND = re.compile(r"^(\s*):(?=:)|#(?=#\w*\[)")

_LEVELS = ("notice", "warning", "error")

_BREAK = "\N{ZERO WIDTH SPACE}"

# where GitHub would see an address, a person, an issue, a picture or a formula
_REFERENCES = re.compile(
    r"(?<=@)|(?<=#)(?=\d)|(?<=gh-)(?=\d)|(?<=:)(?=//)|(?<=www)(?=\.)"
    r"|(?<=:)(?=[\w+-]+:)|(?=\$)",
    re.IGNORECASE,
)
# GitHub links these where the repository has such a commit
_HASH = re.compile(r"(?<![0-9a-z])[0-9a-f]{7,40}(?![0-9a-z])", re.IGNORECASE)
_SHORT_OF_A_HASH = 6

# what Markdown reads as a heading, list, rule, table or task where it begins a line
_BLOCK = re.compile(r"#|[-+=](?!\d)|:-|\d{1,9}[.)](?!\d)|\[[ x]\]", re.IGNORECASE)

# entities, not backslashes, for what splits table cells or opens tags before Markdown is read
_MARKDOWN = str.maketrans(
    {
        "&": "&amp;",
        "<": "&lt;",
        ">": "&gt;",
        "|": "&#124;",
        "`": "&#96;",
        "\\": "&#92;",
        "$": "&#36;",
        "*": r"\*",
        "_": r"\_",
        "[": r"\[",
        "]": r"\]",
        "~": r"\~",
        _BREAK: "&#8203;",
    }
)


class _Escapes(dict[int, str]):
    """Characters by code: themselves, or an escape where nothing would be seen of them."""

    def __missing__(self, code: int) -> str:
        hidden = unicodedata.category(chr(code)) in _HIDDEN
        self[code] = _escape(code) if hidden else chr(code)
        return self[code]


_ESCAPES = _Escapes()


def printable(text: str) -> str:
    r"""Return text on one line: control and format characters as escapes such as ``\x1b``.

    Line breaks and tabs, with the blanks around them, become one space. Escaped is what Unicode
    calls Cc, Cf, Cs, Co, Cn, Zl and Zp, so also lone surrogates and what reverses the direction.
    """
    line = re.sub(r"[\t\n\r ]+", lambda gap: gap[0] if set(gap[0]) == {" "} else " ", text)
    return line if line.isprintable() else line.translate(_ESCAPES)


def terminal(text: str) -> str:
    """Return text as a line to print, which no workflow reads as a command."""
    return _COMMAND.sub(
        lambda found: f"{found[1] or ''}{_escape(ord(found[0][-1]))}", printable(text)
    )


class Annotation(str):
    """A workflow command that shows a sentence: what `annotation` returns, and no other text."""

    __slots__ = ()


def annotation(level: str, title: str, text: str) -> Annotation:
    """Return a workflow command of GitHub that shows text on one line.

    Raises:
        ValueError: the level is none of notice, warning and error.
    """
    if level not in _LEVELS:
        raise ValueError(f"level is {level!r}; known: {', '.join(_LEVELS)}")
    name = _data(printable(title)).replace(":", "%3A").replace(",", "%2C")
    return Annotation(f"::{level} title={name}::{_data(printable(text))}")


def markdown(text: str, limit: int = 400) -> str:
    """Return text that GitHub's Markdown shows as it is in a paragraph, list or table cell.

    It stays on one line, is cut to ``limit`` characters, and links, notifies and formats nothing.
    """
    line = " ".join(printable(text).split())
    if len(line) > limit:
        line = line[: limit - 1] + "…"
    line = _HASH.sub(_in_parts, _REFERENCES.sub(_BREAK, line))
    return (_BREAK + line if _BLOCK.match(line) else line).translate(_MARKDOWN)


def _in_parts(found: re.Match[str]) -> str:
    word, size = found[0], _SHORT_OF_A_HASH
    return _BREAK.join(word[start : start + size] for start in range(0, len(word), size))


def _data(text: str) -> str:
    return text.replace("%", "%25")


def _escape(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
