"""Ctrl-C and SIGTERM: they end a gate once, and never in the middle of tidying up."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class _Interrupts:
    """What became of the signals of this process."""

    def __init__(self) -> None:
        self.raised = False
        self.held_back = 0
        self.waiting = False

    def receive(self, _signal: int, _frame: FrameType | None) -> None:
        if self.held_back:
            self.waiting = True
        else:
            self.interrupt()

    def interrupt(self) -> None:
        # a second one, from an impatient user, would only leave behind what the first is removing
        if not self.raised:
            self.raised = True
            raise KeyboardInterrupt


_interrupts = _Interrupts()


@contextmanager
def signals_as_interrupts() -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does, both at most once.

    SIGINT too: a process that a shell started in the background ignores it unless told otherwise.
    """
    global _interrupts
    _interrupts = _Interrupts()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, _interrupts.receive) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            # the command is ending as it was asked to; asking again must not spoil how
            signal.signal(number, signal.SIG_IGN if _interrupts.raised else handler)


@contextmanager
def held_back() -> Iterator[None]:
    """Let a signal that arrives meanwhile wait until this is done."""
    _interrupts.held_back += 1
    try:
        yield
    finally:
        _interrupts.held_back -= 1
        if _interrupts.waiting and not _interrupts.held_back:
            _interrupts.waiting = False
            _interrupts.interrupt()
