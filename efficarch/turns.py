"""Rounds in turns: the two processes of a pair measure each cell together, one round at a time.

Where a machine is shared, it is faster or slower for seconds or minutes on end, so that processes
one after the other meet different machines. Here both stand by, and while one works the other
sleeps; rounds that belong together are a moment apart. A process that has no counterpart for a cell
measures it alone.

The processes speak with the gate in lines of JSON over a socket: ``enter`` with a cell, and ``go``
lets them prepare it; ``ready``, answered by how many rounds and whose turn is first; then ``go``
and ``done`` for each round, or ``stop``; and ``left``, answered when both have no rounds to go.
"""

import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from efficarch.errors import EfficarchError, brief
from efficarch.timing import rest

VARIABLE = "EFFICARCH_GATE_TURNS"

SETTLE_S = 0.012
"""Rest at the end of a turn: the idle threads of OpenMP go on spinning for some 10 ms (GNU's), on a
core that the other side is about to use."""

MOST_TIMES = 4
"""How many times as many rounds as the slower side asks for are run at most: a side asks for as
many as fill a span of time, so that the slower one's span is at most so many times as long."""

LONGEST_LINE = 2**24
"""Of a message, in characters: an id is in it, and pytest makes one of a text of any length."""


@dataclass(frozen=True)
class Meeting:
    """What two processes agreed on for a cell."""

    rounds: int
    turn: int
    """0 for the process that begins, 1 for the other."""


class _Ended(Exception):
    """The other end says no more."""


class _Line:
    """One end of a connection; a broken one hears nothing."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._incoming = connection.makefile("r", encoding="utf-8")

    def send(self, message: Any) -> None:
        with suppress(OSError):
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def hear(self) -> Any:
        """Return what is said next.

        Raises:
            _Ended: nothing is.
            ValueError: it cannot be read, which is not the same as an end.
        """
        try:
            line = self._incoming.readline(LONGEST_LINE)
        except UnicodeDecodeError:
            raise
        except (OSError, ValueError) as error:
            # closed on this side
            raise _Ended from error
        if len(line) >= LONGEST_LINE:
            raise ValueError(
                f"a message of {LONGEST_LINE:,} characters and more; is there a test with such a "
                "name?"
            )
        if not line.endswith("\n"):
            raise _Ended
        return json.loads(line)

    def receive(self) -> Any:
        """Return what is said next, ``None`` where nothing is."""
        try:
            return self.hear()
        except _Ended:
            return None

    def hang_up(self) -> None:
        """End the conversation, also under a thread that listens."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._incoming.close()
        self._connection.close()


class Turns:
    """The end of a measured process."""

    def __init__(self, connection: socket.socket) -> None:
        self._line = _Line(connection)

    def enter(self, cell_id: str) -> None:
        """Wait until this process may prepare a cell."""
        self._line.send({"enter": cell_id})
        self._line.receive()

    def meet(self, cell_id: str, rounds: int) -> Meeting | None:
        """Wait for the other process at a cell that is prepared; ``None`` to measure it alone."""
        rest(SETTLE_S)
        self._line.send({"ready": cell_id, "rounds": rounds})
        answer = self._line.receive()
        return None if answer is None else Meeting(answer["rounds"], answer["turn"])

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for this process's turn, and give it back afterwards."""
        self._line.receive()
        try:
            yield
        except BaseException:
            self._line.send("stop")
            raise
        rest(SETTLE_S)
        self._line.send("done")

    def leave(self) -> None:
        """Wait until the other process has had its last round too."""
        self._line.send({"left": True})
        self._line.receive()


def current() -> Turns | None:
    """Return the turns of this process, once; ``None`` where no gate started it.

    Neither the variable nor the connection reaches a process that this one starts.

    Raises:
        EfficarchError: the variable names no open socket.
    """
    descriptor = os.environ.pop(VARIABLE, None)
    if descriptor is None:
        return None
    try:
        connection = socket.socket(fileno=int(descriptor))
    except (OSError, OverflowError, ValueError) as error:
        raise EfficarchError(
            f"{VARIABLE} is {descriptor!r}, which is no open socket of a gate; unset it"
        ) from error
    connection.set_inheritable(False)
    return Turns(connection)


class _Player:
    """A measured process as the gate sees it."""

    def __init__(self, connection: socket.socket) -> None:
        self.line = _Line(connection)
        self.entering: str | None = None
        """The cell it wants to prepare."""
        self.rounds: int | None = None
        """How many it wants to run of the cell that it has prepared."""
        self.leaving = False
        """Whether it has run them."""

    def listen(self) -> None:
        """Wait until the process enters a cell, stands ready at one, leaves one, or has ended."""
        self.entering, self.rounds, self.leaving = None, None, False
        try:
            message = self.line.hear()
        except _Ended:
            return
        match message:
            case {"enter": str(name)} if name:
                self.entering = name
            case {"ready": _, "rounds": int(rounds)} if not isinstance(rounds, bool):
                self.rounds = rounds
            case {"left": _}:
                self.leaving = True
            case _:
                raise ValueError(f"{brief(message)} is no message")

    def go(self) -> bool:
        """Let it run a round, and say whether it did."""
        self.line.send("go")
        try:
            answer = self.line.hear()
        except _Ended:
            return False
        if answer not in ("done", "stop"):
            raise ValueError(f"{brief(answer)} is no end of a round")
        return bool(answer == "done")


class Conductor:
    """Gives two processes their turns; the gate's end."""

    def __init__(
        self, connections: Mapping[str, socket.socket], place: Callable[[str], Any]
    ) -> None:
        """Take connections by the name of the side, that which begins first.

        ``place`` says in which order both of them come to the cells.
        """
        self._players = {name: _Player(each) for name, each in connections.items()}
        self._place = place
        self.awaited = next(iter(connections))
        """The side that has the turn."""
        self._failure: Exception | None = None

    def run(self) -> None:
        """Go on until both have ended; whatever happens, nobody is left waiting for a turn."""
        try:
            self._run()
        except Exception as error:
            self._failure = error
        finally:
            self.hang_up()
            for player in self._players.values():
                player.line.close()

    def check(self) -> None:
        """Refuse to go on where no turn can be given any more.

        Raises:
            EfficarchError: a process said what is no part of taking turns.
        """
        if self._failure is not None:
            raise EfficarchError(
                f"a process of the {self.awaited} broke the rules of taking turns "
                f"({self._failure}); does measured code write to descriptors it did not open?"
            ) from self._failure

    def hang_up(self) -> None:
        """End all conversations; a process that waits goes on alone."""
        for player in self._players.values():
            player.line.hang_up()

    def _run(self) -> None:
        for name in self._players:
            self._listen(name)
        while cells := [each.entering for each in self._players.values() if each.entering]:
            # who stands elsewhere has passed this cell or has yet to come to it
            here = min(cells, key=self._place)
            ready = [
                name
                for name, player in self._players.items()
                if player.entering == here and self._prepares(name)
            ]
            if len(ready) == 2:
                self._play()
            for name in ready:
                if len(ready) == 1:
                    self._players[name].line.send(None)
                self._listen(name)
            leaving = [name for name in ready if self._players[name].leaving]
            for name in leaving:
                self._players[name].line.send("go")
            for name in leaving:
                self._listen(name)

    def _listen(self, name: str) -> None:
        self.awaited = name
        self._players[name].listen()

    def _prepares(self, name: str) -> bool:
        """Let a side prepare the cell it stands at, and say whether it is ready to measure it."""
        self._players[name].line.send("go")
        self._listen(name)
        return self._players[name].rounds is not None

    def _play(self) -> None:
        wanted = [player.rounds or 0 for player in self._players.values()]
        rounds = min(max(wanted), MOST_TIMES * min(wanted))
        for turn, player in enumerate(self._players.values()):
            player.line.send({"rounds": rounds, "turn": turn})
        # strictly by turns: every round then begins with what the other side left in the caches
        playing = list(self._players)
        for _round in range(rounds):
            for name in list(playing):
                self.awaited = name
                if not self._players[name].go():
                    playing.remove(name)
