"""What judges a gate, and what the judged side changed of it: the base judges, and it is said."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import PurePosixPath

from efficarch.gate import Outcome, Verdict
from efficarch.observation import Sample
from efficarch.policy import Policy
from efficarch.record import Limits, Status

Pairs = Sequence[tuple[Sample, Sample]]

HOOKS = ("conftest.py", "sitecustomize.py", "usercustomize.py")
"""Files that run before any test."""

PROSE = (".md", ".rst", ".txt")
SHOWN = 3
"""How many of a list a notice names."""


def judging_files(changed: Iterable[str], folder: str, suites: Sequence[str]) -> list[str]:
    """Return which changed files are part of what measures: suites, and what runs before them.

    ``suites`` are relative to ``folder``, the project's.
    """
    roots = [PurePosixPath(folder) / suite for suite in suites]
    found = []
    for name in changed:
        path = PurePosixPath(name)
        if path.name in HOOKS or any(path.is_relative_to(root) for root in roots):
            found.append(name)
    return found


def explains_a_gain(changed: Iterable[str], judging: Sequence[str]) -> bool:
    """Whether some code other than what measures changed."""
    return any(name not in judging and PurePosixPath(name).suffix not in PROSE for name in changed)


def policy_notice(base: Policy, head: Policy) -> list[str]:
    """Say how the head's policy differs from the base's, which judges."""
    theirs, ours = asdict(base), asdict(head)
    differing = [
        f"{name} {_short(theirs[name])} -> {_short(ours[name])}"
        for name in theirs
        if theirs[name] != ours[name]
    ]
    if not differing:
        return []
    return [f"the head changes the policy ({listed(differing)}); judged by the base's"]


def limits_in_force(pairs: Pairs, *, trust_head: bool) -> dict[str, Limits]:
    """Return the hand-written limits by cell: the base's, or the head's for what only it has."""
    base, head = _limits(base for base, _head in pairs), _limits(head for _base, head in pairs)
    return base | head if trust_head else head | base


def limits_notice(pairs: Pairs) -> list[str]:
    """Say of which cells the head changed the limits."""
    base, head = _limits(base for base, _head in pairs), _limits(head for _base, head in pairs)
    differing = [
        f"{cell_id}: {', '.join(_differences(base[cell_id], head[cell_id]))}"
        for cell_id in base
        if cell_id in head and _differences(base[cell_id], head[cell_id])
    ]
    if not differing:
        return []
    return [f"the head changes limits ({listed(differing)}); judged by the base's"]


def record_notices(pairs: Pairs) -> list[str]:
    """Say what else differs between the processes of both sides, by the agents' records."""
    notices = []
    base, head = (
        next((s.record for s in side if s.record), None) for side in zip(*pairs, strict=True)
    )
    if base is None or head is None:
        return []
    plugins = [f"+ {each}" for each in head.plugins if each not in base.plugins]
    plugins += [f"- {each}" for each in base.plugins if each not in head.plugins]
    if plugins:
        notices.append(f"the sides run other pytest plugins ({listed(plugins)})")
    replaced = [name for name in head.replaced if name not in base.replaced]
    if replaced:
        notices.append(
            f"the head's tree replaces modules of Python or packages ({listed(replaced)})"
        )
    shared = sorted({*base.shared, *head.shared})
    if shared:
        notices.append(
            f"measured code writes files that both sides share ({listed(shared)}): one may find "
            "what the other left; HOME and TMPDIR are each side's own"
        )
    return notices


def doubted(
    verdicts: Sequence[Verdict], pairs: Pairs, policy: Policy, *, explained: bool
) -> list[Verdict]:
    """Turn a PASS by a gain that no change of code explains into INCONCLUSIVE.

    An emptied benchmark is fast. ``explained`` says whether code other than what measures changed;
    a test that is itself another one explains nothing either way.
    """
    changed = _changed_tests(pairs)
    found = []
    for verdict in verdicts:
        test_changed = verdict.cell_id in changed
        gained = _gained(verdict, policy.of(verdict.cell_id).floor)
        doubtful = gained and (test_changed or not explained)
        found.append(_doubted(verdict, test_changed=test_changed) if doubtful else verdict)
    return found


def _gained(verdict: Verdict, floor: float) -> bool:
    """Whether a cell passes because it is faster, by the mirror image of what fails."""
    change = verdict.change
    return verdict.outcome is Outcome.PASS and change is not None and change.high * (1 + floor) < 1


def _doubted(verdict: Verdict, *, test_changed: bool) -> Verdict:
    gain = 1 - (verdict.change.value if verdict.change else 1)
    why = "the test itself changed" if test_changed else "no code changed that explains it"
    reason = f"{100 * gain:.1f} % faster, but {why}: look whether it still measures the same"
    return replace(verdict, outcome=Outcome.INCONCLUSIVE, reasons=(*verdict.reasons, reason))


def _changed_tests(pairs: Pairs) -> set[str]:
    found = set()
    for base, head in pairs[:1]:
        if base.record is None or head.record is None:
            continue
        for cell_id, facts in head.record.cells.items():
            before = base.record.cells.get(cell_id)
            if before is not None and before.source != facts.source:
                found.add(cell_id)
    return found


def recorded_judges(pairs: Pairs, changed: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return which changed files measured by what the agents saw, besides those known before."""
    records = [s.record for pair in pairs[:1] for s in pair if s.record is not None]
    seen = {name for record in records for name in record.judges}
    return [name for name in changed if name in seen and name not in known]


def failing_notices(pairs: Pairs) -> list[str]:
    """Say which tests fail without a FAIL: on both sides, or in a few processes of the head."""
    base, head = _failures(base for base, _head in pairs), _failures(head for _base, head in pairs)
    both = [cell_id for cell_id in head if cell_id in base]
    few = [
        f"{cell_id} in {count} of {len(pairs)}"
        for cell_id, count in head.items()
        if cell_id not in base and 2 * count <= len(pairs)
    ]
    notices = [f"tests fail in both commits ({listed(both)})"] if both else []
    return notices + ([f"tests fail in some processes of the head ({listed(few)})"] if few else [])


def _failures(samples: Iterable[Sample]) -> Mapping[str, int]:
    cells = [cell for sample in samples for cell in sample.cells.values()]
    return Counter(cell.cell_id for cell in cells if cell.status is Status.FAILED)


def unused_notice(options: Sequence[str], pairs: Pairs) -> list[str]:
    """Say that options for tests with ``bench`` were given, and there is no such test."""
    if not options or any(sample.schema is not None for pair in pairs for sample in pair):
        return []
    return [f"no measured test uses bench, and only those follow {listed(options)}"]


def unmatched_notice(policy: Policy, samples: Iterable[Sample]) -> list[str]:
    """Say which patterns of the policy name no cell."""
    names = {cell_id for sample in samples for cell_id in sample.cells}
    lost = policy.unmatched(names)
    return [f"the policy names cells that there are not ({listed(lost)})"] if lost else []


def _limits(samples: Iterable[Sample]) -> dict[str, Limits]:
    cells = [cell for sample in samples for cell in sample.cells.values()]
    return {cell.cell_id: cell.limits for cell in cells if cell.limits is not None}


def _differences(base: Limits, head: Limits) -> list[str]:
    theirs: Mapping[str, object] = asdict(base)
    ours: Mapping[str, object] = asdict(head)
    return [
        f"{name} {_short(theirs[name])} -> {_short(ours[name])}"
        for name in theirs
        if name != "reasons" and theirs[name] != ours[name]
    ]


def listed(items: Sequence[str]) -> str:
    """Name the first of some things, and say how many more there are."""
    more = len(items) - SHOWN
    return ", ".join(items[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
