"""The course of a gate: two sides, measured in pairs, and judged by the base's rules."""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from efficarch.conclusion import Judged
from efficarch.decision import gate, undecided
from efficarch.errors import EfficarchError, PolicyError
from efficarch.experiment.acceptance import BrokenHeadError
from efficarch.experiment.builder import Workshop
from efficarch.experiment.environments import with_environments
from efficarch.experiment.interrupts import held_back
from efficarch.experiment.ledger import Ledger, refuse_others
from efficarch.experiment.lock import only_gate
from efficarch.experiment.project import check_settings, distribution_name, pytest_settings
from efficarch.experiment.request import Request, existing
from efficarch.experiment.run import Experiment, Options, Pair, measure
from efficarch.experiment.shared_caches import Caches
from efficarch.experiment.side import Side, furnish, gated_names
from efficarch.experiment.temporary import temporary_folder
from efficarch.experiment.worktree import (
    SIDES,
    Arms,
    changed_files,
    check_out,
    check_out_snapshot,
    links_out,
)
from efficarch.gate import Outcome, Verdict
from efficarch.observation import Sample
from efficarch.policy import Policy, load_named_policy, load_policy
from efficarch.suites_folder import suites_in
from efficarch.trust import (
    doubted,
    explains_a_gain,
    failing_notices,
    judging_files,
    limits_in_force,
    limits_notice,
    listed,
    policy_notice,
    record_notices,
    recorded_judges,
    unmatched_notice,
    unused_notice,
)

Say = Callable[[str], None]

COLLECTION = "collection"
"""Stands for the cells of a head whose tests cannot be loaded."""


@dataclass(frozen=True)
class Wishes:
    """What the command line asks for besides paths."""

    base: str
    head: str | None
    pythons: tuple[Path | None, Path | None]
    """Those given for base and head."""
    policy: Path | None
    """A file that stands in for the base's policy."""
    trust_head: bool
    suites: tuple[str, ...] | None
    """Relative to the project; ``None`` for where a project usually has them."""
    of_cells: tuple[str, ...]
    """Options given that only tests with ``bench`` follow."""
    options: Options
    """Cells and suites are filled in when the sides are known."""


@dataclass(frozen=True)
class Setting:
    """Both sides, and by what they are judged."""

    arms: Arms
    policy: Policy
    options: Options
    notices: tuple[str, ...]
    """What the head changed of what measures and judges it."""
    changed: tuple[str, ...]
    """Files in which the sides differ."""
    judging: tuple[str, ...]
    """Those of them that are known to measure."""


def run(request: Request, wishes: Wishes, interpreter: Path, ledger: Ledger, say: Say) -> Judged:
    """Measure and judge; nothing is left but the files in the out folder, the ledger's.

    Raises:
        EfficarchError: whatever keeps the gate from its verdicts, in one sentence.
    """
    with only_gate() as lock, temporary_folder() as workspace:
        # found out before anything is checked out or built
        refuse_others(request.out)
        setting = _setting(request, wishes, workspace, interpreter)
        workshop = Workshop(workspace, wishes.options.timeout_s, lock)
        setting = _built(setting, wishes, workshop, say)
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


def _setting(request: Request, wishes: Wishes, workspace: Path, interpreter: Path) -> Setting:
    arms = _sides(request, wishes, workspace, interpreter)
    policy, notices = _policy(arms, wishes)
    suites, more = _suites(arms, wishes)
    options = options_of(suites, wishes, policy)
    changed = changed_files(arms)
    judging = _judging(arms, changed, suites)
    notices += more
    if judging:
        notices.append(f"the head changes what measures it: {listed(judging)}")
    links = dict.fromkeys(each for side in SIDES for each in links_out(arms.of(side)))
    if links:
        notices.append(f"links lead out of the sides ({listed([*links])}): both read the same")
    if os.environ.get("PYTEST_ADDOPTS"):
        notices.append(f"PYTEST_ADDOPTS is left out ({os.environ['PYTEST_ADDOPTS']!r})")
    return Setting(arms, policy, options, tuple(notices), tuple(changed), tuple(judging))


def _built(setting: Setting, wishes: Wishes, workshop: Workshop, say: Say) -> Setting:
    """Give the sides environments of their own where they need them, and note what builds wrote."""
    install = setting.policy.install
    arms = with_environments(setting.arms, wishes.pythons, install, workshop, say)
    notices = []
    for side in SIDES:
        tree = arms.of(side)
        # a compiled part is of sources that git knows
        written = [name for name in tree.beginning if not name.endswith((".so", ".pyd"))]
        judging = judging_files(written, tree.folder, setting.options.suites)
        if judging:
            notices.append(f"the build of the {side} writes what measures it: {listed(judging)}")
    return replace(setting, arms=arms, notices=(*setting.notices, *notices))


def sides(pairs: Sequence[Pair]) -> tuple[list[Sample], list[Sample]]:
    """Return the processes of the base and those of the head."""
    return [base for base, _head in pairs], [head for _base, head in pairs]


def _sides(request: Request, wishes: Wishes, workspace: Path, interpreter: Path) -> Arms:
    repository = request.repository
    base, head = (given or interpreter for given in wishes.pythons)
    before = check_out(repository, repository.resolve(wishes.base), workspace / "base", base)
    if wishes.head is None:
        without = (request.out, workspace)
        after = check_out_snapshot(repository, workspace / "head", head, without=without)
    else:
        after = check_out(repository, repository.resolve(wishes.head), workspace / "head", head)
    arms = Arms(replace(before, folder=request.folder), replace(after, folder=request.folder))
    for side in SIDES:
        if not arms.of(side).project.is_dir():
            raise EfficarchError(f"the {side} has no folder {request.folder!r} to gate")
        check_settings(arms.of(side).project, arms.of(side).path, side)
    return arms


def _policy(arms: Arms, wishes: Wishes) -> tuple[Policy, list[str]]:
    """Return the policy in force, and what the head would change of it."""
    if wishes.policy is not None:
        return load_named_policy(wishes.policy), []
    base, head = (_policy_of(arms, side) for side in SIDES)
    if wishes.trust_head:
        return head, ["policy and limits are the head's own (--trust-head)"]
    return base, policy_notice(base, head)


def _policy_of(arms: Arms, side: str) -> Policy:
    path = arms.of(side).project / "pyproject.toml"
    try:
        return load_policy(path)
    except PolicyError as error:
        # the file that it names will be gone
        words = str(error).replace(str(path), f"pyproject.toml of the {side}")
        raise PolicyError(words) from error


def _suites(arms: Arms, wishes: Wishes) -> tuple[tuple[str, ...], list[str]]:
    """Return where the benchmarks are, by the base, and what the head would change of that.

    Raises:
        EfficarchError: there are no benchmarks, or only one side has them.
    """
    notices = []
    suites = wishes.suites
    if suites is None:
        base, head = (suites_in(arms.of(side).project) for side in SIDES)
        suites = head if wishes.trust_head or not base else base
        if base and base != head:
            notices.append(f"the head has its benchmarks in {listed(head) or 'no folder'}")
    if not suites:
        raise EfficarchError(
            "no benchmarks here: no suites, testpaths, benchmarks or tests; name their folder with "
            "--suites"
        )
    for side in SIDES:
        existing(arms.of(side).project, suites, side)
    return suites, notices


def options_of(suites: tuple[str, ...], wishes: Wishes, policy: Policy) -> Options:
    """Return how every process measures."""
    # what is asked for by name need not be among the cells of the policy
    cells = policy.cells if policy.cells and not wishes.options.pytest else None
    alone = policy.metric != "ratio"
    return replace(wishes.options, suites=suites, cells=cells, subject_alone=alone)


def _judging(arms: Arms, changed: Sequence[str], suites: Sequence[str]) -> list[str]:
    found = judging_files(changed, arms.head.folder, suites)
    base, head = (pytest_settings(arms.of(side).project) for side in SIDES)
    names = [name for name in {**base, **head} if base.get(name) != head.get(name)]
    found += [f"{name} (pytest's configuration)" for name in names]
    if distribution_name(arms.head.project) == "efficarch":
        found += [name for name in changed if name.startswith("efficarch/") and name not in found]
    return found


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
    names = gated_names(setting.arms, setting.changed)
    return {side: Side(side, setting.arms, workspace, checkouts, names) for side in SIDES}


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
    time = f"{to_go:.0f} s" if to_go < 120 else f"{to_go / 60:.0f} min"
    left = f", about {time} to go" if seconds else ""
    return f"[{'#' * filled}{'.' * (width - filled)}] pair {done + 1} of {look}{left}"
