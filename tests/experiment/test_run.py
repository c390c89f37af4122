"""Claims about the order of an experiment; real processes are gated in test_faults."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from efficarch.experiment import run
from efficarch.experiment.ledger import Ledger
from efficarch.experiment.run import Experiment, Options, measure
from efficarch.observation import Observation, Sample
from tests.gate.paired_cases import observation, sample

TOOK_TURNS = replace(observation(), turn=0, rounds_ms=(1.0, 2.0))
ALONE = observation()
NOT_MEASURED = replace(observation(), latency_ms=None)


def told(
    monkeypatch: pytest.MonkeyPatch,
    first: tuple[Sequence[Observation], Sequence[Observation]],
    *,
    allowed: bool = True,
    schemas: tuple[int, int] = (5, 5),
) -> list[bool]:
    """Return of each of three pairs whether it was to time the subject alone."""
    found: list[bool] = []
    base, head = first

    def measure_pair(
        _self: Experiment, _pair: int, _cells: Sequence[str] | None, *, subject_alone: bool
    ) -> float:
        found.append(subject_alone)
        return 1.0

    def load_pair(_folder: Path, _pair: int) -> tuple[Sample, Sample]:
        return (
            replace(sample(*base), schema=schemas[0]),
            replace(sample(*head), schema=schemas[1]),
        )

    monkeypatch.setattr(Experiment, "measure_pair", measure_pair)
    monkeypatch.setattr(run, "load_pair", load_pair)
    options = Options((), (), ("suites",), 0, 60, subject_alone=allowed)
    measure(
        Experiment(Ledger(Path("nowhere")), {}, options, None),
        looks=(3,),
        undecided=lambda _pairs: [],
        tell=lambda _done, _look, _seconds: None,
    )
    return found


@pytest.mark.parametrize(
    ("base", "head", "alone"),
    [
        pytest.param([TOOK_TURNS], [TOOK_TURNS], True, id="in turns"),
        pytest.param([ALONE], [TOOK_TURNS], False, id="an older base"),
        pytest.param([TOOK_TURNS], [ALONE], False, id="an older head"),
        pytest.param([TOOK_TURNS], [], True, id="gone"),
        pytest.param([NOT_MEASURED], [TOOK_TURNS], True, id="skipped in the base"),
    ],
)
def test_references_are_left_out_where_the_first_pair_took_turns(
    monkeypatch: pytest.MonkeyPatch,
    base: Sequence[Observation],
    head: Sequence[Observation],
    alone: bool,
) -> None:
    """In all cells that can be compared; else their ratio is what is judged."""
    assert told(monkeypatch, (base, head)) == [False, alone, alone]


def test_references_stay_where_one_side_may_not_know_how(monkeypatch: pytest.MonkeyPatch) -> None:
    """An efficarch of another schema, on either side."""
    first = ([TOOK_TURNS], [TOOK_TURNS])
    for schemas, alone in (((4, 5), False), ((5, 4), False), ((4, 4), True)):
        assert told(monkeypatch, first, schemas=schemas) == [False, alone, alone]


def test_references_stay_where_the_ratio_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the policy."""
    first = ([TOOK_TURNS], [TOOK_TURNS])
    assert told(monkeypatch, first, allowed=False) == [False] * 3
