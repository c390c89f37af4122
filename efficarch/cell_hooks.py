"""The hooks that follow cells through their session; they join one that has any."""

from collections.abc import Generator
from typing import Any

import pytest

from efficarch.collection import Line, Session, device_of, session_of
from efficarch.errors import first_line
from efficarch.probe import device_name, machine
from efficarch.record import SCHEMA, Status, Weights
from efficarch.store import plain


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Forget cells the user did not ask for: they are not missing."""
    for item in items:
        session_of(item.config).lines.pop(item.nodeid, None)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Forget an earlier try of a cell that is run again: the last one counts."""
    line = session_of(item.config).lines.get(item.nodeid)
    if line is not None:
        line.status, line.message, line.measurement = Status.NOT_RUN, "", None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note what became of a cell."""
    report = yield
    line = session_of(item.config).lines.get(item.nodeid)
    if line is not None and (report.when == "call" or not report.passed):
        line.status, line.message = _outcome(report, line, call)
        report.user_properties.append(("efficarch", _progress(line)))
    return report


def _outcome(
    report: pytest.TestReport, line: Line, call: pytest.CallInfo[None]
) -> tuple[Status, str]:
    if report.passed:
        return Status.PASSED, ""
    if report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        return Status.SKIPPED, str(reason).removeprefix("Skipped: ")
    error = call.excinfo.value if call.excinfo else None
    first = first_line(str(error))
    if line.measurement is not None and report.when == "call":
        return Status.FAILED, first
    return Status.ERROR, f"{type(error).__name__}: {first}"


def _progress(line: Line) -> str:
    if line.measurement is None:
        return ""
    measured = line.measurement
    latency, cossim = f"{measured.latency_ms.value:.1f} ms", measured.cossim.mean
    ratio = measured.timed_ratio
    latency += "" if ratio is None else f", ratio {ratio.value:.3f}"
    quality = f"CosSim {cossim:.4f}" if measured.weights is not Weights.RANDOM else "random weights"
    return f"{latency}, {quality}"


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Show what was measured beside the outcome, in verbose mode."""
    shown = dict(report.user_properties).get("efficarch") if report.when == "call" else None
    if not shown or report.outcome not in ("passed", "failed"):
        return None
    letter = "." if report.passed else "F"
    return report.outcome, letter, f"{report.outcome.upper()} {shown}"


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Say which latency limit or slope broke instead of printing two records."""
    sides = type(left).__name__, type(right).__name__
    if (op, *sides) not in (("<=", "Latency", "LatencyBudget"), ("in", "Slopes", "SlopeBudget")):
        return None
    from efficarch.bench import broken_limits

    return broken_limits(left, right)


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    """Add the fingerprint to a session that measured cells."""
    if session_of(config).lines:
        device = device_of(config)
        machine_info["efficarch"] = plain(machine(device, device_name("cpu")))


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Add every collected cell, measured or not, to a session that has any."""
    session = session_of(config)
    if session.lines:
        _drop_unjudged(output_json["benchmarks"], session)
        output_json["efficarch"] = {
            "schema": SCHEMA,
            "interrupted": any(line.status is Status.NOT_RUN for line in session.lines.values()),
            "clock_overhead_ms": session.clock_overhead_ms,
            "cells": [
                {
                    "cell": plain(line.cell),
                    "status": line.status.value,
                    "message": line.message,
                    "limits": plain(line.limits),
                }
                for line in session.lines.values()
            ],
        }


def _drop_unjudged(benchmarks: list[dict[str, Any]], session: Session) -> None:
    """Take back measurements of tests that raised, skipped or were cut short after measuring."""
    judged = {
        line.cell.id
        for line in session.lines.values()
        if line.status in (Status.PASSED, Status.FAILED)
    }
    for bench in benchmarks:
        entry = bench["extra_info"].get("efficarch")
        if entry is not None and entry["cell"] not in judged:
            del bench["extra_info"]["efficarch"]
