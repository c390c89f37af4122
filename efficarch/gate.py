"""From runs and limits to verdicts; pure.

``check_limits`` judges a run by its own hand-written limits, ``compare`` judges it against a
baseline run of the same machine. Nothing compared is never a pass.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from enum import Enum

from efficarch.record import (
    CellRun,
    Estimate,
    Limits,
    Machine,
    Measurement,
    Run,
    Status,
    Weights,
)
from efficarch.scaling import Refusal, Slope, fit_slope
from efficarch.stats import ratio_change

SLOWDOWN_FLOOR = 0.05
"""Relative slowdown against a stored baseline below which a cell is unchanged."""

PROCESS_FLOOR = 0.25
PROCESS_FLOOR_UNLIKE = 1.0
"""Relative slowdown that one run a side can tell from the difference between two processes of one
commit: where both arms are the same model, and where they are unlike work (a scan and attention),
so that a change of the machine does not cancel in their ratio (docs/measuring.md)."""

COSSIM_TOLERANCE = 0.001
"""Largest drop of mean CosSim against the baseline that is not called worse."""


class Outcome(Enum):
    """The verdict on a cell."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NOT_COMPARABLE = "not comparable"


WORST_FIRST = (Outcome.FAIL, Outcome.NOT_COMPARABLE, Outcome.INCONCLUSIVE, Outcome.PASS)


@dataclass(frozen=True)
class Verdict:
    """The outcome for one cell with its reasons in words.

    ``change`` is the paired ratio now divided by the baseline's, ``cossim_change`` the difference
    of mean CosSim; both are ``None`` where nothing was compared. ``advisory`` verdicts are shown
    and leave the exit code alone; ``open`` ones could be decided by more of the ``pairs`` that they
    rest on.
    """

    cell_id: str
    outcome: Outcome
    reasons: tuple[str, ...] = ()
    change: Estimate | None = None
    cossim_change: float | None = None
    advisory: bool = False
    pairs: int | None = None
    open: bool = False


def latency_breaches(latency_ms: Estimate, ratio: Estimate | None, limits: Limits) -> list[str]:
    """Say in words which latency budgets are broken: those below the interval's lower bound.

    ``ratio`` is ``None`` where there is no reference, which breaks nothing.
    """
    breaches = []
    if limits.latency_ratio is not None and ratio is not None and ratio.low > limits.latency_ratio:
        breaches.append(
            f"latency ratio {ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}] "
            f"is above its budget {limits.latency_ratio:.3f}"
        )
    if limits.latency_ms is not None and latency_ms.low > limits.latency_ms:
        breaches.append(
            f"latency {latency_ms.value:.3f} ms [{latency_ms.low:.3f}, {latency_ms.high:.3f}] "
            f"is above its budget {limits.latency_ms:.3f} ms"
        )
    return breaches


def cossim_breach(measurement: Measurement, limits: Limits) -> str | None:
    """Say in words that the CosSim floor is broken, or return ``None``.

    With random weights CosSim says whether the output changed, not how good it is.
    """
    breaches = floor_breaches(measurement.cossim.mean, measurement.cossim.p5, limits)
    if breaches and measurement.weights is Weights.RANDOM:
        return "the output on random weights changed beyond its check"
    return breaches[0] if breaches else None


def floor_breaches(mean: float, p5: float, limits: Limits) -> list[str]:
    """Say in words which floors of CosSim are broken; one that is not a number breaks both."""
    breaches = []
    if not mean >= limits.cossim:
        breaches.append(f"CosSim {mean:.5f} is below its floor {limits.cossim:.5f}")
    if limits.cossim_p5 is not None and not p5 >= limits.cossim_p5:
        breaches.append(
            f"the 5th percentile of CosSim {p5:.5f} is below its floor {limits.cossim_p5:.5f}"
        )
    return breaches


def bits_breach(measurement: Measurement, limits: Limits) -> str | None:
    """Say in words that a saving costs more bits per byte than it may, or return ``None``."""
    saving, most = measurement.saving, limits.bits_lost
    if most is None or saving is None or saving.bits_lost is None or saving.bits_lost <= most:
        return None
    return f"{saving.bits_lost:.4f} bits per byte lost is above the limit {most:.4f}"


def slope_breaches(measurement: Measurement, limits: Limits) -> list[str]:
    """Say in words which slopes are outside their range: with the whole 95 % interval."""
    return [words for outcome, words in _slopes(measurement, limits) if outcome is Outcome.FAIL]


def judge_slope(fitted: Slope | Refusal, bounds: tuple[float, ...]) -> Outcome:
    """Judge a slope by its whole 95 % interval: PASS within the range, FAIL outside of it.

    An interval that holds slopes of either kind, or no slope at all, is INCONCLUSIVE: a busy
    machine widens intervals, and must neither fail an honest change nor let a claim pass.
    """
    if isinstance(fitted, Refusal):
        return Outcome.INCONCLUSIVE
    (low, high), slope = bounds, fitted.estimate
    if low <= slope.low and slope.high <= high:
        return Outcome.PASS
    return Outcome.FAIL if slope.high < low or slope.low > high else Outcome.INCONCLUSIVE


def _slopes(measurement: Measurement, limits: Limits) -> list[tuple[Outcome, str]]:
    scaling = measurement.scaling
    if scaling is None:
        return []
    sides = (
        ("slope", scaling.subject, limits.slope),
        ("slope of the reference", scaling.reference, limits.reference_slope),
    )
    return [_judged(name, fit_slope(sweep), bounds) for name, sweep, bounds in sides if bounds]


def _judged(name: str, fitted: Slope | Refusal, bounds: tuple[float, ...]) -> tuple[Outcome, str]:
    outcome = judge_slope(fitted, bounds)
    if isinstance(fitted, Refusal):
        return outcome, f"{name}: {fitted.reason}"
    (low, high), b = bounds, fitted.estimate
    verdict = "is outside" if outcome is Outcome.FAIL else "cannot be told to lie within"
    words = f"{name} {b.value:.3f} [{b.low:.3f}, {b.high:.3f}]"
    return outcome, f"{words} {verdict} [{low:.2f}, {high:.2f}]"


def unmeasured(measurement: Measurement, limits: Limits) -> list[str]:
    """Say in words which limits are of something that this kind of cell does not measure."""
    found = [
        f"budgets.toml limits its {name}, but the cell has no sweep over length; remove the limit"
        for name in ("slope", "reference_slope")
        if getattr(limits, name) is not None and measurement.scaling is None
    ]
    saving = measurement.saving
    if limits.bits_lost is not None and (saving is None or not saving.bits):
        found.append(
            "budgets.toml limits its bits_lost, but the cell measures no bits per byte; "
            "remove the limit"
        )
    return found


def check_limits(run: Run) -> list[Verdict]:
    """Judge every cell of a run by its own limits, in the order of the run."""
    return [_check(line) for line in run.cells]


def _check(line: CellRun) -> Verdict:
    if line.status is Status.ERROR:
        return Verdict(line.cell.id, Outcome.FAIL, (f"raised: {line.message}",))
    if line.measurement is None:
        reason = f"{line.status.value}: {line.message}" if line.message else line.status.value
        return Verdict(line.cell.id, Outcome.NOT_COMPARABLE, (reason,))
    measured = line.measurement
    reasons = latency_breaches(measured.latency_ms, measured.ratio, line.limits)
    slopes = _slopes(measured, line.limits)
    reasons += [words for outcome, words in slopes if outcome is Outcome.FAIL]
    for breach in (cossim_breach(measured, line.limits), bits_breach(measured, line.limits)):
        if breach:
            reasons.append(breach)
    reasons += unmeasured(measured, line.limits)
    if not reasons and line.status is not Status.PASSED:
        reasons.append(f"the suite test failed: {line.message}")
    if reasons:
        return Verdict(line.cell.id, Outcome.FAIL, tuple(reasons))
    doubts = [words for outcome, words in slopes if outcome is Outcome.INCONCLUSIVE]
    return Verdict(line.cell.id, Outcome.INCONCLUSIVE if doubts else Outcome.PASS, tuple(doubts))


def differing_fields(now: Machine, base: Machine) -> list[str]:
    """Name the fingerprint fields in which two machines differ, with both values."""
    return [
        f"{field.name} {getattr(base, field.name)!r} became {getattr(now, field.name)!r}"
        for field in fields(Machine)
        if getattr(now, field.name) != getattr(base, field.name)
    ]


def compare(run: Run, baseline: Run) -> list[Verdict]:
    """Judge a run against a baseline run: cells of the run first, then those it lacks.

    The compared figure is the ratio to the reference, paired within each process, so that a drift
    of the whole machine cancels. FAIL needs the change's lower bound above the process floor; PASS
    needs its upper bound below ``SLOWDOWN_FLOOR``; anything between is INCONCLUSIVE.
    """
    differing = differing_fields(run.machine, baseline.machine)
    base_lines = {line.cell.id: line for line in baseline.cells}
    verdicts = [_compare(line, base_lines.get(line.cell.id), differing) for line in run.cells]
    present = {line.cell.id for line in run.cells}
    verdicts += [
        Verdict(cell_id, Outcome.NOT_COMPARABLE, ("in the baseline but not in this run",))
        for cell_id in base_lines
        if cell_id not in present
    ]
    return verdicts


def _compare(line: CellRun, base: CellRun | None, differing: list[str]) -> Verdict:
    obstacle = _obstacle(line, base, differing)
    if obstacle or base is None or base.measurement is None or line.measurement is None:
        return Verdict(line.cell.id, Outcome.NOT_COMPARABLE, (obstacle,))
    now, then = line.measurement, base.measurement
    change = ratio_change(now.ratio, then.ratio)
    cossim_change = now.cossim.mean - then.cossim.mean
    reasons = []
    if change.low > 1 + process_floor(now):
        reasons.append(f"latency ratio {_percent(change)} against the baseline")
    # both are written so that a CosSim that is not a number fails
    if now.weights is Weights.RANDOM:
        if not abs(cossim_change) <= COSSIM_TOLERANCE:
            reasons.append("the output on random weights changed against the baseline")
    elif not cossim_change >= -COSSIM_TOLERANCE:
        reasons.append(f"CosSim fell by {-cossim_change:.4f} against the baseline")
    if reasons:
        outcome = Outcome.FAIL
    elif change.high < 1 + SLOWDOWN_FLOOR:
        outcome = Outcome.PASS
    else:
        outcome = Outcome.INCONCLUSIVE
        reasons.append(f"latency ratio {_percent(change)}: one run a side cannot tell")
    return Verdict(line.cell.id, outcome, tuple(reasons), change, cossim_change)


def process_floor(measurement: Measurement) -> float:
    """Return the slowdown of this kind of cell that two single runs can tell."""
    unlike = measurement.weights is Weights.NONE
    return PROCESS_FLOOR_UNLIKE if unlike else PROCESS_FLOOR


def _obstacle(line: CellRun, base: CellRun | None, differing: list[str]) -> str:
    """Say why two cells cannot be compared; empty where they can."""
    if differing:
        return "other machine: " + "; ".join(differing)
    if base is None:
        return "not in the baseline"
    if line.measurement is None:
        return f"this run has no measurement: {line.status.value}"
    if base.measurement is None:
        return f"the baseline has no measurement: {base.status.value}"
    if base.status is not Status.PASSED:
        return f"the baseline's own verdict is {base.status.value}"
    now, then = line.measurement, base.measurement
    for name in ("weights", "source", "seed", "autocast", "items"):
        if getattr(now, name) != getattr(then, name):
            before, after = _plain_value(getattr(then, name)), _plain_value(getattr(now, name))
            return f"{name} {before!r} became {after!r}"
    return ""


def _plain_value(value: object) -> object:
    """Return an enum's value, and anything else as it is."""
    return value.value if isinstance(value, Enum) else value


def _percent(change: Estimate) -> str:
    value, low, high = (100 * (x - 1) for x in (change.value, change.low, change.high))
    return f"{value:+.1f} % [{low:+.1f}, {high:+.1f}]"


def exit_code(verdicts: Iterable[Verdict], compared: Iterable[Verdict] = ()) -> int:
    """Return 1 if any cell failed, else 0 if any held its limits, 3 if some could not be told, 4.

    4 says that no cell was judged by its limits.
    """
    judged = [verdict.outcome for verdict in verdicts]
    if Outcome.FAIL in judged or any(v.outcome is Outcome.FAIL for v in compared):
        return 1
    if Outcome.PASS in judged:
        return 0
    return 3 if Outcome.INCONCLUSIVE in judged else 4
