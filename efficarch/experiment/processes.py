"""Processes under a warden: a pair side by side, or one alone; none of what they start stays."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO

from efficarch.errors import EfficarchError
from efficarch.experiment import warden
from efficarch.experiment.interrupts import held_back
from efficarch.timing import seconds_now
from efficarch.turns import Conductor

END_AFTER_S = 20
"""How long a warden may take to end everything."""
POLL_S = 0.1

ENDED = (0, 1)
"""Exit codes of pytest: all passed, or some test failed and says so in the file."""
NOT_COLLECTED = (2, 4)
"""That a test file, or a file that runs before it, cannot be loaded."""
NOTHING_SELECTED = 5
"""That no test was left to run."""


@dataclass(frozen=True)
class Start:
    """How a process of a pair is started; ``log`` takes what it says."""

    command: Callable[[], Sequence[str]]
    variables: Callable[[int], Mapping[str, str]]
    """Given the descriptor of its end of the turns."""
    folder: Path
    log: Path


@dataclass(frozen=True)
class Program:
    """What is run, with its variables and its folder; ``log`` takes what it says."""

    command: Sequence[str]
    variables: Mapping[str, str]
    folder: Path
    log: Path


def run_alone(program: Program, *, timeout_s: float, lock: int | None) -> int | None:
    """Run a program to its end and return its exit code; ``None`` where it took too long.

    Nothing of what it started stays, either way. ``lock`` is as for `run_pair`.
    """
    with _process(program, None, lock) as process:
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None


def run_pair(
    starts: Mapping[str, Start],
    conductor_of: Callable[[Mapping[str, socket.socket]], Conductor],
    *,
    timeout_s: int,
    lock: int | None,
    collected: Callable[[str], bool],
) -> dict[str, int]:
    """Run both processes of a pair to their end and return their exit codes.

    The first of ``starts`` begins every cell. Where one ends badly the other is stopped, as its
    pair is lost, once it has ``collected`` its tests: that tells whose fault it is. That is asked
    of both while they run, and may refuse to go on. ``lock`` is a descriptor that stays open
    until all that they started has ended.

    Raises:
        EfficarchError: they took longer than ``timeout_s``, or a turn could not be given.
    """
    running: dict[str, subprocess.Popen[bytes]] = {}
    connections: dict[str, socket.socket] = {}
    codes: dict[str, int] = {}
    with ExitStack() as stack:
        for side, start in starts.items():
            ours, theirs = socket.socketpair()
            connections[side] = stack.enter_context(ours)
            with theirs:
                turns = theirs.fileno()
                program = Program(start.command(), start.variables(turns), start.folder, start.log)
                running[side] = stack.enter_context(_process(program, turns, lock))
        conductor = conductor_of(connections)
        stack.callback(conductor.hang_up)
        Thread(target=conductor.run, daemon=True).start()
        end = seconds_now() + timeout_s
        while running:
            for side, process in list(running.items()):
                with suppress(subprocess.TimeoutExpired):
                    codes[side] = process.wait(POLL_S)
                    del running[side]
            have = {side: collected(side) for side in starts}
            if set(codes.values()) - {*ENDED, NOTHING_SELECTED} and all(map(have.get, running)):
                break
            conductor.check()
            if running and seconds_now() > end:
                late = conductor.awaited if len(running) > 1 else next(iter(running))
                raise EfficarchError(
                    f"a process of the {late} took more than {timeout_s} s and was stopped; see "
                    f"{starts[late].log}, or allow more with --timeout"
                )
    return codes


@contextmanager
def _process(
    program: Program, turns: int | None, lock: int | None
) -> Iterator["subprocess.Popen[bytes]"]:
    with program.log.open("wb") as output, ExitStack() as stack:
        with held_back():
            process = _started(program, turns, output, lock)
            stack.callback(_end, process)
        yield process


def _started(
    program: Program, turns: int | None, output: IO[bytes], lock: int | None
) -> "subprocess.Popen[bytes]":
    kept = warden.NOTHING if turns is None else str(turns)
    above = [sys.executable, "-I", "-S", str(Path(warden.__file__)), kept]
    return subprocess.Popen(
        [*above, *program.command],
        cwd=program.folder,
        env=dict(program.variables),
        # the warden ends everything when the gate's end of this is closed
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=tuple(each for each in (turns, lock) if each is not None),
    )


def _end(process: "subprocess.Popen[bytes]") -> None:
    with held_back():
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(END_AFTER_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
