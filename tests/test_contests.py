"""Claims about contests: what is set against what, and what is known of it without a clock."""

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

from efficarch.contests import encoders as encoder_contests
from efficarch.contests.base import Contest, Settings
from efficarch.contests.encoders import Encoders
from efficarch.contests.scans import scan_contest
from efficarch.errors import EfficarchError
from efficarch.gate import cossim_breach
from efficarch.models.base import WeightsRequest
from efficarch.record import CosSim, Limits, Weights
from efficarch.reducers import REDUCERS
from efficarch.reducers.base import Reducer
from efficarch.scan import ScanInputs, backend, synthetic_inputs
from efficarch.scan.backends import Backend
from efficarch.scan.flops import attention_flops, scan_flops
from tests import samples
from tests.models.samples import picture, tiny

SETTINGS = Settings(
    device="cpu", dtype="float32", weights=Weights.RANDOM, locations={}, rounds=6, seed=7
)


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    """Run as the suites do, without autograd."""
    with torch.inference_mode():
        yield


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
    return [picture(56, 56, seed=i) for i in range(4)]


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
    # two chunks for CosSim, the first of them watched, and one pass for FLOPs, dense and reduced
    assert counted.counts == {"loads": 1, "embeds": 6}

    encoder_contest(encoders, photos, method="random")
    assert counted.counts == {"loads": 1, "embeds": 9}


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
    judged = replace(samples.measurement(), cossim=contest.cossim)
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
