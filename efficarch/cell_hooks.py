"""The hooks that follow cells through their session; they join one that has any."""

from collections.abc import Generator, Mapping
from typing import Any

import pytest

from efficarch.collection import JUDGED, Line, device_of, session_of
from efficarch.errors import first_line
from efficarch.probe import device_name, machine
from efficarch.record import SCHEMA, Status, Weights
from efficarch.store import plain

NOTHING = "its test passed without measuring anything; let it call bench"


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Forget cells the user did not ask for: they are not missing."""
    for item in items:
        session_of(item.config).lines.pop(item.nodeid, None)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begin a try of a cell, which may be another."""
    line = session_of(item.config).lines.get(item.nodeid)
    if line is not None:
        line.begin()


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
    measured = line.measurement is not None
    if report.passed:
        return (Status.PASSED, "") if measured else (Status.ERROR, NOTHING)
    if report.skipped:
        # a failure that was expected has its reason elsewhere
        expected = getattr(report, "wasxfail", "")
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else expected
        return Status.SKIPPED, str(reason).removeprefix("Skipped: ")
    if call.excinfo is None:  # it passed, and was to fail
        return (Status.FAILED if measured else Status.ERROR), first_line(str(report.longrepr))
    first = first_line(str(call.excinfo.value))
    if measured and report.when == "call":
        return Status.FAILED, first
    return Status.ERROR, f"{type(call.excinfo.value).__name__}: {first}"


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
    cells = session.cells
    if cells:
        output_json["benchmarks"][:] = _kept(output_json["benchmarks"], cells)
        output_json["efficarch"] = {
            "schema": SCHEMA,
            "interrupted": any(line.status is Status.NOT_RUN for line in cells.values()),
            "clock_overhead_ms": session.clock_overhead_ms,
            "cells": [
                {
                    "cell": plain(line.cell),
                    "status": line.status.value,
                    "message": line.message,
                    "limits": plain(line.limits),
                }
                for line in cells.values()
            ],
        }


def _kept(benchmarks: list[dict[str, Any]], cells: Mapping[str, Line]) -> list[dict[str, Any]]:
    """Leave out what tries of a cell measured that do not count.

    That of a test that raised, skipped or was cut short afterwards stays as a benchmark of its own.
    """
    kept: list[dict[str, Any]] = []
    found: set[str] = set()
    for bench in reversed(benchmarks):
        entry = bench["extra_info"].get("efficarch")
        if entry is not None:
            line = cells[entry["cell"]]
            if line.cell.id in found or entry["measurement"] != plain(line.measurement):
                continue
            found.add(line.cell.id)
            if line.status not in JUDGED:
                del bench["extra_info"]["efficarch"]
        kept.append(bench)
    return kept[::-1]
