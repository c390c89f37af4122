"""The few errors a user can meet; each message says what, which value and what to do."""

from collections.abc import Sequence

EXTENSIBLE = ("backend", "method", "model", "planner")
"""Kinds of names that a project may add to."""


class EfficarchError(Exception):
    """Bad input or an unusable environment; the command line turns it into exit code 2."""


class UnknownNameError(EfficarchError):
    """A model, method or backend that is in no table."""

    @classmethod
    def of(cls, kind: str, name: str, known: list[str]) -> "UnknownNameError":
        """Name the nearest known name, or list all of them when none is near; say how to go on."""
        way_on = (
            f"; efficarch list shows all, and CONTRIBUTING.md says how to add a {kind} of your own"
            if kind in EXTENSIBLE
            else ""
        )
        return cls(f"unknown {kind} {name!r}; {hint(name, known)}{way_on}")


def first_line(text: str) -> str:
    """Return the first line of what something said, or that it said nothing."""
    return _lines(text)[0]


def last_line(text: str) -> str:
    """Return the last line of what something said, or that it said nothing."""
    return _lines(text)[-1]


def _lines(text: str) -> list[str]:
    return text.strip().splitlines() or ["no message"]


def brief(value: object) -> str:
    """Return a value as it may stand in a sentence: shortened, and whatever it is."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # more digits, or deeper, than Python writes
        return f"{type(value).__name__} of absurd size"
    return text if len(text) <= 500 else f"{text[:497]}..."


def hint(name: str, known: Sequence[str]) -> str:
    """Return what to do about an unknown name: the nearest known one, or all of them."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


class BudgetError(EfficarchError):
    """A budgets file that cannot be read, or limits and cells that do not fit together."""


class RunFileError(EfficarchError):
    """A run or baseline file that cannot be trusted."""


class MissingWeightsError(EfficarchError):
    """Pretrained weights that are not on this machine; random ones never stand in for them."""


class PolicyError(EfficarchError):
    """A gate's policy that cannot be read or cannot be kept."""
