"""Claims about contests and how a cell is measured, with invented time."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from efficarch.bench import Result, Rounds, measure
from efficarch.contests import encoders as encoder_contests
from efficarch.contests.base import Arm, Contest, Costs, Settings
from efficarch.contests.encoders import Encoders
from efficarch.contests.scans import scan_contest
from efficarch.errors import EfficarchError
from efficarch.gate import cossim_breach
from efficarch.models.base import WeightsRequest
from efficarch.record import CosSim, Limits, Measurement, Quality, Weights
from efficarch.reducers import REDUCERS
from efficarch.reducers.base import Reducer
from efficarch.scan import ScanInputs, backend, synthetic_inputs
from efficarch.scan.backends import Backend
from efficarch.scan.flops import attention_flops, scan_flops
from tests.models.samples import tiny

ROUNDS = 6
SETTINGS = Settings(
    device="cpu", dtype="float32", weights=Weights.RANDOM, locations={}, rounds=ROUNDS, seed=7
)


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    """Run as the suites do, without autograd."""
    with torch.inference_mode():
        yield


@dataclass
class Stage:
    """A contest of two calls that only note they ran, and a clock with known times for them."""

    subject_ms: list[float] = field(default_factory=list)
    reference_ms: list[float] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def contest(self) -> Contest:
        """Return the contest."""
        return Contest(
            subject=Arm(call=lambda: self.log.append("subject"), context=self._context),
            reference=Arm(call=lambda: self.log.append("reference")),
            costs=Costs((17, 9), 50, 5),
            reference_costs=Costs((17, 17), 100, 10),
            cossim=CosSim(0.9, 0.8, 0.7, 32),
            cossim_items=(0.9,),
            quality=Quality(),
            items=8,
            weights=Weights.PRETRAINED,
            source="a sample",
        )

    def time_ms(self, call: Callable[[], object]) -> float:
        """Run the call and return the next time of whichever it was."""
        self.log.append("start")
        call()
        ran = self.log[-1]
        self.log.append("stop")
        return {"subject": self.subject_ms, "reference": self.reference_ms}[ran].pop(0)

    @contextmanager
    def _context(self) -> Iterator[None]:
        self.log.append("enter")
        yield
        self.log.append("leave")

    def measure(self) -> tuple[Measurement, list[float]]:
        """Measure ``ROUNDS`` rounds; also return what the odometer was told."""
        advanced: list[float] = []

        def repeat(one_round: Callable[[], None]) -> None:
            for _round in range(ROUNDS):
                one_round()

        measurement = measure(
            self.contest(), clock=self, settings=SETTINGS, repeat=repeat, advance=advanced.append
        )
        return measurement, advanced


def test_rounds_alternate_the_order() -> None:
    """Subject first, then reference first, and so on, so that a drift favours neither."""
    stage = Stage([1.0] * 4, [2.0] * 4)
    rounds = Rounds(stage.contest(), stage)

    for _pair in range(4):
        rounds.pair()

    ran = [line[0] for line in stage.log if line in ("subject", "reference")]
    assert "".join(ran) == "srrssrrs"


def test_a_pair_is_subject_then_reference_whoever_ran_first() -> None:
    """Alternating does not swap the numbers."""
    stage = Stage([1.0, 2.0], [10.0, 20.0])
    rounds = Rounds(stage.contest(), stage)

    assert [rounds.pair(), rounds.pair()] == [(1.0, 10.0), (2.0, 20.0)]


def test_the_subject_s_context_is_outside_the_timing() -> None:
    """Attaching a method is not timed, and the reference runs without it."""
    stage = Stage([1.0, 1.0], [1.0, 1.0])
    rounds = Rounds(stage.contest(), stage)

    rounds.pair()
    rounds.pair()

    subject = ["enter", "start", "subject", "stop", "leave"]
    reference = ["start", "reference", "stop"]
    assert stage.log == [*subject, *reference, *reference, *subject]


def test_measuring_keeps_the_rounds_raw() -> None:
    """The rounds are those after the warm-up, in order and unrounded, both sides of a pair."""
    subject, reference = [2.0, 2.1, 1.9, 2.2, 2.0, 2.05], [4.0, 4.2, 3.8, 4.4, 4.0, 4.1]
    # a warm-up of equal rounds ends after three
    stage = Stage([9.0] * 3 + subject, [8.0] * 3 + reference)

    measurement, advanced = stage.measure()

    assert measurement.rounds_ms == tuple(subject)
    assert measurement.reference_rounds_ms == tuple(reference)
    assert advanced == subject
    assert stage.subject_ms == stage.reference_ms == []


def test_measuring_known_times_gives_the_known_ratio() -> None:
    """Every round half as long as its reference is a ratio of 0.5 with no width."""
    reference = [4.0, 5.0, 3.0, 4.5, 4.2, 3.9]
    stage = Stage([1.0] * 3 + [t / 2 for t in reference], [1.0] * 3 + reference)

    measurement, _advanced = stage.measure()

    ratio = measurement.ratio
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((0.5, 0.5, 0.5))
    assert measurement.latency_ms.value == pytest.approx(2.05)
    assert measurement.reference_ms.value == pytest.approx(4.1)


def test_throughput_is_items_over_the_median_latency() -> None:
    """Eight images in 2 ms are 4000 per second."""
    measurement, _advanced = Stage([2.0] * 9, [4.0] * 9).measure()

    assert measurement.throughput_per_s == pytest.approx(4000)


def test_measuring_carries_the_contest_over() -> None:
    """What needed no clock arrives unchanged, with the session's seed and autocast."""
    measurement, _advanced = Stage([2.0] * 9, [4.0] * 9).measure()

    assert (measurement.tokens, measurement.reference_tokens) == ((17, 9), 17)
    assert (measurement.flops, measurement.reference_flops) == (50, 100)
    assert (measurement.peak_bytes, measurement.reference_peak_bytes) == (5, 10)
    assert measurement.cossim == CosSim(0.9, 0.8, 0.7, 32)
    assert (measurement.items, measurement.weights) == (8, Weights.PRETRAINED)
    assert (measurement.source, measurement.seed) == ("a sample", 7)
    assert measurement.autocast is False


def test_autocast_is_recorded() -> None:
    """A run under autocast is told apart from one without."""
    with torch.autocast("cpu", torch.bfloat16):
        measurement, _advanced = Stage([2.0] * 9, [4.0] * 9).measure()

    assert measurement.autocast is True


@pytest.mark.parametrize(("limit", "holds"), [(0.6, True), (0.4, False)])
def test_a_result_compares_with_its_budget(limit: float, holds: bool) -> None:
    """The ratio of 0.5 keeps a budget of 0.6 and breaks one of 0.4; CosSim is the mean."""
    measurement, _advanced = Stage([2.0] * 9, [4.0] * 9).measure()
    result = Result(measurement, Limits(0.85, limit, None, ("sample",)))

    assert (result.latency <= result.budget.latency) is holds
    assert bool(result.latency.breaches(result.budget.latency)) is not holds
    assert result.cossim == 0.9 > result.budget.cossim


@dataclass
class Counted:
    """A tiny encoder that counts how often it was loaded and run."""

    counts: Counter[str] = field(default_factory=Counter)

    def load(self, request: WeightsRequest) -> Any:
        """Return the encoder."""
        self.counts["loads"] += 1
        subject = tiny("dinov2")

        def embed(pixels: Tensor) -> Tensor:
            self.counts["embeds"] += 1
            return subject.embed(pixels)

        return replace(subject, embed=embed)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Put a counting encoder into the table of models."""
    fake = Counted()
    monkeypatch.setattr(
        encoder_contests, "model_row", lambda _name: SimpleNamespace(load=fake.load)
    )
    return fake


@pytest.fixture
def photos() -> list[Image.Image]:
    """Return four different images."""
    return [Image.effect_noise((56, 56), 10 + 40 * i).convert("RGB") for i in range(4)]


def encoder_contest(
    encoders: Encoders, images: list[Image.Image], *, method: str = "tome", batch: int = 2
) -> Contest:
    """Return the contest of a method at keep 0.5."""
    return encoders.contest(
        model="dinov2-small", reducer=REDUCERS[method](0.5), images=images, batch=batch
    )


def test_the_dense_side_is_computed_once(counted: Counted, photos: list[Image.Image]) -> None:
    """A second method on the same model, batch and images runs only its own passes."""
    encoders = Encoders(SETTINGS)
    encoder_contest(encoders, photos, method="norm")
    # two chunks for CosSim, one pass for FLOPs and one for memory, dense and reduced
    assert counted.counts == {"loads": 1, "embeds": 8}

    encoder_contest(encoders, photos, method="random")
    assert counted.counts == {"loads": 1, "embeds": 12}


def test_another_batch_is_another_dense_side(counted: Counted, photos: list[Image.Image]) -> None:
    """FLOPs and memory of one batch size do not stand in for another's."""
    encoders = Encoders(SETTINGS)
    two = encoder_contest(encoders, photos, batch=2)
    four = encoder_contest(encoders, photos, batch=4)

    assert counted.counts["loads"] == 1
    assert four.reference_costs.flops == 2 * two.reference_costs.flops


@pytest.mark.usefixtures("counted")
def test_other_images_are_another_dense_side(photos: list[Image.Image]) -> None:
    """As many images of other content are compared with themselves, and named apart."""
    encoders = Encoders(SETTINGS)
    turned = [photo.rotate(180) for photo in photos]

    first = encoder_contest(encoders, photos, method="none")
    second = encoder_contest(encoders, turned, method="none")

    assert second.cossim.minimum == pytest.approx(1, abs=1e-12)
    assert first.source != second.source


@pytest.mark.parametrize("batch", [0, 5])
def test_a_batch_without_images_is_refused(
    counted: Counted, photos: list[Image.Image], batch: int
) -> None:
    """The error names the batch and the images there are, before anything is loaded."""
    with pytest.raises(EfficarchError, match=f"batch is {batch}, with 4 images to choose from"):
        encoder_contest(Encoders(SETTINGS), photos, batch=batch)

    assert counted.counts["loads"] == 0


@pytest.mark.usefixtures("counted")
def test_a_contest_says_what_it_measures(photos: list[Image.Image]) -> None:
    """Items are the batch, CosSim is over all images, and the source names weights and images."""
    contest = encoder_contest(Encoders(SETTINGS), photos)

    assert contest.items == 2
    assert contest.cossim.items == 4
    assert contest.weights is Weights.RANDOM
    named = r"random weights, seed 0; 4 images of 56 px, sha256 [0-9a-f]{12}"
    assert re.fullmatch(named, contest.source)


@pytest.mark.usefixtures("counted")
def test_the_dense_model_equals_itself(photos: list[Image.Image]) -> None:
    """The control has CosSim 1 and costs what the reference costs."""
    contest = encoder_contest(Encoders(SETTINGS), photos, method="none")

    assert contest.cossim.minimum == pytest.approx(1, abs=1e-12)
    assert contest.costs == contest.reference_costs
    assert contest.costs.tokens == (17, 17, 17, 17)


@pytest.mark.usefixtures("counted")
def test_a_reduced_model_costs_less(photos: list[Image.Image]) -> None:
    """Tokens and FLOPs fall and the output changes."""
    contest = encoder_contest(Encoders(SETTINGS), photos)

    assert contest.costs.tokens == (17, 14, 11, 10)
    assert contest.reference_costs.tokens == (17, 17, 17, 17)
    assert 0 < contest.costs.flops < contest.reference_costs.flops
    assert contest.costs.peak_bytes > 0
    assert contest.cossim.minimum <= contest.cossim.mean < 1


@pytest.mark.usefixtures("counted")
def test_the_arms_differ_in_their_context_only(photos: list[Image.Image]) -> None:
    """Inside its context the subject's call is reduced; outside it is the reference's."""
    contest = encoder_contest(Encoders(SETTINGS), photos)

    dense = contest.reference.call()
    with contest.subject.context():
        reduced = contest.subject.call()

    assert isinstance(dense, Tensor)
    assert isinstance(reduced, Tensor)
    assert dense.shape == reduced.shape == (2, 64)
    assert not torch.allclose(dense, reduced, atol=1e-3)
    assert torch.equal(dense, contest.subject.call())


class Breaker(Reducer):
    """A method whose output is not a number."""

    def attach(self, model: nn.Module) -> AbstractContextManager[None]:
        """Spoil the final norm's output within the context."""
        return self._attach(model)

    @contextmanager
    def _attach(self, model: nn.Module) -> Iterator[None]:
        def spoil(_module: nn.Module, _args: object, out: Tensor) -> Tensor:
            return out * float("nan")

        handle = model.get_submodule("layernorm").register_forward_hook(spoil)
        try:
            yield
        finally:
            handle.remove()


def breaks(contest: Contest, floor: float) -> bool:
    """Say whether the contest's CosSim breaks a floor, as the gate judges it."""
    measurement, _advanced = Stage([2.0] * 9, [4.0] * 9).measure()
    judged = replace(measurement, cossim=contest.cossim)
    return cossim_breach(judged, Limits(floor, 1.0, None, ())) is not None


@pytest.mark.usefixtures("counted")
def test_broken_output_of_an_encoder_breaks_any_floor(photos: list[Image.Image]) -> None:
    """NaN has CosSim -1, not NaN, which would compare with nothing."""
    contest = Encoders(SETTINGS).contest(
        model="dinov2-small", reducer=Breaker(), images=photos, batch=2
    )

    assert contest.cossim == CosSim(-1.0, -1.0, -1.0, 4)
    assert breaks(contest, -0.999)


INPUTS = synthetic_inputs(
    batch=2, channels=32, state=4, length=24, seed=0, device="cpu", dtype=torch.float32
)


def against(output: Callable[[ScanInputs], Any]) -> Contest:
    """Return the contest of a backend that answers as it is told."""
    fake = Backend("fake", lambda inputs, **_options: output(inputs), "a fake", "this test")
    return scan_contest(fake, INPUTS, heads=4, seed=0)


@pytest.mark.parametrize("name", ["naive", "chunked"])
def test_a_right_scan_has_cossim_1(name: str) -> None:
    """Every backend agrees with the oracle at every position."""
    contest = scan_contest(backend(name), INPUTS, heads=4, seed=0)

    assert contest.cossim.minimum == pytest.approx(1, abs=1e-6)
    assert contest.cossim.items == 48


def test_a_scan_contest_says_what_it_measures() -> None:
    """FLOPs follow the formulas, tokens are the length, items the positions."""
    contest = scan_contest(backend("naive"), INPUTS, heads=4, seed=0)

    flops = scan_flops(batch=2, channels=32, state=4, length=24)
    attention = attention_flops(batch=2, heads=4, head_dim=8, length=24)
    assert (contest.costs.flops, contest.reference_costs.flops) == (flops, attention)
    assert contest.costs.tokens == contest.reference_costs.tokens == (24,)
    assert contest.costs.peak_bytes > 0
    assert contest.items == 48
    assert contest.weights is Weights.NONE
    assert contest.source == "synthetic inputs, 32 channels, state 4, 4 heads"


def test_the_reference_of_a_scan_is_attention_of_its_size() -> None:
    """Batch, width and length of both arms are the same."""
    contest = scan_contest(backend("naive"), INPUTS, heads=4, seed=0)
    attention, scanned = contest.reference.call(), contest.subject.call()

    assert isinstance(attention, Tensor)
    assert isinstance(scanned, Tensor)
    assert attention.shape == (2, 4, 24, 8)
    assert scanned.shape == (2, 32, 24)


@pytest.mark.parametrize(
    ("output", "most"),
    [
        pytest.param(lambda inputs: torch.zeros_like(inputs.u), 0.0, id="zeros"),
        pytest.param(lambda inputs: torch.randn_like(inputs.u), 0.3, id="noise"),
        pytest.param(lambda inputs: backend("naive").run(inputs).flip(-1), 0.5, id="reversed"),
        pytest.param(lambda inputs: -backend("naive").run(inputs), -0.99, id="opposite"),
        pytest.param(lambda inputs: inputs.u * float("nan"), -1.0, id="nan"),
    ],
)
def test_wrong_output_of_a_scan_lowers_cossim(
    output: Callable[[ScanInputs], Tensor], most: float
) -> None:
    """A backend that is fast and wrong does not pass."""
    contest = against(output)

    assert contest.cossim.mean <= most
    assert breaks(contest, most + 0.01)


def test_one_broken_position_shows_in_the_minimum() -> None:
    """A single NaN is not averaged away."""

    def spoiled(inputs: ScanInputs) -> Tensor:
        out = backend("naive").run(inputs)
        assert isinstance(out, Tensor)
        out = out.clone()
        out[1, 3, 5] = float("nan")
        return out

    cossim = against(spoiled).cossim

    assert cossim.minimum == -1
    assert cossim.mean == pytest.approx(1 - 2 / 48, abs=1e-5)


def test_a_scan_has_to_return_one_tensor() -> None:
    """A backend that returns its state unasked is refused."""
    with pytest.raises(TypeError, match="returns one tensor"):
        against(lambda inputs: (inputs.u, inputs.u))
