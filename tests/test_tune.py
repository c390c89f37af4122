"""Claims about the search for equal latency, with a clock that counts work instead of time."""

from collections.abc import Iterator
from dataclasses import replace
from math import inf
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from efficarch.contests import encoders as encoder_contests
from efficarch.contests.base import Settings
from efficarch.contests.encoders import Encoders
from efficarch.errors import EfficarchError
from efficarch.models.images import packaged_halves
from efficarch.record import Weights
from efficarch.reducers import REDUCERS, Method
from efficarch.tune import TOLERANCE, Goal, Outcome, Search, _next_share, candidates
from tests import inner

# as many trials as there are stages to prune after, most of which four blocks do not have
GOAL = Goal("dinov2-small", 0.8, batch=4, trials=9)
SETTINGS = Settings(
    device="cpu", dtype="float32", weights=Weights.PRETRAINED, locations={}, rounds=6
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread: passes of a millisecond only lose by sharing their work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a tiny encoder of four blocks in the place of every model."""
    row = SimpleNamespace(load=inner.load)
    monkeypatch.setattr(encoder_contests, "model_row", lambda _name: row)


def search(folder: Path, goal: Goal = GOAL) -> Search:
    """Return a search on the packaged photos whose journal lies in a folder."""
    tuning, held_out = packaged_halves()
    return Search(
        goal=goal,
        encoders=Encoders(SETTINGS),
        clock=inner.WorkClock(),
        tuning=tuning,
        held_out=held_out,
        journal=folder / "trials.log",
    )


def only(folder: Path, method: Method, goal: Goal = GOAL) -> Outcome:
    """Return what became of one method."""
    (outcome,) = search(folder, goal).run([method])
    return outcome


@pytest.mark.parametrize("name", ["random", "tome", "tome+exact-tail"])
def test_what_is_found_meets_the_latency(tmp_path: Path, name: str) -> None:
    """The measured ratio lies just below the goal, and the figures are of the held-out half."""
    found = only(tmp_path, REDUCERS[name]).found

    assert found is not None
    assert GOAL.latency_ratio - TOLERANCE <= found.measurement.ratio.value <= GOAL.latency_ratio
    assert found.tuned.name == f"{name}@0.8"
    assert found.measurement.cossim.items == 16
    assert "16 images" in found.measurement.source


def test_the_choice_of_highest_cossim_on_the_tuning_half_wins(tmp_path: Path) -> None:
    """Among the stages of random pruning that a model has, none tried was better."""
    goal = GOAL
    searching = search(tmp_path)
    (outcome,) = searching.run([REDUCERS["random"]])
    assert outcome.found is not None

    def on_tuning_half(after: tuple[int, ...]) -> float:
        method = REDUCERS["random"].variant("random", {"after": after})
        with torch.inference_mode():
            keep = searching._solve_keep(method, goal.latency_ratio / 1.13)
            return float(
                searching.encoders.similarity(
                    model=goal.model, reducer=method(keep), images=searching.tuning, batch=4
                ).mean()
            )

    scores = {after: on_tuning_half(after) for after in [(0,), (1,)]}

    assert outcome.found.tuned.options["after"] in {(0,), (1,), (2,)}
    assert max(scores.values()) <= on_tuning_half(outcome.found.tuned.options["after"]) + 1e-9


def test_the_halves_share_no_photo() -> None:
    """Crops of one photo all lie in one half."""
    tuning, held_out = packaged_halves()

    assert (len(tuning), len(held_out)) == (16, 16)
    assert not {image.tobytes() for image in tuning} & {image.tobytes() for image in held_out}
    # three crops of five photos, in the order of the photos, then one page
    sizes = [[image.size for image in half] for half in (tuning, held_out)]
    for half in sizes:
        assert half[0:5] == half[5:10] == half[10:15]


def test_a_search_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """With the journal of a finished search, the same is found without a further trial."""
    first = only(tmp_path, REDUCERS["tome"])
    size = (tmp_path / "trials.log").stat().st_size

    again = only(tmp_path, REDUCERS["tome"])

    assert first.found is not None
    assert again.found is not None
    assert again.found.tuned == first.found.tuned
    # nothing but the line that opens the study once more
    assert (tmp_path / "trials.log").stat().st_size < size + 400


def test_the_seed_decides(tmp_path: Path) -> None:
    """Two searches of one seed in different folders find the same."""
    tuned = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        found = only(folder, REDUCERS["tome"]).found
        assert found is not None
        tuned.append(found.tuned)

    assert tuned[0] == tuned[1]


def test_a_latency_out_of_reach_is_a_reason(tmp_path: Path) -> None:
    """A method that cannot be so fast is left out with a sentence, and the others go on."""
    goal = replace(GOAL, latency_ratio=0.05)

    outcome = only(tmp_path, REDUCERS["random"], goal)

    assert outcome.found is None
    assert "choose a latency ratio nearer to 1" in outcome.reason


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ((0.5, 0.0, inf, 2.0), 0.55),
        ((0.5, 0.0, inf, 0.5), 0.5 / 1.1),
        ((0.5, 0.5, inf, 1.02), 0.51),
        ((0.5, 0.4, 0.6, 0.2), 0.5),
        ((0.5, 0.6, 0.4, 1.01), 0.505),
    ],
    ids=["far too fast", "far too slow", "a little", "between", "contradictory"],
)
def test_the_next_share(shares: tuple[float, float, float, float], expected: float) -> None:
    """Steps are short, and between a share too fast and one too slow lies their middle."""
    share, too_fast, too_slow, aim = shares

    assert _next_share(share, too_fast, too_slow, aim=aim) == pytest.approx(expected)


@pytest.mark.parametrize("ratio", [0.0, 1.0, 1.5, -0.5, float("nan")])
def test_an_impossible_goal_is_refused(ratio: float) -> None:
    """The sentence names the value and the range."""
    with pytest.raises(EfficarchError, match=f"latency ratio is {ratio}; it must lie between 0"):
        Goal("dinov2-small", ratio, batch=8, trials=1)


def test_no_trials_are_refused() -> None:
    """At least one choice has to be tried."""
    with pytest.raises(EfficarchError, match="trials is 0; it must be at least 1"):
        Goal("dinov2-small", 0.5, batch=8, trials=0)


def test_every_method_of_a_model_is_a_candidate() -> None:
    """All rows with a keep ratio, with the exact tail where the model has CLS."""
    names = [str(method) for method in candidates("dinov2-small", [])]

    rows = [row.name for row in REDUCERS if row.takes_keep and "dinov2-small" in row.models]
    assert names == [f"{name}+exact-tail" for name in rows]
    assert [str(method) for method in candidates("siglip-base-p16", ["tome"])] == ["tome"]
    assert [str(m) for m in candidates("dinov2-small", ["tome+exact-tail"])] == ["tome+exact-tail"]


@pytest.mark.parametrize("name", ["none", "exact-tail", "fastv"])
def test_a_method_that_cannot_be_tuned_is_refused(name: str) -> None:
    """The sentence names those that can."""
    with pytest.raises(
        EfficarchError, match=f"{name} cannot be tuned on dinov2-small; choose among: random"
    ):
        candidates("dinov2-small", [name])
