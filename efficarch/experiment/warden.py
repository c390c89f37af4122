"""Runs one process and ends whatever it started: warden.py DESCRIPTOR COMMAND…

The descriptor is one that the process inherits, or - for none.

A program of its own, since it has to outlive the gate: it watches its standard input, which the
gate holds open, and when that ends, however the gate did, so does everything below it. Processes
that left the group or the session come back to it, as it is their next of kin (Linux). The
process ends with the warden, should that be killed.

Its exit status is that of the process, 128 and the signal's number where a signal ended it.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

SUBREAPER, DEATH_SIGNAL = 36, 1
"""Options of prctl(2)."""

LINUX = sys.platform.startswith("linux")
NOTHING = "-"
NOT_RUN = 127
ROUNDS = 100
"""How often descendants are looked for: one may start another while it is being ended."""


def main(arguments: list[str]) -> int:
    """Run the command and return how it ended."""
    libc = ctypes.CDLL(None) if LINUX else None
    if libc is not None:
        libc.prctl(SUBREAPER, 1, 0, 0, 0)
    kept, *command = arguments
    passed = () if kept == NOTHING else (int(kept),)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            pass_fds=passed,
            start_new_session=True,
            preexec_fn=None if libc is None else lambda: libc.prctl(DEATH_SIGNAL, signal.SIGKILL),
        )
    except OSError as error:
        sys.stdout.write(f"{command[0]} cannot be run: {error.strerror}\n")
        return NOT_RUN
    for descriptor in passed:
        os.close(descriptor)
    try:
        # the gate writes nothing: readable means that it has closed its end
        select.select([sys.stdin.fileno(), ended(process)], [], [])
    finally:
        end(process)
    code = process.wait()
    return 128 - code if code < 0 else code


def ended(process: "subprocess.Popen[bytes]") -> int:
    """Return a descriptor that can be read once the process has ended."""
    if hasattr(os, "pidfd_open"):
        try:
            return os.pidfd_open(process.pid)
        except OSError:
            pass  # a system older than this call
    reading, writing = os.pipe()

    def wait() -> None:
        process.wait()
        os.close(writing)

    threading.Thread(target=wait, daemon=True).start()
    return reading


def end(process: "subprocess.Popen[bytes]") -> None:
    """End the process and all that descends from it."""
    if not LINUX:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        return
    for _round in range(ROUNDS):
        found = descendants(os.getpid())
        if not found:
            return
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.poll()
        reap(process.pid)
        select.select([], [], [], 0.01)


def reap(kept: int) -> None:
    """Let go of what has ended, but for the process itself, whose exit status is asked for."""
    for pid in descendants(os.getpid(), zombies=True):
        if pid != kept:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue


def descendants(pid: int, *, zombies: bool = False) -> list[int]:
    """Return the processes below one, those that have ended only where they are asked for."""
    parents: dict[int, tuple[int, str]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
        except (OSError, ValueError):
            continue
        parents[int(entry.name)] = (int(parent), state)
    below = {pid}
    while True:
        more = {child for child, (parent, _state) in parents.items() if parent in below} - below
        if not more:
            break
        below |= more
    return [each for each in below - {pid} if zombies or parents[each][1] not in "ZX"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
