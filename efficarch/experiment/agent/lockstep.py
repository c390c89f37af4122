"""Turns of an ordinary benchmark: the whole test is one round.

The words are those of ``efficarch.turns``, which speaks for the cells of a suite.
"""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SETTLE_S = 0.012
"""Rest at the end of a turn, until idle threads of OpenMP have stopped spinning."""


class Lockstep:
    """The end of a measured process; once the gate is gone it waits for nobody."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._incoming = connection.makefile("r", encoding="utf-8")

    @classmethod
    def inherited(cls, descriptor: str | None) -> "Lockstep | None":
        """Take part by the descriptor that a variable names; ``None`` where there is no other side.

        The descriptor is copied: efficarch's own fixture has the first.
        """
        if descriptor is None:
            return None
        return cls(socket.socket(fileno=os.dup(int(descriptor))))

    def enter(self, name: str) -> None:
        """Wait until this process may prepare a test."""
        self._send({"enter": name})
        self._receive()

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Run a test in this process's turn, and leave it when the other side has had its own."""
        time.sleep(SETTLE_S)
        self._send({"ready": name, "rounds": 1})
        if self._receive() is None:
            # the other side does not have this test
            yield
            return
        self._receive()
        try:
            yield
        except BaseException:
            self._send("stop")
            raise
        time.sleep(SETTLE_S)
        self._send("done")
        self._send({"left": True})
        self._receive()

    def _send(self, message: Any) -> None:
        try:
            self._connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return

    def _receive(self) -> Any:
        try:
            line = self._incoming.readline()
        except OSError:
            return None
        return json.loads(line) if line.endswith("\n") else None
