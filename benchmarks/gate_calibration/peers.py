"""The rules of other tools on the same recorded processes: tox -e peers -- RUNS.

RUNS are the folders of gates whose commits did not differ in the cells looked at, on one machine. A
simulated gate draws recorded pairs with replacement, tosses a coin for the sides of each and slows
the head's rounds in every cell, as in `efficarch.power`; each rule then says which cells are worse.
Every rule is asked twice: about the latencies it would see itself, and about the ratio of each
round to the reference, which spares it the drift of the machine. The rules are those of the
packages, by their own code, with their own defaults where they have any.
"""

import argparse
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.gate_calibration.recordings import Recordings, add_arguments, asked_for
from benchmarks.output import say
from efficarch.decision import gate
from efficarch.gate import Outcome
from efficarch.observation import Observation, Sample
from efficarch.policy import Policy
from efficarch.power import resampled
from efficarch.record import Status
from efficarch.store import load_run

SLOWDOWNS = (0.0, 0.03, 0.05, 0.1)

Rounds = tuple[float, ...]
Process = dict[str, Rounds]
"""The rounds of each cell of a process."""

Rule = Callable[[Sequence[Process], Sequence[Process]], set[str]]
"""Returns the cells that are worse, from the processes of base and head, pair by pair."""


@dataclass(frozen=True)
class Peer:
    """A rule, how many pairs it is given, and how many gates it can judge in reasonable time."""

    name: str
    pairs: int
    gates: int
    rule: Rule


def pytest_benchmark(base: Sequence[Process], head: Sequence[Process]) -> set[str]:
    """``--benchmark-compare-fail=median:5%``: the medians of one run each."""
    from pytest_benchmark.utils import PercentageRegressionCheck

    check = PercentageRegressionCheck("median", 5.0)
    (before,), (after,) = base, head
    return {
        cell
        for cell in before
        if check.fails({"median": median(after[cell])}, {"median": median(before[cell])})
    }


def asv(base: Sequence[Process], head: Sequence[Process]) -> set[str]:
    """``asv continuous``: Mann-Whitney at 0.002 over all rounds, and a factor of 1.1."""
    from asv.commands.compare import _is_result_better

    worse = set()
    for cell in base[0]:
        before, after = _pooled(base, cell), _pooled(head, cell)
        stats = [({"repeat": len(each)}, each) for each in (before, after)]
        if _is_result_better(median(before), median(after), *stats, 1.1):
            worse.add(cell)
    return worse


def mann_whitney(base: Sequence[Process], head: Sequence[Process]) -> set[str]:
    """Google Benchmark's compare.py: two-sided, 0.05, over the repetitions of one run each."""
    from scipy.stats import mannwhitneyu

    worse = set()
    for cell in base[0]:
        before, after = _pooled(base, cell), _pooled(head, cell)
        if mannwhitneyu(before, after).pvalue < 0.05 and median(after) > median(before):
            worse.add(cell)
    return worse


def welch(base: Sequence[Process], head: Sequence[Process]) -> set[str]:
    """Welch's t-test of all rounds, at our family-wise error and effect floor."""
    from scipy.stats import ttest_ind

    policy, worse = Policy(), set()
    for cell in base[0]:
        before, after = _pooled(base, cell), _pooled(head, cell)
        p_value = ttest_ind(before, after, equal_var=False, alternative="less").pvalue
        slowdown = median(after) / median(before) - 1
        if p_value < policy.family_error / len(base[0]) and slowdown >= policy.floor:
            worse.add(cell)
    return worse


def benchmatrix(base: Sequence[Process], head: Sequence[Process]) -> set[str]:
    """Its paired comparison: BCa bootstrap of medians, 95 % with Bonferroni, beyond 5 %.

    5,000 resamples instead of its 50,000, which take a second per cell.
    """
    from benchmatrix.bench_statistics import bootstrap_paired_median_ratio_interval

    worse = set()
    strata = ["AB", "BA"] * (len(base) // 2)
    for cell in base[0]:
        interval = bootstrap_paired_median_ratio_interval(
            [median(process[cell]) for process in base],
            [median(process[cell]) for process in head],
            lower_is_better=True,
            confidence_level=1 - 0.05 / len(base[0]),
            resamples=5_000,
            random_seed=0,
            strata=strata,
        )
        if interval.high is not None and interval.high < -5.0:
            worse.add(cell)
    return worse


def ours(base: Sequence[Process], head: Sequence[Process]) -> set[str]:
    """Ours, at its defaults, on the same medians."""
    before, after = (
        [_sample(process, 2 * i + (turn + i) % 2) for i, process in enumerate(side)]
        for turn, side in enumerate((base, head))
    )
    verdicts = gate(before, after, {}, Policy(metric="latency"))
    return {verdict.cell_id for verdict in verdicts if verdict.outcome is Outcome.FAIL}


PEERS = (
    Peer("pytest-benchmark, median:5%", 1, 1000, pytest_benchmark),
    Peer("Mann-Whitney on rounds", 1, 1000, mann_whitney),
    Peer("asv continuous", 2, 1000, asv),
    Peer("Welch on rounds", 16, 1000, welch),
    Peer("benchmatrix, paired", 16, 20, benchmatrix),
    Peer("efficarch", 16, 500, ours),
)


def _pooled(side: Sequence[Process], cell: str) -> list[float]:
    return [value for process in side for value in process[cell]]


def _sample(process: Process, second: int) -> Sample:
    cells = {
        cell: Observation(cell, Status.PASSED, "", latency_ms=median(rounds))
        for cell, rounds in process.items()
    }
    return Sample((("device", "recorded"),), f"{second:06d}", cells)


def recorded(recordings: Recordings, *, ratios: bool) -> list[tuple[Process, Process]]:
    """Read the rounds of gates' pairs, of the cells that all processes measured."""
    sides = [
        (_rounds(base, ratios=ratios), _rounds(head, ratios=ratios))
        for base, head in recordings.files()
    ]
    measured = [set(process) for pair in sides for process in pair]
    shared = sorted(filter(recordings.has, set.intersection(*measured)))
    return [({c: base[c] for c in shared}, {c: head[c] for c in shared}) for base, head in sides]


def _rounds(path: Path, *, ratios: bool) -> Process:
    found = {}
    for line in load_run(path).cells:
        if line.measurement is not None:
            mine, theirs = line.measurement.rounds_ms, line.measurement.reference_rounds_ms
            if not ratios:
                found[line.cell.id] = mine
            elif theirs:
                found[line.cell.id] = tuple(a / b for a, b in zip(mine, theirs, strict=True))
    return found


def shares(
    peer: Peer, pairs: Sequence[tuple[Process, Process]], slowdown: float
) -> tuple[float, float]:
    """Return the share of simulated gates with a cell called worse, and that of such cells."""
    draw, rng = resampled(pairs), random.Random(0)
    gates = alarms = cells = 0
    for _gate in range(peer.gates):
        drawn = draw(rng, peer.pairs)
        head = [
            {cell: tuple(value * (1 + slowdown) for value in rounds) for cell, rounds in h.items()}
            for _b, h in drawn
        ]
        worse = peer.rule([b for b, _h in drawn], head)
        gates += bool(worse)
        alarms += len(worse)
        cells += len(head[0])
    return gates / peer.gates, alarms / cells


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, print the table, return the exit code."""
    parser = argparse.ArgumentParser(prog="peers", description=__doc__.partition("\n")[0])
    add_arguments(parser)
    recordings = asked_for(parser.parse_args(arguments))
    if len(recordings.files()) < 2:
        sys.stderr.write(f"error: {recordings}: fewer than two pairs of a gate\n")
        return 2
    titles = "".join(f"{f'+{s:.0%}':>8}" for s in SLOWDOWNS[1:])
    say(f"{'rule':30}{'figure':>9}{'pairs':>6}{'gates':>7}{'any FAIL':>10}{'cells':>8}{titles}")
    for ratios in (False, True):
        pairs = recorded(recordings, ratios=ratios)
        if not pairs[0][0]:
            say("ratio: these gates timed no references after their first pair")
            continue
        for peer in PEERS:
            found = [shares(peer, pairs, slowdown) for slowdown in SLOWDOWNS]
            figure = "ratio" if ratios else "latency"
            say(
                f"{peer.name:30}{figure:>9}{peer.pairs:6}{peer.gates:7}{found[0][0]:10.1%}"
                + "".join(f"{cells:8.1%}" for _gates, cells in found)
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
