"""Git, run so that it neither follows the caller's variables nor starts a program of theirs."""

import os
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from efficarch.errors import EfficarchError, last_line

QUIET = (
    # nothing of the user's runs because a gate asks git something
    ("core.hooksPath", os.devnull),
    ("core.fsmonitor", "false"),
    # nor does git repack what it was only asked to read
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("core.quotePath", "false"),
)
"""Settings of every call, whatever the user's own are."""

ALSO_LOCAL = (
    "GIT_ATTR_SOURCE",
    "GIT_EXTERNAL_DIFF",
    "GIT_GLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
    "GIT_LITERAL_PATHSPECS",
    "GIT_NAMESPACE",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_QUARANTINE_PATH",
)
"""Variables that change what a command means, beside those git itself calls local."""


@dataclass(frozen=True)
class Git:
    """Git in a folder, with some variables of the gate's own."""

    folder: Path
    variables: tuple[tuple[str, str], ...] = ()

    def __call__(self, *arguments: str, given: str = "") -> str:
        """Run a command and return what it prints, without the last newline.

        ``given`` is its standard input.

        Raises:
            EfficarchError: git is missing or the command failed.
        """
        done = self._run(arguments, given)
        if done.returncode:
            words = _telling(os.fsdecode(done.stderr))
            raise EfficarchError(f"git {arguments[0]} failed in {self.folder}: {words}")
        return _text(done.stdout)

    def ask(self, *arguments: str) -> str | None:
        """Run a command and return what it prints; ``None`` where it fails."""
        done = self._run(arguments, "")
        return None if done.returncode else _text(done.stdout)

    def complaint(self, *arguments: str) -> str:
        """Run a command and return what it says on standard error."""
        return os.fsdecode(self._run(arguments, "").stderr)

    def _run(self, arguments: tuple[str, ...], given: str) -> "subprocess.CompletedProcess[bytes]":
        settings = [part for name, value in QUIET for part in ("-c", f"{name}={value}")]
        return run_git(
            ["-C", str(self.folder), *settings, *arguments],
            dict(self.variables),
            os.fsencode(given),
        )


def outside_variables() -> dict[str, str]:
    """Return this process's variables without those by which git finds or changes a repository.

    A hook of git has them set, and with them every git that a hook starts works on the hook's
    repository and index, wherever it is told to.
    """
    dropped = {*_local_variables(), *ALSO_LOCAL}
    return {name: value for name, value in os.environ.items() if name not in dropped}


@cache
def _local_variables() -> tuple[str, ...]:
    done = subprocess.run(
        ["git", "rev-parse", "--local-env-vars"], capture_output=True, check=False
    )
    return tuple(_text(done.stdout).split())


def run_git(
    arguments: list[str], variables: dict[str, str], given: bytes
) -> "subprocess.CompletedProcess[bytes]":
    """Run git with clean variables; messages are in English and nothing is locked for a look."""
    try:
        clean = {**outside_variables(), "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
        return subprocess.run(
            ["git", *arguments],
            input=given,
            capture_output=True,
            env=clean | variables,
            check=False,
        )
    except FileNotFoundError as error:
        raise EfficarchError("git is not installed, and the gate needs it") from error


def _telling(said: str) -> str:
    """Return what went wrong: the first error, and for what git then gave up."""
    errors = [line.strip() for line in said.splitlines() if line.startswith("error: ")]
    return "; ".join(dict.fromkeys([*errors[:1], last_line(said)]))


def _text(output: bytes) -> str:
    return os.fsdecode(output).removesuffix("\n")
