"""The course of a gate: two sides, measured in pairs, and judged by the base's rules."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from efficarch.conclusion import Judged
from efficarch.decision import gate, undecided
from efficarch.errors import EfficarchError
from efficarch.experiment.acceptance import BrokenHeadError
from efficarch.experiment.builder import Workshop
from efficarch.experiment.interrupts import held_back
from efficarch.experiment.ledger import Ledger, refuse_others
from efficarch.experiment.lock import only_gate
from efficarch.experiment.request import Request
from efficarch.experiment.run import Experiment, Pair, measure
from efficarch.experiment.shared_caches import Caches
from efficarch.experiment.side import Side, furnish, gated_projects
from efficarch.experiment.temporary import temporary_folder
from efficarch.experiment.worktree import (
    SIDES,
    Arms,
)
from efficarch.gate import Outcome, Verdict
from efficarch.gate_setting import Setting, Wishes, built, prepared
from efficarch.observation import Sample
from efficarch.trust import (
    doubted,
    explains_a_gain,
    failing_notices,
    limits_in_force,
    limits_notice,
    listed,
    record_notices,
    recorded_judges,
    unmatched_notice,
    unused_notice,
)

Say = Callable[[str], None]

COLLECTION = "collection"
"""Stands for the cells of a head whose tests cannot be loaded."""


def run(request: Request, wishes: Wishes, interpreter: Path, ledger: Ledger, say: Say) -> Judged:
    """Measure and judge; nothing is left but the files in the out folder, the ledger's.

    Raises:
        EfficarchError: whatever keeps the gate from its verdicts, in one sentence.
    """
    with only_gate() as lock, temporary_folder() as workspace:
        # found out before anything is checked out or built
        refuse_others(request.out)
        setting = prepared(request, wishes, workspace, interpreter)
        workshop = Workshop(workspace, wishes.options.timeout_s, lock)
        setting = built(setting, wishes, workshop, say)
        furnish(workspace)
        with held_back():
            ledger.claim(_facts(request, setting))
        notices = [*setting.notices, *_resumed(ledger)]
        for notice in notices:
            say(f"note: {notice}")
        ready = _ready(request, setting, workspace)
        experiment = Experiment(ledger, ready, setting.options, lock)
        try:
            pairs, more = _measured(experiment, wishes, setting, say)
        except BrokenHeadError as error:
            pairs, more = [], []
            verdicts = [Verdict(COLLECTION, Outcome.FAIL, (str(error),))]
        else:
            verdicts = _verdicts(pairs, setting, trust_head=wishes.trust_head)
        for notice in more:
            say(f"note: {notice}")
        ledger.conclude()
    subjects, told = _subjects(setting.arms, wishes), (*notices, *more)
    return Judged(verdicts, pairs, subjects, setting.policy, told, ledger.resumed_pairs)


def _verdicts(pairs: Sequence[Pair], setting: Setting, *, trust_head: bool) -> list[Verdict]:
    limits = limits_in_force(pairs, trust_head=trust_head)
    found = gate(*sides(pairs), limits, setting.policy)
    judging = (*setting.judging, *recorded_judges(pairs, setting.changed, setting.judging))
    explained = explains_a_gain(setting.changed, judging)
    return doubted(found, pairs, setting.policy, explained=explained)


def _subjects(arms: Arms, wishes: Wishes) -> str:
    head = "the working tree" if wishes.head is None else wishes.head
    return f"{head} ({arms.head.commit[:12]}) against {wishes.base} ({arms.base.commit[:12]})"


def sides(pairs: Sequence[Pair]) -> tuple[list[Sample], list[Sample]]:
    """Return the processes of the base and those of the head."""
    return [base for base, _head in pairs], [head for _base, head in pairs]


def _facts(request: Request, setting: Setting) -> dict[str, Any]:
    """Return what makes an experiment this one."""
    arms = setting.arms
    return {
        "base": arms.base.commit,
        "head": arms.head.tree,
        "project": request.folder,
        "options": asdict(setting.options),
        "policy": asdict(setting.policy),
        "pythons": [str(arms.of(side).python) for side in SIDES if not arms.of(side).built],
    }


def _ready(request: Request, setting: Setting, workspace: Path) -> dict[str, Side]:
    checkouts = tuple(request.repository.checkouts())
    projects = gated_projects(setting.arms, setting.changed)
    return {side: Side(side, setting.arms, workspace, checkouts, projects) for side in SIDES}


def _resumed(ledger: Ledger) -> list[str]:
    if not ledger.resumed_pairs:
        return []
    return [
        f"{ledger.resumed_pairs} of the pairs were measured earlier, since {ledger.started}, by a "
        "run that was interrupted"
    ]


def _measured(
    experiment: Experiment, wishes: Wishes, setting: Setting, say: Say
) -> tuple[list[Pair], list[str]]:
    """Measure, and return the pairs with what is to be said of them."""
    policy, caches = setting.policy, Caches.now()
    pairs = measure(
        experiment,
        policy.pairs,
        lambda found: undecided(
            *sides(found), limits_in_force(found, trust_head=wishes.trust_head), policy
        ),
        lambda done, look, seconds: say(progress(done, look, seconds)),
    )
    if len(pairs) <= experiment.ledger.resumed_pairs:
        raise EfficarchError(
            f"nothing was left to measure: all {len(pairs)} pairs in {experiment.folder} are of an "
            "earlier run, which is no evidence of today; remove the folder to measure anew"
        )
    notices = [] if wishes.trust_head else limits_notice(pairs)
    also = recorded_judges(pairs, setting.changed, setting.judging)
    notices += [f"the head also changes what measures it: {listed(also)}"] if also else []
    notices += unmatched_notice(policy, [sample for pair in pairs for sample in pair])
    notices += unused_notice(wishes.of_cells, pairs) + failing_notices(pairs)
    notices += record_notices(pairs) + caches.notices()
    return pairs, notices


def progress(done: int, look: int, seconds: float) -> str:
    """Draw how far a gate is."""
    width = 20
    filled = width * done // look
    to_go = (look - done) * seconds
    length = f"{to_go:.0f} s" if to_go < 120 else f"{to_go / 60:.0f} min"
    left = f", about {length} to go" if seconds else ""
    return f"[{'#' * filled}{'.' * (width - filled)}] pair {done + 1} of {look}{left}"
