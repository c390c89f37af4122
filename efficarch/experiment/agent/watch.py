"""What a process executes, opens and starts, as Python's audit events tell.

A module may hide where it came from, a configuration may lie in somebody else's folder, and a child
process may run a copy that its parent never loads.
"""

import os
import re
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

PYTHON = re.compile(r"(python|pypy)[\d.]*(\.exe)?", re.ASCII)
ISOLATING = re.compile(r"-[a-zA-Z]*[IE]")
"""Options of Python by which it ignores its variables."""
WRITING = os.O_WRONLY | os.O_RDWR
LONGEST = 80
"""Of a command, in characters."""
HEARD = frozenset(("exec", "open", "os.exec", "os.posix_spawn", "subprocess.Popen"))


class Child(NamedTuple):
    """A program that was started, and where."""

    program: str
    command: str
    folder: str
    sees_path: bool
    """Whether it is no Python, or one that finds this side's modules."""


class Watch:
    """Listens from when it is made until the process ends: such a hook cannot be removed."""

    def __init__(self) -> None:
        self.executed: set[str] = set()
        self.read: set[str] = set()
        self.written: set[str] = set()
        self.children: set[Child] = set()
        self._path = os.environ.get("PYTHONPATH", "").partition(os.pathsep)[0]
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in HEARD:
            return
        # what is raised here would be raised in the measured code
        with suppress(Exception):
            if event == "open":
                self._opened(arguments[0], arguments[2])
            elif event == "exec":
                self.executed.add(arguments[0].co_filename)
            else:
                program, words, *folder, variables = arguments
                self._started(program, words, folder, variables)

    def _opened(self, path: Any, flags: int) -> None:
        if isinstance(path, str | bytes):
            which = self.written if flags & WRITING else self.read
            which.add(os.path.abspath(os.fsdecode(path)))  # noqa: PTH100

    def _started(self, program: Any, words: Any, folder: list[Any], variables: Any) -> None:
        names = [_text(word) for word in ([words] if isinstance(words, str | bytes) else words)]
        given = os.environ if variables is None else variables
        # Python looks programs up by the path of the child
        path = _variable(given, "PATH") or os.defpath
        found = Path(shutil.which(_text(program), path=path) or _text(program))
        where = os.path.abspath(_text(folder[0] if folder and folder[0] else "."))  # noqa: PTH100
        sees = not _is_python(found) or self._seen_by(found, names, given)
        # a command may have other arguments each time, and be started a thousand times
        command = " ".join([found.name, *names[1 : 1 if sees else 3]])
        self.children.add(Child(str(found), command[:LONGEST], where, sees))

    def _seen_by(self, python: Path, words: list[str], variables: Mapping[Any, Any]) -> bool:
        """Whether a Python finds what this process finds."""
        options = _options(words[1:]) if PYTHON.fullmatch(python.name) else []
        given = _variable(variables, "PYTHONPATH").split(os.pathsep)
        return self._path in given and not any(map(ISOLATING.fullmatch, options))


def _text(value: Any) -> str:
    return os.fsdecode(value) if isinstance(value, str | bytes | os.PathLike) else str(value)


def _is_python(program: Path) -> bool:
    """Whether a program is Python, or a script that says it is for Python."""
    if PYTHON.fullmatch(program.name):
        return True
    try:
        descriptor = os.open(program, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return re.match(rb"#!.*(python|pypy)", os.read(descriptor, 200)) is not None
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _options(words: list[str]) -> list[str]:
    """Return Python's own options: those before a script, a module or a command."""
    found = []
    for word in words:
        if not word.startswith("-") or word in ("-c", "-m"):
            break
        found.append(word)
    return found


def _variable(variables: Mapping[Any, Any], name: str) -> str:
    # a child may be given its variables as bytes
    return next((_text(v) for key, v in variables.items() if _text(key) == name), "")
