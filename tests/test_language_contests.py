"""Claims about contests of vision-language models."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from efficarch.contests.base import Contest, Settings
from efficarch.contests.encoders import Encoders
from efficarch.contests.language import Languages, Stage, Walk, companions, walk
from efficarch.errors import EfficarchError, MissingWeightsError
from efficarch.probe import count_flops
from efficarch.quality import BROKEN_NATS, kl_nats
from efficarch.record import Quality, Weights
from efficarch.reducers import REDUCERS
from tests.models.samples import picture, prompted, reduced_qwen

MODEL = "qwen2.5-vl-reduced"
PROMPTS = [(picture(seed=1), "a b c"), (picture(seed=2), "d e f g")]


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    """Run as the suites do, without autograd."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def languages() -> Languages:
    """Return a session's models, with pretrained weights asked for."""
    settings = Settings("cpu", "float32", Weights.PRETRAINED, {}, rounds=6)
    return Languages(settings, _subjects={MODEL: reduced_qwen()})


def contest(languages: Languages, name: str, stage: Stage, keep: float | None = 0.5) -> Contest:
    """Set a method against the dense model on two prompts of 112 px."""
    reducer = REDUCERS[name](keep)
    return languages.contest(model=MODEL, reducer=reducer, prompts=PROMPTS, px=112, stage=stage)


@pytest.mark.parametrize("stage", ["prefill", "decode"])
@pytest.mark.parametrize("name", ["none", "random", "tower-block+fastv"])
def test_both_arms_can_be_called_again_and_again(
    languages: Languages, name: str, stage: Stage
) -> None:
    """Every call in a context of its own does the same work: no cache grows between them."""
    found = contest(languages, name, stage)

    for arm, costs in ((found.subject, found.costs), (found.reference, found.reference_costs)):
        outputs = []
        for _ in range(3):
            with arm.context():
                outputs.append(arm.call().logits)
        assert all(torch.equal(each, outputs[0]) for each in outputs)
        with arm.context():
            assert count_flops(arm.call) == costs.flops


def test_dense_against_itself_is_the_same(languages: Languages) -> None:
    """The control of controls: equal costs and CosSim 1 of every prompt."""
    for stage in ("prefill", "decode"):
        found = contest(languages, "none", stage, None)

        assert found.costs.tokens == found.reference_costs.tokens
        assert found.costs.flops == found.reference_costs.flops
        assert found.cossim_items == pytest.approx((1.0, 1.0))


def test_tokens_are_those_of_the_layers(languages: Languages) -> None:
    """In prefill those that enter, in decode those a step attends to, itself included."""
    prefill, decode = (contest(languages, "fastv", stage) for stage in ("prefill", "decode"))

    assert prefill.costs.tokens == (22, 22, *(14,) * 7)
    assert prefill.reference_costs.tokens == (22,) * 9
    assert decode.costs.tokens == (23, 23, *(15,) * 7)
    assert decode.costs.flops < decode.reference_costs.flops


def test_a_step_on_a_pruned_cache_is_that_of_generation(languages: Languages) -> None:
    """What the decode arm computes is what comes second when the model goes on by itself."""
    subject, reducer = languages.subject(MODEL), REDUCERS["random"](0.5)
    model: Any = subject.model
    inputs = subject.prepare(picture(112, 112, seed=1), "a b c")
    dense = walk(subject, inputs, 2)
    with reducer.attach(model):
        out = model(**inputs, use_cache=True)
        token = dense.answer[:1].view(1, 1)
        wanted = model(input_ids=token, past_key_values=out.past_key_values).logits[0]
        found = walk(subject, inputs, 2, dense.answer).logits[1:]

    torch.testing.assert_close(found, wanted)


def test_a_walk_without_an_answer_is_greedy() -> None:
    """It says what generation says."""
    subject, inputs = reduced_qwen(), prompted(reduced_qwen())
    model: Any = subject.model

    said = walk(subject, inputs, 5).answer

    out = model.generate(**inputs, max_new_tokens=5, min_new_tokens=5, do_sample=False)
    assert said.tolist() == out[0, -5:].tolist()


def test_quality_is_left_out_of_random_weights(languages: Languages) -> None:
    """The reduced model has no quality to lose, whatever was asked for, and says what it is."""
    found = contest(languages, "random", "prefill")

    assert found.weights is Weights.RANDOM
    assert found.source.startswith("reduced depth and width, random weights")
    assert found.quality == Quality()
    assert len(found.cossim_items) == 2


def test_pretrained_weights_have_companions() -> None:
    """With weights that are called pretrained, next token and answer are compared."""
    subject = replace(reduced_qwen(), weights=Weights.PRETRAINED)
    settings = Settings("cpu", "float32", Weights.PRETRAINED, {}, rounds=6)
    languages = Languages(settings, _subjects={MODEL: subject})

    dense, pruned = (contest(languages, name, "prefill").quality for name in ("none", "random"))

    assert dense.next_token_agreement == 1
    assert dense.next_token_nats == pytest.approx(0, abs=1e-9)
    assert dense.answer_nats == pytest.approx(0, abs=1e-9)
    assert pruned.next_token_nats is not None
    assert pruned.next_token_nats > 0.01
    assert pruned.answer_nats is not None
    assert pruned.answer_nats > 0.01


@pytest.mark.parametrize("stage", ["prefill", "decode"])
def test_a_session_that_only_times_scores_one_prompt(stage: Stage) -> None:
    """As it would among all, without companions; what it says of its inputs stays."""
    subject = replace(reduced_qwen(), weights=Weights.PRETRAINED)
    settings = Settings("cpu", "float32", Weights.PRETRAINED, {}, rounds=6)
    full, timed = (
        contest(Languages(each, _subjects={MODEL: subject}), "random", stage)
        for each in (settings, replace(settings, timing_only=True))
    )

    assert timed.cossim_items == pytest.approx(full.cossim_items[:1])
    assert timed.quality == Quality()
    assert timed.source == full.source
    assert timed.costs.tokens == full.costs.tokens


def test_companions_of_known_distributions() -> None:
    """Half of the prompts agree; divergences are averaged over prompts, and over steps."""

    def said(*rows: tuple[float, float]) -> Walk:
        logits = torch.tensor(rows).log()
        return Walk(logits, logits, logits.argmax(dim=-1))

    even, sure, other = (0.5, 0.5), (0.8, 0.2), (0.2, 0.8)
    # KL((0.8, 0.2) || (0.2, 0.8)) = 0.6 ln 4; KL((0.8, 0.2) || (0.5, 0.5)) = ln 2 - H(0.8)
    swapped, flattened = 0.831777, 0.192745
    quality = companions([said(sure, even), said(other, sure)], [said(sure, sure)] * 2)

    assert quality.next_token_agreement == 0.5
    assert quality.next_token_nats == pytest.approx(swapped / 2, abs=1e-6)
    assert quality.answer_nats == pytest.approx((swapped + flattened) / 4, abs=1e-6)


def test_a_broken_distribution_is_no_good_one() -> None:
    """NaN must never read as close."""
    broken = kl_nats(torch.tensor([[float("nan"), 0.0]]), torch.zeros(1, 2))

    assert broken.tolist() == [BROKEN_NATS]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"stage": "both"}, "stage is 'both'; choose 'prefill' or 'decode'"),
        ({"px": 100}, "multiple of 28, at least 56: the nearest is 112"),
        ({"px": 28}, "the nearest is 56"),
        ({"prompts": []}, "no prompt; give at least one"),
        ({"model": "dinov2-small"}, r"dinov2-small is an encoder.*use bench\("),
    ],
)
def test_bad_questions_get_one_sentence(
    languages: Languages, change: dict[str, Any], match: str
) -> None:
    """What, which value, what to do."""
    asked: dict[str, Any] = {
        "model": MODEL,
        "reducer": REDUCERS["none"](),
        "prompts": PROMPTS,
        "px": 112,
        "stage": "prefill",
    }

    with torch.inference_mode(mode=False), pytest.raises(EfficarchError, match=match):
        languages.contest(**{**asked, **change})


def test_an_encoder_s_contest_refuses_a_language_model() -> None:
    """Each kind of model has its own call."""
    with (
        torch.inference_mode(mode=False),
        pytest.raises(EfficarchError, match=r"no encoder.*bench\.generate"),
    ):
        Encoders(Settings("cpu", "float32", Weights.RANDOM, {}, rounds=6)).subject(MODEL)


def test_missing_weights_are_missing() -> None:
    """The 3B model is not on this machine, and nothing stands in for it."""
    settings = Settings("cpu", "float32", Weights.PRETRAINED, {}, rounds=6)

    with pytest.raises(MissingWeightsError, match=r"Qwen2\.5-VL-3B-Instruct.*--qwen-3b-path"):
        Languages(settings).subject("qwen2.5-vl-3b")
