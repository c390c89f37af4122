"""What keeps paired processes from being compared; nothing compared is never a pass."""

from collections.abc import Mapping, Sequence
from statistics import median

from efficarch.foreign import IDENTIFYING, UNKNOWN
from efficarch.gate import Outcome, Verdict
from efficarch.observation import Observation, Sample
from efficarch.policy import Policy
from efficarch.process_record import Foreign
from efficarch.record import Status

FAILING = (Status.FAILED, Status.ERROR)

FOREIGN_CPU_SHARE = 0.1
"""How much of the machine's CPU time others may take while a cell is measured on the CPU."""

MOST_DISTURBED = 0.2
"""The largest share of a cell's processes that may be disturbed: tests bear a few."""

CLOCK_IMBALANCE = 0.02
"""By how much the median SM clocks of the two sides may differ."""


def disturbance(
    base: Sequence[Observation], head: Sequence[Observation], device: str
) -> str | None:
    """Say what else went on while a cell was measured, if that may have decided its speed."""
    words = [_disturbed(each, device) for each in (*base, *head)]
    disturbed = [each for each in words if each is not None]
    if len(disturbed) > MOST_DISTURBED * len(words):
        kind = max(set(disturbed), key=lambda each: (disturbed.count(each), each))
        return f"{kind} in {len(disturbed)} of {len(words)} processes"
    before, after = ([c for c in map(_sm_clock, side) if c] for side in (base, head))
    if before and after and abs(median(after) / median(before) - 1) > CLOCK_IMBALANCE:
        clocks = f"{median(before):.0f} MHz in the base, {median(after):.0f} in the head"
        return f"the SM clock was {clocks}"
    return None


def _disturbed(observed: Observation, device: str) -> str | None:
    seen = observed.conditions
    if seen is None:
        return None
    if seen.throttling:
        return f"the GPU was throttled by {', '.join(seen.throttling)}"
    if seen.foreign_gpu_processes:
        return "another process computed on the GPU"
    if device == "cpu" and (seen.foreign_cpu_share or 0) > FOREIGN_CPU_SHARE:
        return f"others took more than {100 * FOREIGN_CPU_SHARE:.0f} % of the CPU"
    return None


def _sm_clock(observed: Observation) -> int | None:
    return None if observed.conditions is None else observed.conditions.sm_clock_mhz


def differing_machines(samples: Sequence[Sample], policy: Policy) -> list[str]:
    """Name what the fingerprints differ in, with the values, except what may differ.

    What some of them do not say is unknown, which is no value that another could be equal to.
    """
    machines = [dict(sample.machine) for sample in samples]
    names = dict.fromkeys(name for machine in machines for name in machine)
    found = {
        name: list(dict.fromkeys(machine.get(name, UNKNOWN) for machine in machines))
        for name in names
    }
    return [
        f"{name} is {' and '.join(values)}"
        for name, values in found.items()
        if len(values) > 1 and name not in policy.may_differ
    ]


def _other_process(cell_id: str, base: Sequence[Sample], head: Sequence[Sample]) -> str | None:
    """Say what the gate's agents saw that keeps the processes from being compared."""
    found = [
        f"a process of the {side} ran code that is not its own: {_first(sample.record.foreign)}"
        for side, samples in (("base", base), ("head", head))
        for sample in samples
        if sample.record is not None and sample.record.foreign
    ]
    for theirs, ours in zip(base, head, strict=True):
        if theirs.record is None or ours.record is None:
            continue
        found += _differing("", theirs.record.settings, ours.record.settings)
        before, after = (r.cells.get(cell_id) for r in (theirs.record, ours.record))
        if before is not None and after is not None:
            found += _differing("timer ", {"": before.timer}, {"": after.timer})
            found += _differing("fixture ", before.fixtures, after.fixtures)
    return found[0] if found else None


def _first(foreign: Sequence[Foreign]) -> str:
    more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
    return f"{foreign[0]}{more}"


def _differing(kind: str, base: Mapping[str, str], head: Mapping[str, str]) -> list[str]:
    return [
        f"{kind}{name} is {base.get(name, '')!r} in the base and {head.get(name, '')!r} in the head"
        for name in {**base, **head}
        if base.get(name, "") != head.get(name, "")
    ]


def _other_machine(samples: Sequence[Sample], policy: Policy) -> str | None:
    """Say why the processes are not known to have run on one machine; ``None`` where they are."""
    said = differing_machines(samples, policy)
    prefix = "other machine: " if said else "unknown machine: "
    named = {name for sample in samples for name, _value in sample.machine}
    identifying = [n for n in IDENTIFYING if n in named and n not in policy.may_differ]
    if identifying and all(_unknown(name, samples) for name in identifying):
        what = " or ".join(identifying)
        said.append(f"no file says its {what}, so nothing identifies the machine")
    return prefix + "; ".join(said) if said else None


def _unknown(name: str, samples: Sequence[Sample]) -> bool:
    return all(dict(sample.machine).get(name, UNKNOWN) == UNKNOWN for sample in samples)


def obstacles(
    ids: Sequence[str], base: Sequence[Sample], head: Sequence[Sample], policy: Policy
) -> Mapping[str, Verdict]:
    """Return the verdicts of cells that cannot be compared, by cell id."""
    elsewhere = _other_machine([sample for sample in (*base, *head) if sample.machine], policy)
    found = {
        cell_id: _obstacle(cell_id, base, head, elsewhere or _other_process(cell_id, base, head))
        for cell_id in ids
    }
    return {cell_id: verdict for cell_id, verdict in found.items() if verdict is not None}


def _obstacle(
    cell_id: str, base: Sequence[Sample], head: Sequence[Sample], elsewhere: str | None
) -> Verdict | None:
    theirs = [sample.cells[cell_id] for sample in base if cell_id in sample.cells]
    ours = [sample.cells[cell_id] for sample in head if cell_id in sample.cells]
    broken = _broken(theirs, ours)
    if broken is not None:
        return Verdict(cell_id, Outcome.FAIL, (broken,))
    reason = _why_not(theirs, ours) or elsewhere or _other_subject([*theirs, *ours])
    if reason is None and any(
        (cell_id in b.cells) != (cell_id in h.cells) for b, h in zip(base, head, strict=True)
    ):
        reason = "measured on one side of a pair only"
    if reason is None:
        return None
    # what the head adds, or what neither side can run here, is no sign of a regression
    skipped = all(each.status is Status.SKIPPED for each in theirs + ours)
    return Verdict(cell_id, Outcome.NOT_COMPARABLE, (reason,), advisory=not theirs or skipped)


def _broken(theirs: Sequence[Observation], ours: Sequence[Observation]) -> str | None:
    """Say that a test fails in the head and not in the base: one that raised, or most of them.

    A single process of many may miss a limit by chance; what is wrong fails in all of them. A test
    that only the head has fails there too.
    """
    errors = [each for each in ours if each.status is Status.ERROR]
    if errors and not any(each.status is Status.ERROR for each in theirs):
        return f"raised: {errors[0].message}"
    if _fails(ours) and not _fails(theirs):
        last = next(each for each in reversed(ours) if each.status in FAILING)
        return f"the test fails in the head and not in the base: {last.message}"
    return None


def _fails(side: Sequence[Observation]) -> bool:
    return 2 * sum(each.status in FAILING for each in side) > len(side)


def _why_not(theirs: Sequence[Observation], ours: Sequence[Observation]) -> str | None:
    if not theirs:
        return "new: the base does not have this cell"
    if not ours:
        return "gone: the head does not have this cell"
    for side, observations in (("base", theirs), ("head", ours)):
        for each in observations:
            if each.latency_ms is None:
                words = f": {each.message}" if each.message else ""
                return f"not measured in the {side}: {each.status.value}{words}"
    return None


def _other_subject(observations: Sequence[Observation]) -> str | None:
    first = dict(observations[0].identity)
    for each in observations:
        for name, value in each.identity:
            if first.get(name) != value:
                return f"{name} is {first.get(name)!r} and {value!r}"
    return None
