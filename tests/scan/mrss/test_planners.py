"""Claims about who defers what."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from efficarch.errors import EfficarchError, UnknownNameError
from efficarch.scan import ScanInputs
from efficarch.scan.mrss import (
    MAX_RUN,
    PLANNERS,
    SCORES,
    Plan,
    Threshold,
    mrss_scan,
    planner,
    score,
)
from efficarch.scan.mrss.planners import defer_lowest
from efficarch.scan.signals import Size, signal_inputs
from tests.scan.samples import random_inputs

SAVING = 0.35
CAUSAL_SCORES = [row.name for row in SCORES.values() if row.causal and row.name != "oracle"]


def inputs(length: int = 200, name: str = "ar1-0.9", seed: int = 0) -> ScanInputs:
    """Return inputs of a small layer."""
    return signal_inputs(name, Size(2, 96, 8, length), seed=seed)


def cut(whole: ScanInputs, length: int) -> ScanInputs:
    """Return the first tokens."""
    return replace(
        whole,
        **{name: getattr(whole, name)[..., :length] for name in ("u", "delta", "B", "C", "z")},
    )


@pytest.mark.parametrize("name", [name for name in PLANNERS if name != "none"])
@pytest.mark.parametrize("saving", [0.0, 0.1, SAVING, 0.5, 0.75, 0.875])
def test_the_share_asked_for_is_saved(name: str, saving: float) -> None:
    """Every planner defers the floor of the share in every row, where the rules leave that much."""
    deferred = planner(name, saving).plan(inputs()).deferred

    most = 198 - 198 // MAX_RUN
    expected = min(int(saving * 200), most)
    # the last token of a stride may be the one that must be committed
    slack = 1 if name == "stride" else 0
    assert all(expected - slack <= each <= expected for each in deferred.sum(1).tolist())


@settings(deadline=None, max_examples=60)
@given(
    length=st.integers(1, 60),
    saving=st.floats(0, 0.875),
    seed=st.integers(0, 10**6),
    levels=st.sampled_from([1, 2, 1000]),
)
def test_the_share_is_exact_for_any_scores(
    length: int, saving: float, seed: int, levels: int
) -> None:
    """Ties, short sequences and the largest saving included; `Plan` checks the other rules."""
    rng = torch.Generator().manual_seed(seed)
    scores = torch.randint(levels, (2, length), generator=rng).float()

    plan = Plan(defer_lowest(scores, saving))

    inner = max(length - 2, 0)
    assert (
        plan.deferred.sum(1).tolist() == [min(int(saving * length), inner - inner // MAX_RUN)] * 2
    )


def test_low_scores_are_deferred() -> None:
    """Without long chains it is exactly the tokens of lowest score."""
    scores = torch.arange(20.0).remainder(2)[None]  # every second token is free

    deferred = defer_lowest(scores, 0.45)

    assert deferred[0].nonzero().flatten().tolist() == list(range(2, 20, 2))


def test_scores_that_are_not_numbers() -> None:
    """NaN has no place in an order."""
    with pytest.raises(EfficarchError, match="contain NaN; look for NaN in the inputs"):
        defer_lowest(torch.full((1, 8), torch.nan), 0.5)


def test_unknown_planners_get_a_hint() -> None:
    """A typing mistake names the planner that was meant."""
    with pytest.raises(UnknownNameError, match="did you mean 'random'"):
        planner("randm", 0.5)
    with pytest.raises(UnknownNameError, match="did you mean 'j-score'"):
        score("j-scor")


@pytest.mark.parametrize("name", PLANNERS)
def test_too_much_is_refused(name: str) -> None:
    """Nobody can save everything."""
    with pytest.raises(ValueError, match=r"saving is 1\.0"):
        planner(name, 1.0)


def test_random_is_seeded() -> None:
    """The same tokens every time, other ones with another seed."""
    row = PLANNERS["random"]
    first, again = (row.build(SAVING).plan(inputs()).deferred for _ in range(2))

    assert torch.equal(first, again)
    assert not torch.equal(first, replace(row.build(SAVING), seed=1).plan(inputs()).deferred)


@pytest.mark.parametrize("name", CAUSAL_SCORES)
def test_thresholds_do_not_look_ahead(name: str) -> None:
    """Whatever comes later, the plan of the tokens before is the same; the last one must commit."""
    planner_ = Threshold.calibrated(score(name), [inputs()], saving=0.5)
    whole = inputs(name="piecewise", seed=3)
    plan = planner_.plan(whole).deferred

    assert planner_.causal
    for length in (7, 64, 131):
        shorter = planner_.plan(cut(whole, length)).deferred
        assert torch.equal(shorter[:, :-1], plan[:, : length - 1])


@pytest.mark.parametrize("name", ["stride", "random"])
def test_causal_planners_do_not_look_at_values(name: str) -> None:
    """Stride and random decide before they see anything."""
    assert torch.equal(
        planner(name, SAVING).plan(inputs(seed=1)).deferred,
        planner(name, SAVING).plan(inputs(seed=2)).deferred,
    )


@pytest.mark.parametrize("name", CAUSAL_SCORES)
def test_a_threshold_saves_elsewhere_what_it_was_calibrated_for(name: str) -> None:
    """On other draws of the same signal it saves about as much."""
    planner_ = Threshold.calibrated(
        score(name), [inputs(1000, seed=seed) for seed in (0, 1)], saving=SAVING
    )

    assert planner_.saving == pytest.approx(SAVING, abs=0.005)
    # the same layer on later tokens
    later = replace(inputs(1000), u=inputs(1000).u.flip(-1))
    assert planner_.plan(later).updates_saved == pytest.approx(SAVING, abs=0.1)


def test_a_threshold_takes_causal_scores_only() -> None:
    """A score that reads the next token cannot decide as tokens come."""
    with pytest.raises(ValueError, match="'input-change' looks at later tokens"):
        Threshold(score("input-change"), 1.0, SAVING)
    with pytest.raises(ValueError, match="no inputs to calibrate"):
        Threshold.calibrated(score("step-size"), [], saving=SAVING)


@pytest.mark.parametrize("name", SCORES)
def test_scores_cover_every_token(name: str) -> None:
    """Also with groups, without a gate and in half precision."""
    for each in (inputs(50), random_inputs(50, groups=2), replace(inputs(50), z=None)):
        assert score(name).of(each).shape == (2, 50)
        assert score(name).of(each.to(torch.bfloat16)).isfinite().all()


def test_a_plan_that_is_kept_can_be_used_with_autograd() -> None:
    """Plans of a stride are kept by length; the first may have been asked for in inference mode."""
    few = inputs(37)
    with torch.inference_mode():
        planner("stride", 0.5).plan(few)
    learned = replace(few, u=few.u.clone().requires_grad_())

    found = mrss_scan(learned, planner("stride", 0.5).plan(learned), backend="naive")

    assert isinstance(found, torch.Tensor)
    found.sum().backward()
    assert learned.u.grad is not None
