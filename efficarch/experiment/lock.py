"""One gate at a time on a machine, in whichever repository: two would disturb each other."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

from efficarch.errors import EfficarchError
from efficarch.timing import rest, seconds_now

PATIENCE_S = 5
"""How long a gate waits for another: the processes of one that was killed take a moment to end."""


@contextmanager
def only_gate() -> Iterator[int | None]:
    """Be the only gate on this machine's visible GPUs, and give the descriptor that says so.

    Linux frees the name with the last process that holds it; nothing is left on disk. Elsewhere
    there is no lock, and the descriptor is ``None``.

    Raises:
        EfficarchError: another gate is at work.
    """
    if not sys.platform.startswith("linux"):
        yield None
        return
    with socket.socket(socket.AF_UNIX) as held:
        devices = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
        _bind(held, f"\0efficarch gate {sha256(os.fsencode(devices)).hexdigest()[:16]}")
        yield held.fileno()


def _bind(held: socket.socket, name: str) -> None:
    end = seconds_now() + PATIENCE_S
    while True:
        try:
            held.bind(name)
            return
        except OSError as error:
            if seconds_now() > end:
                raise EfficarchError(
                    "another gate is at work on this machine; its timings would suffer, so wait "
                    "for it or stop it"
                ) from error
        rest(0.1)
