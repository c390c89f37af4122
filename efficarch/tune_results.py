"""What a search for equal latency leaves behind: a table, CSV, a run to report, TOML entries."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO

from efficarch.record import Cell, CellRun, Estimate, Limits, Machine, Run, Status
from efficarch.stats import mean_interval, pareto_front
from efficarch.tune import Found, Goal, Outcome

CONTROL = "random"

HEADINGS = (
    "method",
    "keep",
    "options",
    "latency_ratio",
    "latency_ratio_low",
    "latency_ratio_high",
    "flops_ratio",
    "cossim_mean",
    "cossim_p5",
    "cossim_min",
    "retrieval",
    "gap_to_random",
    "gap_low",
    "gap_high",
    "verdict",
    "on_pareto_front",
)

SLACK = 0.005
"""Room between a tuned CosSim and the floor of its budget entry: what rounding on another machine
may change; a method that breaks changes far more."""


@dataclass(frozen=True)
class Result:
    """One method at the goal's latency, beside random pruning at the same latency."""

    method: str
    found: Found
    gap: Estimate | None
    """Mean over the held-out images of its CosSim less random's; ``None`` for random itself."""
    on_front: bool

    @property
    def verdict(self) -> str:
        """Say whether the method beats random pruning, by the interval of the gap."""
        if self.gap is None:
            return ""
        if self.gap.low > 0:
            return "beats random"
        return "does not beat random" if self.gap.high < 0 else "cannot be told from random"


def results(outcomes: Sequence[Outcome]) -> list[Result]:
    """Compare what was found, the highest CosSim first."""
    found = [(outcome.method, outcome.found) for outcome in outcomes if outcome.found]
    control = next((each for name, each in found if _is_control(name)), None)
    spots = [(each.measurement.ratio.value, each.measurement.cossim.mean) for _, each in found]
    front = set(pareto_front(spots))
    compared = [
        Result(name, each, _gap(name, each, control), index in front)
        for index, (name, each) in enumerate(found)
    ]
    return sorted(compared, key=lambda result: -result.found.measurement.cossim.mean)


def _is_control(method: str) -> bool:
    return method.partition("@")[0].split("+")[0] == CONTROL


def _gap(method: str, found: Found, control: Found | None) -> Estimate | None:
    if control is None or _is_control(method):
        return None
    pairs = zip(found.measurement.cossim_items, control.measurement.cossim_items, strict=True)
    return mean_interval([here - there for here, there in pairs])


def table(compared: Sequence[Result]) -> list[str]:
    """Return the results as the lines of a Markdown table."""
    lines = [
        "| method | keep | latency ratio | CosSim mean / min | R@1 | less random's CosSim | |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in compared:
        measured, gap = result.found.measurement, result.gap
        ratio, cossim = measured.ratio, measured.cossim
        retrieval = measured.quality.retrieval
        cells = (
            f"`{result.method}`",
            f"{result.found.tuned.keep:.3f}",
            f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]",
            f"{cossim.mean:.4f} / {cossim.minimum:.4f}",
            "" if retrieval is None else f"{retrieval:.2f}",
            "" if gap is None else f"{gap.value:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]",
            result.verdict,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def as_csv(compared: Sequence[Result]) -> str:
    """Return the results as CSV, with the Pareto front marked."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADINGS)
    for result in compared:
        measured, tuned, gap = result.found.measurement, result.found.tuned, result.gap
        writer.writerow(
            [
                result.method,
                tuned.keep,
                "; ".join(f"{name}={value}" for name, value in tuned.options.items()),
                measured.ratio.value,
                measured.ratio.low,
                measured.ratio.high,
                measured.flops / measured.reference_flops,
                measured.cossim.mean,
                measured.cossim.p5,
                measured.cossim.minimum,
                measured.quality.retrieval,
                *((gap.value, gap.low, gap.high) if gap else ("", "", "")),
                result.verdict,
                result.on_front,
            ]
        )
    return text.getvalue()


def as_run(
    compared: Sequence[Result], goal: Goal, *, machine: Machine, dtype: str, created: str
) -> Run:
    """Return the results as a run, so that the report generator draws them."""
    return Run(
        machine=machine,
        created=created,
        commit="unknown",
        dirty=False,
        interrupted=False,
        clock_overhead_ms=0.0,
        cells=tuple(_line(result, goal, dtype, machine.device) for result in compared),
    )


def _line(result: Result, goal: Goal, dtype: str, device: str) -> CellRun:
    tuned = result.found.tuned
    parts = (goal.model, result.method, f"keep={tuned.keep:g}", f"batch={goal.batch}")
    return CellRun(
        cell=Cell(
            id="/".join(("tune", *parts, dtype, device)),
            suite="tune",
            model=goal.model,
            method=result.method,
            keep=tuned.keep,
            length=None,
            batch=goal.batch,
            dtype=dtype,
            device=device,
        ),
        status=Status.PASSED,
        message="",
        limits=Limits(-1.0, goal.latency_ratio, None, ("what the search aimed at",)),
        measurement=result.found.measurement,
    )


def budget_text(compared: Sequence[Result], suite: str) -> str:
    """Return an entry for ``budgets.toml`` for every result; its floors lie ``SLACK`` below."""
    return "\n".join(_budget(result, suite) for result in compared)


def _budget(result: Result, suite: str) -> str:
    goal = result.found.tuned.latency_ratio
    floor = result.found.measurement.cossim.mean - SLACK
    return (
        "[[limit]]\n"
        f'cells = "{suite}/*/{result.method}/*"\n'
        f"latency_ratio = {goal:g}\n"
        f"cossim = {floor:.3f}\n"
        f'reason = "tuned to {goal:g} of the dense latency; {result.verdict or "the control"}"\n'
    )
