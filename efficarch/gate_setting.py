"""What a gate compares, by what it is judged, and what the head changed of that."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from efficarch.errors import EfficarchError, PolicyError
from efficarch.experiment.builder import Workshop
from efficarch.experiment.environments import with_environments
from efficarch.experiment.project import check_settings, distribution_name, pytest_settings
from efficarch.experiment.request import Request, existing
from efficarch.experiment.run import Options
from efficarch.experiment.worktree import (
    SIDES,
    Arms,
    changed_files,
    check_out,
    check_out_snapshot,
    links_out,
)
from efficarch.policy import Policy, load_named_policy, load_policy
from efficarch.suites_folder import suites_in
from efficarch.trust import judging_files, listed, policy_notice

Say = Callable[[str], None]


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


def prepared(request: Request, wishes: Wishes, workspace: Path, interpreter: Path) -> Setting:
    """Check both sides out, and find by what they are judged and what the head changed of it.

    Raises:
        EfficarchError: there is no such commit, setting or folder; in one sentence.
    """
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


def built(setting: Setting, wishes: Wishes, workshop: Workshop, say: Say) -> Setting:
    """Give the sides environments of their own where they need them, and note what builds wrote."""
    install = setting.policy.install
    arms = with_environments(setting.arms, wishes.pythons, install, workshop, say)
    notices = []
    for side in SIDES:
        tree, before = arms.of(side), setting.arms.of(side).beginning
        # a compiled part is of sources that git knows
        written = [
            name
            for name, left in tree.beginning.items()
            if left != before.get(name) and not name.endswith((".so", ".pyd"))
        ]
        judging = judging_files(written, tree.folder, setting.options.suites)
        if judging:
            notices.append(f"the build of the {side} writes what measures it: {listed(judging)}")
    return replace(setting, arms=arms, notices=(*setting.notices, *notices))


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
