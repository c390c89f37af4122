"""No file, however spoiled, ends in anything but an answer or one sentence."""

import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import pytest

from efficarch.conclusion import Judged
from efficarch.decision import gate
from efficarch.errors import EfficarchError
from efficarch.gate import check_limits, compare
from efficarch.observation import Sample
from efficarch.policy import Policy
from efficarch.record import Conditions, Limits, Run
from efficarch.store import load_run, load_sample, load_sides
from reports import write_gate_report, write_report
from tests import samples
from tests.reports import cases
from tests.store import mutations
from tests.store.test_foreign import plain

T = TypeVar("T")

GOLDEN = Path(__file__).parent / "golden"
LATER = "2026-11-22T21:00:00+00:00"


def everything() -> Run:
    """Return a run of one cell of each kind, with every limit."""
    swept = replace(samples.swept(), backend="cpp", saving=samples.saving())
    hot = Conditions(0.1, 1980, ("power cap",), 1)
    every = Limits(0.9, 0.8, 1e3, ("why",), 0.8, 0.1, (0.9, 1.1), (1.85, 2.1))
    lines = [
        replace(samples.line(samples.cell("cpp"), measured=swept), limits=every),
        samples.line(samples.cell("random")),
        samples.line(measured=replace(samples.measurement(), conditions=hot, turn=0)),
    ]
    return samples.run(*lines)


SEEDS: dict[str, Any] = {
    **{
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(GOLDEN.glob("run-v*.json"))
    },
    "every kind": samples.run_json(everything()),
    "every state": samples.run_json(cases.every_state()),
    "savings": samples.run_json(cases.every_saving()),
    "alone": samples.run_json(samples.run(samples.line(measured=samples.alone()))),
    "plain": plain(),
}


def answer(call: Callable[[], T]) -> T | None:
    """Return what a call says; nothing where it refuses, in one line."""
    try:
        return call()
    except EfficarchError as error:
        sentence = str(error)
    assert sentence.strip()
    assert "\n" not in sentence
    return None


def limits(head: Sequence[Sample]) -> dict[str, Limits]:
    """Return the limits of a side, by cell."""
    cells = [cell for sample in head for cell in sample.cells.values()]
    return {cell.cell_id: cell.limits for cell in cells if cell.limits is not None}


def judge(spoiled: Path, good: Path, out: Path) -> bool:
    """Judge and report a run file alone, and a pair of files either way round."""
    run, base = (answer(lambda path=path: load_run(path)) for path in (spoiled, good))
    if run is not None:
        answer(lambda: check_limits(run))
        answer(lambda: write_report(run, out / "index.html", out / "s.md", baseline=base))
        if base is not None:
            answer(lambda: compare(run, base))
            answer(lambda: compare(base, run))
    sides = answer(lambda: load_sides([spoiled], [good]))
    both = (sides.base, sides.head) if sides else ()
    for base_side, head_side in [both, both[::-1]] if both else []:
        # the same pair again and again, with both sides unspoiled or spoiled now and then
        base_all = [*base_side * 4, *head_side * 2, *base_side]
        pairs = base_all, [*head_side * 6, *base_side]
        verdicts = answer(lambda pairs=pairs: gate(*pairs, limits(pairs[1]), Policy()))
        if verdicts is not None:
            judged = Judged(verdicts, list(zip(*pairs, strict=True)), "a < b", Policy())
            facts = list(head_side[0].machine)
            answer(lambda j=judged, f=facts: write_gate_report(j, f, out))
    return run is not None or sides is not None


def good_twin(path: Path, seed: Any) -> Path:
    """Write the unspoiled file as of a later process."""
    data = deepcopy(seed)
    data["datetime"] = LATER
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", SEEDS)
def test_values_that_make_no_sense(name: str, tmp_path: Path) -> None:
    """Of the right type, with figures that follow: readers pass most of them on to the judges."""
    random = Random(name)
    good = good_twin(tmp_path / "good.json", SEEDS[name])
    spoiled = tmp_path / "spoiled.json"
    judged = 0
    for _ in range(24):
        spoiled.write_text(json.dumps(mutations.likely(SEEDS[name], random)), encoding="utf-8")
        judged += judge(spoiled, good, tmp_path)

    assert judged >= 6, "hardly a file was read: the mutations are too wild to test the judges"


@pytest.mark.parametrize("name", SEEDS)
def test_values_of_any_type_anywhere(name: str, tmp_path: Path) -> None:
    """Deleted, replaced, repeated, moved, nested; the readers refuse most of them."""
    random = Random(name)
    good = good_twin(tmp_path / "good.json", SEEDS[name])
    spoiled = tmp_path / "spoiled.json"
    for _ in range(120):
        spoiled.write_text(json.dumps(mutations.wild(SEEDS[name], random)), encoding="utf-8")
        if answer(lambda: load_sample(spoiled)) is not None and random.random() < 0.2:
            judge(spoiled, good, tmp_path)
        else:
            answer(lambda: load_run(spoiled))


@pytest.mark.parametrize("name", SEEDS)
def test_bytes_cut_short_or_changed(name: str, tmp_path: Path) -> None:
    """A file that a full disk, an editor or a bad copy left behind."""
    random = Random(name)
    text = json.dumps(SEEDS[name])
    spoiled = tmp_path / "spoiled.json"
    for _ in range(60):
        spoiled.write_bytes(mutations.spoiled_bytes(text, random))
        for read in (load_run, load_sample):
            answer(lambda read=read: read(spoiled))
        answer(lambda: load_sides([spoiled], []))


def test_the_unspoiled_files_are_all_read(tmp_path: Path) -> None:
    """What the mutations start from is good, or they would show nothing."""
    for name, data in SEEDS.items():
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(data), encoding="utf-8")
        assert load_sample(path).cells
