"""What a process executes, opens and starts, as Python's audit events tell.

A module may hide where it came from, a configuration may lie in somebody else's folder, and a child
process may run a copy that its parent never loads.
"""

import json
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

    def __init__(self, tree: Path, log: Path) -> None:
        """Begin in the project's folder; PYTHONPATH names the agent's, and this side's in a tree.

        What processes hear that are forked from this one goes to ``log``.
        """
        self.executed: set[str] = set()
        self.read: set[str] = set()
        self.written: set[str] = set()
        self.children: set[Child] = set()
        agent, *others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        self.folders = [p for p in map(os.path.realpath, others) if Path(p).is_relative_to(tree)]
        """Those of this side in which modules are looked for."""
        # a project with folders for its code has none of it in its own
        inside = [each for each in self.folders if each != os.path.realpath(".")]
        self._seen = {os.path.realpath(agent), *(inside or self.folders)}
        self._log = str(log)
        self._forked = False
        os.register_at_fork(after_in_child=self._begin_child)
        sys.addaudithook(self._hear)

    def gather(self) -> None:
        """Take in what forked processes heard."""
        with suppress(OSError), open(self._log, encoding="utf-8") as lines:  # noqa: PTH123
            for line in lines:
                with suppress(ValueError, TypeError):
                    kind, item = json.loads(line)
                    getattr(self, kind).add(Child(*item) if kind == "children" else item)

    def _begin_child(self) -> None:
        self._forked = True

    def _note(self, kind: str, item: Any) -> None:
        known: set[Any] = getattr(self, kind)
        if item in known:
            return
        known.add(item)
        if self._forked:
            # nobody can say how it ends; a descriptor kept open may become somebody else's
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            descriptor = os.open(self._log, flags, 0o600)
            try:
                os.write(descriptor, json.dumps([kind, item]).encode() + b"\n")
            finally:
                os.close(descriptor)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in HEARD:
            return
        # what is raised here would be raised in the measured code
        with suppress(Exception):
            if event == "open":
                self._opened(arguments[0], arguments[2])
            elif event == "exec":
                self._note("executed", arguments[0].co_filename)
            else:
                program, words, *folder, variables = arguments
                self._started(program, words, folder, variables)

    def _opened(self, path: Any, flags: int) -> None:
        if isinstance(path, str | bytes) and path != self._log:
            kind = "written" if flags & WRITING else "read"
            self._note(kind, os.path.abspath(os.fsdecode(path)))  # noqa: PTH100

    def _started(self, program: Any, words: Any, folder: list[Any], variables: Any) -> None:
        names = [_text(word) for word in ([words] if isinstance(words, str | bytes) else words)]
        given = os.environ if variables is None else variables
        # Python looks programs up by the path of the child
        path = _variable(given, "PATH") or os.defpath
        found = Path(shutil.which(_text(program), path=path) or _text(program))
        where = os.path.abspath(_text(folder[0] if folder and folder[0] else "."))  # noqa: PTH100
        sees = not _is_python(found) or self._seen_by(found, names, where, given)
        # a command may have other arguments each time, and be started a thousand times
        command = " ".join([found.name, *names[1 : 1 if sees else 3]])
        self._note("children", Child(str(found), command[:LONGEST], where, sees))

    def _seen_by(
        self, python: Path, words: list[str], folder: str, variables: Mapping[Any, Any]
    ) -> bool:
        """Whether a Python that is started in a folder finds modules where this process does."""
        direct = PYTHON.fullmatch(python.name) is not None
        options = _options(words[1:]) if direct else []
        if any(map(ISOLATING.fullmatch, options)):
            return False
        found = [each for each in _variable(variables, "PYTHONPATH").split(os.pathsep) if each]
        if not any("P" in each for each in options):
            # the folder of a script comes first, or else that in which it is started
            rest = words[1 + len(options) :] if direct else [str(python)]
            script = rest and not rest[0].startswith("-")
            found.append(str(Path(rest[0]).parent) if script else "")
        return any(os.path.realpath(Path(folder, each)) in self._seen for each in found)


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
