"""Judging one line or measurement, for every test of the gate."""

from dataclasses import replace

from efficarch.gate import Verdict, check_limits, compare
from efficarch.record import CellRun, Limits, Measurement
from tests import samples

CELL_ID = samples.cell().id


QUIET = (0.0,) * 8


NOISY = (0.2, -0.2, 0.1, -0.1, 0.0, 0.0, 0.15, -0.15)


def check(line: CellRun) -> Verdict:
    """Judge one line by its limits."""
    (verdict,) = check_limits(samples.run(line))
    return verdict


def check_measured(measured: Measurement, limits: Limits = samples.LIMITS) -> Verdict:
    """Judge one measurement by limits."""
    return check(replace(samples.line(measured=measured), limits=limits))


def compare_lines(now: CellRun, base: CellRun) -> Verdict:
    """Judge one line against the same cell of a baseline."""
    (verdict,) = compare(samples.run(now), samples.run(base))
    return verdict


def compare_measured(now: Measurement, base: Measurement) -> Verdict:
    """Judge one measurement against another of the same cell."""
    return compare_lines(samples.line(measured=now), samples.line(measured=base))
