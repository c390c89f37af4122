"""From pairs of processes to verdicts: the paired, sequential decision of the gate; pure.

Derivation: docs/measuring.md, "The gate". In short, for each cell the values are log(head / base),
one per pair of fresh processes, symmetric about the logarithm of the true slowdown:

- FAIL: the slowdown is above ``null`` by the exact signed-rank test, adjusted by Holm over all
  cells and metrics; its estimate reaches ``floor``; and both orders within a pair agree. Or CosSim,
  memory or a hand-written limit says so.
- PASS: the slowdown is below ``floor`` by the same test, and nothing else is wrong.
- INCONCLUSIVE: neither, after all pairs; or the machine was too disturbed to say.

Cells are judged at fixed numbers of pairs (``Policy.pairs``). The looks at which a rejection is
possible at all share the allowed error, so the sum over the looks holds it (Bonferroni over looks,
which asks nothing of how the looks depend on each other). A cell that was decided stays decided.
"""

from collections.abc import Mapping, Sequence
from math import expm1, log
from statistics import median

from efficarch.comparable import disturbance, obstacles
from efficarch.errors import EfficarchError
from efficarch.gate import Outcome, Verdict, floor_breaches, latency_breaches
from efficarch.observation import Sample
from efficarch.paired import p_above, p_below, rejected, shift, smallest_p
from efficarch.policy import CellPolicy, Policy
from efficarch.record import CosSim, Limits
from efficarch.series import (
    MEMORY,
    Pairs,
    Series,
    estimate,
    memory_varies,
    pairs_of,
    references,
    series_of,
)

MOST_AT_ONCE = 2 / 3
"""Largest part of an error that one look may take from those after it."""


def gate(
    base: Sequence[Sample],
    head: Sequence[Sample],
    limits: Mapping[str, Limits],
    policy: Policy,
) -> list[Verdict]:
    """Judge every cell of paired processes: ``base[i]`` and ``head[i]`` ran together.

    A cell that a pair did not measure on either side, since it was decided before or is another
    shard's, is judged over the pairs that have it; one that only one side lacks is NOT_COMPARABLE.
    ``limits`` are the hand-written ones, by cell id; a cell without
    an entry has none. Verdicts come in the order of the head's cells, then those that only the base
    has, then a line for the references where cells are judged by their ratio to them.

    Raises:
        EfficarchError: no pairs, or not as many processes on one side as on the other.
    """
    if not base or len(base) != len(head):
        raise EfficarchError(
            f"{len(base)} processes of the base and {len(head)} of the head are no pairs; "
            "give equally many of each, at least one"
        )
    ids = list(dict.fromkeys(cell_id for side in (head, base) for s in side for cell_id in s.cells))
    verdicts = dict(obstacles(ids, base, head, policy))
    pairs = {each: pairs_of(each, base, head) for each in ids if each not in verdicts}
    device = dict(base[0].machine).get("device", "")
    by_ratio = uses_ratio(policy, device, in_turns=all(each.in_turns for each in pairs.values()))
    common = references(pairs, policy) if by_ratio else None
    series = {
        cell_id: series_of(cell_id, each, policy, by_ratio=by_ratio)
        for cell_id, each in pairs.items()
    }
    tests = sum(map(len, series.values())) + (common is not None)
    counts = {cell_id: len(each.base) for cell_id, each in pairs.items()}
    for look in sorted({*(look for look in policy.pairs if look < len(base)), *counts.values()}):
        still = {
            cell_id: [each.first(look) for each in lines]
            for cell_id, lines in series.items()
            if (cell_id not in verdicts or verdicts[cell_id].open)
            and (look == counts[cell_id] or (look in policy.pairs and look < counts[cell_id]))
        }
        worse = _worse([s for lines in still.values() for s in lines], tests, policy)
        for cell_id, lines in still.items():
            verdicts[cell_id] = _judge(
                lines, worse, pairs[cell_id].first(look), limits.get(cell_id), policy, device
            )
    found = [verdicts[cell_id] for cell_id in ids]
    return found if common is None else [*found, _judge_references(common, tests, policy)]


def undecided(
    base: Sequence[Sample],
    head: Sequence[Sample],
    limits: Mapping[str, Limits],
    policy: Policy,
) -> list[str]:
    """Return the cells that more pairs could still decide."""
    return [verdict.cell_id for verdict in gate(base, head, limits, policy) if verdict.open]


def uses_ratio(policy: Policy, device: str, *, in_turns: bool) -> bool:
    """Whether cells are judged by their ratio to the reference instead of their latency.

    On the CPU that takes the machine's drift out, unless both sides took turns within it.
    """
    return policy.metric == "ratio" or (
        policy.metric == "auto" and device == "cpu" and not in_turns
    )


def error_share(policy: Policy, error: float, tests: int, pairs: int) -> float:
    """Return the part of an error that the look at so many pairs may spend on ``tests`` tests.

    Each look shares what is left equally with those after it. One whose smallest p-value takes more
    has just that if it is no more than ``MOST_AT_ONCE`` of what is left, and else nothing. A number
    of pairs that is no look of the policy, as of stored files, is the only look.
    """
    left = error
    for index, look in enumerate(policy.pairs):
        share, needed = left / (len(policy.pairs) - index), tests * smallest_p(look)
        if needed > share and look != policy.pairs[-1]:
            share = needed if needed <= MOST_AT_ONCE * left else 0.0
        if look == pairs:
            return share
        left -= share
    return error


def _worse(series: Sequence[Series], tests: int, policy: Policy) -> set[tuple[str, str]]:
    """Return which series are worse than their null, by cell and metric."""
    if not series:
        return set()
    share = error_share(policy, policy.family_error, tests, len(series[0].values))
    worse = rejected([p_above(each.values, each.null) for each in series], tests, share)
    return {
        (each.cell_id, each.metric)
        for each, is_worse in zip(series, worse, strict=True)
        if is_worse and each.orders_agree and shift(each.values) >= each.floor
    }


def _judge(
    lines: Sequence[Series],
    worse: set[tuple[str, str]],
    pairs: Pairs,
    limits: Limits | None,
    policy: Policy,
    device: str,
) -> Verdict:
    """Judge one cell by what its pairs say; the first line is its speed."""
    cell_id, count = lines[0].cell_id, len(pairs.base)
    held = policy.of(cell_id)
    disturbed = disturbance(pairs.base, pairs.head, device)
    reasons = [
        line.words
        for line in lines
        if (cell_id, line.metric) in worse and (disturbed is None or line.metric == MEMORY)
    ]
    reasons += _quality_failures(pairs, held, limits) + _memory_failures(pairs, held)
    reasons += _budget_failures(pairs, limits) if disturbed is None else []
    outcome = Outcome.FAIL
    if not reasons:
        reasons = [] if disturbed is None else [disturbed]
        reasons += [
            f"{line.words}: cannot be told from {100 * expm1(line.floor):.1f} %"
            for line in lines
            if not (_is_no_larger(pairs) if line.metric == MEMORY else _below(line, policy))
        ]
        outcome = Outcome.INCONCLUSIVE if reasons else Outcome.PASS
    return Verdict(
        cell_id,
        outcome,
        tuple(reasons),
        estimate(lines[0].values),
        _cossim_change(pairs),
        pairs=count,
        open=outcome is Outcome.INCONCLUSIVE and count < policy.pairs[-1],
    )


def _below(series: Series, policy: Policy) -> bool:
    """Whether a change as large as the floor is ruled out."""
    share = error_share(policy, policy.miss_error, 1, len(series.values))
    return p_below(series.values, series.floor) <= share


def _is_no_larger(pairs: Pairs) -> bool:
    """Whether the head never needed more memory than the base did at its most.

    Peaks take a few values, depending on how allocations fell out; their pairs say little.
    """
    before, after = ([each.peak_bytes or 0 for each in side] for side in (pairs.base, pairs.head))
    return max(after) <= max(before)


def _judge_references(series: Series, tests: int, policy: Policy) -> Verdict:
    """Judge what ratios cannot see: references that became slower too.

    The drift of the machine is in it, so it is often INCONCLUSIVE, which is advisory.
    """
    outcome = Outcome.PASS if _below(series, policy) else Outcome.INCONCLUSIVE
    if _worse([series], tests, policy):
        outcome = Outcome.FAIL
    return Verdict(
        series.cell_id,
        outcome,
        (series.words,),
        estimate(series.values),
        advisory=outcome is Outcome.INCONCLUSIVE,
        pairs=len(series.values),
    )


def _scored(pairs: Pairs) -> list[tuple[CosSim, CosSim]]:
    """Return CosSim of base and head where it was taken over most items, the first pair at least.

    Later processes only time, and see no more items than one call does.
    """
    both = [
        (b.cossim, h.cossim)
        for b, h in zip(pairs.base, pairs.head, strict=True)
        if b.cossim is not None and h.cossim is not None
    ]
    most = max((b.items for b, _h in both), default=0)
    return [(b, h) for b, h in both if b.items == most]


def _cossim_change(pairs: Pairs) -> float | None:
    differences = [h.mean - b.mean for b, h in _scored(pairs)]
    return median(differences) if differences else None


def _quality_failures(pairs: Pairs, held: CellPolicy, limits: Limits | None) -> list[str]:
    change = _cossim_change(pairs)
    if change is None:
        return []
    # all is written so that a CosSim that is not a number fails
    if not pairs.head[0].judged_by_quality:
        same = abs(change) <= held.cossim_tolerance
        return [] if same else ["the output on random weights changed"]
    failures = []
    if not change >= -held.cossim_tolerance:
        failures.append(f"CosSim fell by {-change:.4f}")
    if limits is not None:
        heads = [head for _base, head in _scored(pairs)]
        mean, p5 = median(each.mean for each in heads), median(each.p5 for each in heads)
        failures += floor_breaches(mean, p5, limits)
    return failures


def _memory_failures(pairs: Pairs, held: CellPolicy) -> list[str]:
    """Judge memory that repeats exactly, exactly; what varies is judged by a test."""
    before, after = pairs.base[0].peak_bytes, pairs.head[0].peak_bytes
    if memory_varies(pairs) or before is None or after is None:
        return []
    if after <= before * (1 + held.memory_tolerance):
        return []
    return [f"peak memory {before:,} bytes became {after:,}"]


def _budget_failures(pairs: Pairs, limits: Limits | None) -> list[str]:
    """Say which budgets the head breaks: those below the lower bound over its processes.

    Where but one of them timed the reference, its own rounds give the bound, as in a bench run.
    """
    if limits is None or not pairs.have("latency_ms"):
        return []
    latency_ms = estimate([log(each.latency_ms) for each in pairs.head if each.latency_ms])
    paired = [each for each in pairs.head if each.ratio is not None]
    ratio = estimate([log(each.ratio) for each in paired if each.ratio]) if paired else None
    if len(paired) == 1:
        ratio = paired[0].ratio_interval
    return latency_breaches(latency_ms, ratio, limits)
