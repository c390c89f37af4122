"""How every test of a process ended, those included that pytest-benchmark forgets."""

import pytest

LONGEST = 500
"""Of a message, in characters."""


class Outcomes:
    """The tests of a session by the name of their cell."""

    def __init__(self) -> None:
        self.tests: dict[str, dict[str, str]] = {}

    def note(self, name: str, report: pytest.TestReport, call: "pytest.CallInfo[None]") -> None:
        """Note a phase of a test; a later one counts where it says more, a rerun starts anew."""
        if report.when == "setup":
            self.tests.pop(name, None)
        outcome = _outcome(report)
        if outcome is not None:
            self.tests[name] = {"outcome": outcome, "message": _message(report, call)}


def _outcome(report: pytest.TestReport) -> str | None:
    excused = hasattr(report, "wasxfail")
    if report.skipped:
        return "xfailed" if excused else "skipped"
    if report.failed:
        return "failed" if report.when == "call" else "error"
    if report.when != "call":
        return None
    return "xpassed" if excused else "passed"


def _message(report: pytest.TestReport, call: "pytest.CallInfo[None]") -> str:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        return str(reason).removeprefix("Skipped: ")[:LONGEST]
    if call.excinfo is None:
        # a strict xfail that passed
        return str(report.longrepr or "")[:LONGEST]
    lines = str(call.excinfo.value).strip().splitlines() or ["no message"]
    return f"{type(call.excinfo.value).__name__}: {lines[0]}"[:LONGEST]
