"""How a command speaks and ends: one sentence for every failure, and an exit code that is true.

0 nothing is shown to be worse, 1 a cell fails, 2 usage or unreadable input, 3 inconclusive,
4 nothing comparable, 70 a fault of efficarch. Nothing but a command's own verdict is ever 1.
"""

import argparse
import errno
import io
import os
import platform
import select
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from efficarch.errors import EfficarchError, brief
from efficarch.extras import broken_import, remedy
from efficarch.text import Annotation, terminal

USAGE = 2
FAULT = 70

# what a machine runs out of or does not allow, whoever asks
_OF_THE_MACHINE = (
    errno.EACCES,
    errno.EDQUOT,
    errno.ELOOP,
    errno.EMFILE,
    errno.ENAMETOOLONG,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ENOSPC,
    errno.EPERM,
    errno.EROFS,
)


def say(text: str) -> None:
    """Print one line, which neither a terminal nor a workflow obeys, unless it is an annotation.

    Whatever breaks a line in it is part of the line: foreign text writes none of its own.
    """
    print(text if isinstance(text, Annotation) else terminal(text))  # noqa: T201


def complain(text: str) -> None:
    """Print one sentence to standard error."""
    print(f"efficarch: {terminal(text)}", file=sys.stderr)  # noqa: T201


class ParserExit(SystemExit):
    """The command line was not understood, or asked for help; no other code may end a command."""


class Parser(argparse.ArgumentParser):
    """A parser whose messages repeat what was typed as text alone."""

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Print a message and exit."""
        try:
            super().exit(status, message)
        except SystemExit as stop:
            raise ParserExit(stop.code) from None

    def error(self, message: str) -> NoReturn:
        """Print usage and message, and exit."""
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: error: {terminal(message)}\n")


def filled(text: str) -> str:
    """Return an argument that may not be empty."""
    if not text:
        raise argparse.ArgumentTypeError("is empty; leave the option out or give it a value")
    return text


def path(text: str) -> Path:
    """Return an argument as a path; an empty one would be the working directory."""
    return Path(filled(text))


def regular(file: Path) -> Path:
    """Return a file that can be read to its end.

    Raises:
        EfficarchError: it is a pipe, a device or the like. One that is missing is left to its
            reader.
    """
    if file.exists() and not file.is_file():
        what = "a folder" if file.is_dir() else "no regular file"
        raise EfficarchError(f"{file} is {what}; name a run file")
    return file


def standing() -> None:
    """Check that the working directory exists: much of what is imported does not begin without.

    Raises:
        EfficarchError: it was removed.
    """
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise EfficarchError(
            "the folder in which this was typed is gone; change to another and run it again"
        ) from error


def ended(command: Callable[[], int]) -> int:
    """Run a command and return its exit code, whatever becomes of it or of its output.

    Raises:
        SystemExit: the command line was not understood, or asked for help.
    """
    _steady_streams()
    try:
        return _written(_code(command))
    except ParserExit as stop:
        raise SystemExit(_written(stop.code if isinstance(stop.code, int) else USAGE)) from None


def _code(command: Callable[[], int]) -> int:
    try:
        return command()
    except ParserExit:
        raise
    except EfficarchError as error:
        complain(str(error))
    except KeyboardInterrupt:
        complain("interrupted")
    except BaseException as error:
        reason = _reason(error)
        if reason is None:
            return _fault(error)
        complain(reason)
    return USAGE


def _reason(error: BaseException) -> str | None:
    """Say what the machine lacks or others' code did, where that and not efficarch is at fault."""
    if isinstance(error, ImportError):
        return remedy(error)
    cause = error.__context__ if isinstance(error, RuntimeError) else None
    if isinstance(cause, OSError) and cause.errno == errno.ELOOP:
        # what Path.resolve makes of a link in a circle, before Python 3.13
        error = cause
    if isinstance(error, SystemExit):
        return f"some code asked to end the process ({brief(error)}), which is no verdict"
    if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        return f"{where}{error.strerror}"
    return broken_import(error)


def _fault(error: BaseException) -> int:
    """Keep the traceback in a file and say where."""
    what = traceback.format_exception_only(error)[-1].strip()
    try:
        descriptor, name = tempfile.mkstemp(prefix="efficarch-fault-", suffix=".txt", text=True)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"Python {platform.python_version()}, {platform.platform()}\n{sys.argv}\n\n")
            traceback.print_exception(error, file=file)
        where = f"the traceback is in {name}"
    except OSError as reason:
        where = f"its traceback could not be kept ({reason.strerror})"
    complain(
        f"this is a fault of efficarch, not a verdict: {what}; {where}; please report it to the "
        "efficarch project, as its docs/security.md says"
    )
    return FAULT


class _Outlet(io.FileIO):
    """Standard output or error; what can no longer be written is dropped, and why is kept."""

    fault: OSError | None = None

    def write(self, data: Any, /) -> int:
        while self.fault is None:
            try:
                written = super().write(data)
            except OSError as error:
                self.fault = error
            else:
                if written is not None:
                    return written
                # a reader that takes no more for now, on a descriptor that does not wait for it
                select.select([], [self], [])
        return memoryview(data).nbytes


def _steady_streams() -> None:
    """Make standard output and error streams that no closed pipe, full disk or locale can break.

    They stay until the process ends: the interpreter flushes them after everything else. What a
    host put in their place is left alone.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # or a file opened later would take the place of the stream
            os.open(os.devnull, os.O_RDWR)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, _steady(number, "utf-8" if stream is None else stream.encoding))


def _steady(number: int, encoding: str) -> io.TextIOWrapper:
    outlet = _Outlet(number, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(outlet), encoding, errors="backslashreplace", line_buffering=True
    )


def _written(code: int) -> int:
    """Return the exit code, or another one if somebody wanted the output and could not have it."""
    sys.stdout.flush()
    outlet = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    fault = outlet.fault if isinstance(outlet, _Outlet) else None
    # a reader that leaves early has read what it wanted
    if fault is None or isinstance(fault, ConnectionError):
        return code
    complain(f"cannot write to standard output: {fault.strerror}")
    return USAGE
