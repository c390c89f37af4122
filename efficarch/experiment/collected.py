"""What the agents of a pair say of their tests before any of them runs."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from efficarch.errors import EfficarchError
from efficarch.experiment.side import Files
from efficarch.files import content
from efficarch.patterns import matches
from efficarch.process_plan import ProcessPlan

SAID = {"collected", "cuda", "errors", "order", "unnamed"}
"""What an agent says of the tests it has collected."""


class Collected:
    """What was collected on both sides, as soon as their agents have said so."""

    def __init__(self, files: Mapping[str, Files], patterns: Sequence[str], cuda: str) -> None:
        """Take the files of both processes by side, what cells match, and what promises CUDA."""
        self._files = files
        self._cuda = cuda
        self._patterns = patterns
        self._seen: dict[str, Any] = {}
        self._checked = False

    def has(self, side: str) -> bool:
        """Whether a side has collected its tests.

        Raises:
            EfficarchError: both have, and a pattern names nothing on either, or torch sees no
                CUDA that is promised.
        """
        seen = self._look()
        if not self._checked and len(seen) == len(self._files):
            self._checked = True
            self._check()
        return side in seen

    def whole(self, side: str) -> bool:
        """Whether a side is known to have loaded all its tests."""
        return side in self._look() and not self.errors(side)

    def errors(self, side: str) -> dict[str, str]:
        """Return what of a side cannot be loaded, as far as it has said so."""
        found = self._look().get(side, {}).get("errors")
        return found if isinstance(found, dict) else {}

    def _check(self) -> None:
        for name, said in self._seen.items():
            check_cuda(self._cuda, said["cuda"], name)
        if any(said["unnamed"] for said in self._seen.values()):
            return
        names = [name for said in self._seen.values() for name in said["collected"]]
        for pattern in self._patterns:
            if not any(matches(pattern, name) for name in names):
                raise EfficarchError(
                    f"{pattern!r} in cells of the policy names no cell of either side; mend or "
                    "remove it"
                )

    def _look(self) -> dict[str, Any]:
        for side, each in self._files.items():
            if side not in self._seen and each.collected.is_file():
                with suppress(OSError, ValueError):
                    said = json.loads(content(each.collected))
                    # measured code could write there too
                    if isinstance(said, dict) and set(said) >= SAID:
                        self._seen[side] = said
        return self._seen

    def place(self, name: str, plan: ProcessPlan) -> tuple[int, int, tuple[str, str]]:
        """Return what to sort by where two sides stand at different tests.

        Ordinary benchmarks go in the order of the base; what only the head has is alone anyway.
        """
        order = self._look().get("base", {}).get("order", ())
        if "::" in name:
            return (0, order.index(name) if name in order else -1, ("", ""))
        return (1, 0, plan.place(name))


def check_cuda(promise: str, sees: object, side: str) -> None:
    """Refuse a process whose torch sees no CUDA device although there is a promise of one.

    Raises:
        EfficarchError: it sees none.
    """
    if promise and sees is False:
        raise EfficarchError(
            f"{promise}, but torch sees no CUDA device in a process of the {side}; run: efficarch "
            "doctor"
        )
