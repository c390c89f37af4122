"""How every test of a process ended, those included that pytest-benchmark forgets."""

from typing import Any

import pytest

LONGEST = 500
"""Of a message, in characters."""

FAILING = ("failed", "error", "xfailed")


class Outcomes:
    """The tests of a session by the name of their cell, and what could not be loaded."""

    def __init__(self) -> None:
        self.tests: dict[str, dict[str, str]] = {}
        self.errors: dict[str, str] = {}

    def note(self, name: str, report: pytest.TestReport) -> None:
        """Note a phase or a part of a test: the last counts, but none makes a failure good.

        A rerun starts anew.
        """
        if report.when == "setup":
            self.tests.pop(name, None)
        outcome = _outcome(report)
        before = self.tests.get(name, {}).get("outcome")
        worse = before not in FAILING or (outcome in FAILING and outcome != before)
        if outcome is not None and worse:
            self.tests[name] = {"outcome": outcome, "message": _message(report)}

    def note_collection(self, report: pytest.CollectReport) -> None:
        """Note a file or folder that cannot be loaded."""
        if report.failed:
            self.errors[report.nodeid or "."] = _message(report)


def _outcome(report: pytest.TestReport) -> str | None:
    excused = hasattr(report, "wasxfail")
    if report.skipped:
        return "xfailed" if excused else "skipped"
    if report.failed:
        return "failed" if report.when == "call" else "error"
    if report.when != "call":
        return None
    return "xpassed" if excused else "passed"


def _message(report: pytest.TestReport | pytest.CollectReport) -> str:
    told: Any = report.longrepr
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = told[2] if isinstance(told, tuple) else ""
        return str(reason).removeprefix("Skipped: ")[:LONGEST]
    crash = getattr(told, "reprcrash", None)
    if crash is not None:
        return _first(crash.message)
    lines = [line.strip() for line in str(told or "").splitlines()]
    # what pytest marks so is the error itself
    marked = [line[1:].strip() for line in lines if line.startswith("E  ")]
    return _first("\n".join(marked[-1:] or lines))


def _first(text: str) -> str:
    lines = text.strip().splitlines() or ["no message"]
    return lines[0][:LONGEST]
