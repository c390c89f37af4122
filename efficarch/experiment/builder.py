"""Builds the environment of a side under a warden: in the side's home, and not for ever."""

import os
import shlex
import sys
from collections.abc import Sequence
from configparser import Error as ConfigError
from configparser import RawConfigParser
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from efficarch.errors import EfficarchError, last_line
from efficarch.experiment.git import outside_variables
from efficarch.experiment.processes import Program, run_alone
from efficarch.experiment.shared_caches import shared_caches, user_base, user_home
from efficarch.experiment.side import OWN_CACHES
from efficarch.timing import seconds_now

READ_FROM_HOME = {"CARGO_HOME": ".cargo", "NETRC": ".netrc", "RUSTUP_HOME": ".rustup"}
"""What builders read of the user's home, by the variable that names it."""


@dataclass(frozen=True)
class Workshop:
    """Where environments are built."""

    folder: Path
    """The gate's temporary folder."""
    timeout_s: int
    """The longest that an environment may take."""
    lock: int | None
    """A descriptor that stays open until all that a build starts has ended."""


class Builder:
    """Runs the programs that build the environment of one side; none of what they start stays."""

    def __init__(self, side: str, workshop: Workshop) -> None:
        self._side = side
        self._workshop = workshop
        self._end = seconds_now() + workshop.timeout_s
        self._variables = build_variables(workshop.folder / f"{side}-home")

    def run(self, command: Sequence[str], folder: Path) -> None:
        """Run a program in a folder to its end.

        Raises:
            EfficarchError: it fails, or the side's time is over.
        """
        code, said = self._run(command, folder, self._variables)
        if code:
            raise EfficarchError(
                f"the environment of the {self._side} cannot be built: {shlex.join(command[1:])} "
                f"failed: {_telling(said)}"
            )

    def use_cache_of(self, python: Path) -> None:
        """Let pip keep wheels where it does for the user, as pip itself says where that is."""
        command = [str(python), "-m", "pip", "cache", "dir"]
        code, said = self._run(command, self._workshop.folder, outside_variables())
        cache = last_line(said)
        # none is used where the user's settings say so
        if code == 0 and cache.startswith("/"):
            self._variables["PIP_CACHE_DIR"] = cache

    def _run(
        self, command: Sequence[str], folder: Path, variables: dict[str, str]
    ) -> tuple[int, str]:
        log = self._workshop.folder / "build.log"
        program = Program(command, variables, folder, log)
        left = max(0.0, self._end - seconds_now())
        code = run_alone(program, timeout_s=left, lock=self._workshop.lock)
        said = log.read_text(encoding="utf-8", errors="replace")
        if code is None:
            raise EfficarchError(
                f"building the environment of the {self._side} took more than "
                f"{self._workshop.timeout_s} s and was stopped in {shlex.join(command[1:])}, which "
                f"said last: {last_line(said).strip()}; allow more with --timeout"
            )
        return code, said


def build_variables(home: Path) -> dict[str, str]:
    """Return the variables of a build, whose home this is; pip and git are set up as the user's."""
    kept, own = outside_variables(), home / ".own"
    temporary = home / "tmp"
    for folder in (own, temporary):
        folder.mkdir(parents=True, exist_ok=True)
    theirs = user_home()
    named = {} if theirs is None else _of_home(theirs, own)
    return {
        **named,
        **kept,
        **{name: str(own / name.lower()) for name in OWN_CACHES if name in kept},
        **{name: str(path) for name, path in shared_caches().items()},
        **user_base(),
        "HOME": str(home),
        "TMPDIR": str(temporary),
    }


def _of_home(home: Path, own: Path) -> dict[str, str]:
    """Return what names the settings in a home that are read."""
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    application = home / "Library" / "Application Support"
    places = application if sys.platform == "darwin" and application.is_dir() else settings
    pip = [home / ".pip" / "pip.conf", places / "pip" / "pip.conf"]
    git = [settings / "git" / "config", home / ".gitconfig"]
    found = {name: home / path for name, path in READ_FROM_HOME.items() if (home / path).exists()}
    for name, files, joined in (("PIP_CONFIG_FILE", pip, _ini), ("GIT_CONFIG_GLOBAL", git, _git)):
        there = [each for each in files if each.is_file()]
        if there:
            found[name] = there[0]
        if len(there) > 1:
            # a variable names one file only, and of what both say the last counts
            found[name] = own / name.lower()
            found[name].write_text(joined(there), encoding="utf-8")
    return {name: str(path) for name, path in found.items()}


def _ini(files: Sequence[Path]) -> str:
    parser, joined = RawConfigParser(), StringIO()
    try:
        parser.read(files, encoding="utf-8")
    except (ConfigError, ValueError) as error:
        raise EfficarchError(
            f"pip's settings cannot be read: {last_line(str(error))}; mend them"
        ) from error
    parser.write(joined)
    return joined.getvalue()


def _git(files: Sequence[Path]) -> str:
    quoted = (str(path).replace("\\", "\\\\").replace('"', '\\"') for path in files)
    return "".join(f'[include]\n\tpath = "{path}"\n' for path in quoted)


def _telling(output: str) -> str:
    """Return the line that says what went wrong: pip's own words come after those of a build."""
    errors = [line for line in output.splitlines() if "error:" in line.lower()]
    inner = [line for line in errors if line.startswith(" " * 6)]
    return (inner or errors or [last_line(output)])[-1].strip()
