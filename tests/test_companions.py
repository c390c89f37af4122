"""Claims about what an encoder's contest measures beside CosSim, and how often it does the work."""

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from efficarch import quality
from efficarch.contests import encoders as encoder_contests
from efficarch.contests.base import Contest, Settings
from efficarch.contests.encoders import Encoders
from efficarch.models import clip
from efficarch.models.base import Subject, TextHead, WeightsRequest
from efficarch.models.folder import LABEL
from efficarch.models.texts import EVERYDAY, prompt
from efficarch.record import Quality, Weights
from efficarch.reducers import REDUCERS
from efficarch.reducers.base import Reducer
from tests.models import checkpoints
from tests.models.samples import picture

COMPANIONS = ("centred", "unrelated", "retrieval", "agreement", "divergence_nats", "accuracy_kept")
CLASSES = ["cat", "dog", "dog", "cat", "cow", "cow"]


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    """Run as the suites do, without autograd."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a tiny CLIP with both towers and a tokenizer."""
    path = tmp_path_factory.mktemp("clip")
    checkpoints.clip(path)
    return path


@pytest.fixture
def photos() -> list[Image.Image]:
    """Return six different images."""
    return [picture(40, 40, seed=i) for i in range(6)]


@pytest.fixture
def labelled(photos: list[Image.Image]) -> list[Image.Image]:
    """Return the images with a class each."""
    for photo, label in zip(photos, CLASSES, strict=True):
        photo.info[LABEL] = label
    return photos


class Counted:
    """Loads the tiny CLIP and counts what is asked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counts: Counter[str] = Counter()

    def load(self, request: WeightsRequest) -> Subject:
        """Return the encoder."""
        subject = clip.load(replace(request, location=str(self.folder)))
        return replace(subject, prepare=self._prepare(subject), classify=self._classify(subject))

    def _prepare(self, subject: Subject) -> Any:
        def prepare(images: list[Image.Image]) -> Tensor:
            self.counts["prepare"] += 1
            return subject.prepare(images)

        return prepare

    def _classify(self, subject: Subject) -> Any:
        def classify(texts: list[str]) -> TextHead:
            self.counts[f"{len(texts)} texts"] += 1
            assert subject.classify is not None
            return subject.classify(texts)

        return classify


def settings(weights: Weights = Weights.PRETRAINED, dtype: str = "float32") -> Settings:
    """Return the settings of a session."""
    return Settings(device="cpu", dtype=dtype, weights=weights, locations={}, rounds=6)


@pytest.fixture
def counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Put the counting CLIP into the table of models, under any name."""
    fake = Counted(folder)
    monkeypatch.setattr(
        encoder_contests, "model_row", lambda _name: SimpleNamespace(load=fake.load)
    )
    return fake


@pytest.fixture
def encoders(counted: Counted) -> Encoders:
    """Return a session on it."""
    assert counted.counts == {}
    return Encoders(settings())


def contest(
    encoders: Encoders, images: list[Image.Image], reducer: Reducer | None = None, model: str = "a"
) -> Contest:
    """Return a contest at batch 2, of random pruning unless told otherwise."""
    return encoders.contest(
        model=model, reducer=reducer or REDUCERS["random"](0.25), images=images, batch=2
    )


def test_the_dense_model_keeps_everything(encoders: Encoders, labelled: list[Image.Image]) -> None:
    """Against itself every figure is the best there is, and the floor is below it."""
    measured = contest(encoders, labelled, REDUCERS["none"]()).quality

    assert measured.centred == pytest.approx(1)
    assert measured.unrelated is not None
    assert measured.unrelated < 1
    assert measured.retrieval == measured.agreement == 1
    assert measured.divergence_nats == 0
    assert measured.accuracy_kept in (1, None)


def test_every_figure_is_that_of_the_embeddings(
    encoders: Encoders, labelled: list[Image.Image], folder: Path
) -> None:
    """What stands in the record is computed over all images, not over the timed batch."""
    subject = clip.load(WeightsRequest(Weights.PRETRAINED, str(folder), 0))
    pixels = subject.prepare(labelled)
    dense = subject.embed(pixels)
    with REDUCERS["random"](0.25).attach(subject.model):
        reduced = subject.embed(pixels)
    assert subject.classify is not None
    head = subject.classify([prompt(name) for name in EVERYDAY])
    ours, theirs = (
        quality.class_logits(side, head.embeddings, head.scale) for side in (reduced, dense)
    )

    measured = contest(encoders, labelled).quality

    assert measured.centred == pytest.approx(quality.centred(reduced, dense), abs=1e-5)
    assert measured.unrelated == pytest.approx(quality.unrelated(dense), abs=1e-5)
    assert measured.retrieval == quality.retrieval(reduced, dense)
    assert measured.agreement == quality.agreement(ours, theirs)
    assert measured.divergence_nats == pytest.approx(
        quality.divergence_nats(ours, theirs, worst=0), rel=1e-3
    )


def test_accuracy_is_over_the_folders_classes(
    encoders: Encoders, labelled: list[Image.Image], folder: Path
) -> None:
    """Labels are compared with the nearest of their own class names, in whatever order."""
    subject = clip.load(WeightsRequest(Weights.PRETRAINED, str(folder), 0))
    assert subject.classify is not None
    names = ["cow", "cat", "dog"]
    head = subject.classify([prompt(name) for name in names])
    dense = quality.class_logits(
        subject.embed(subject.prepare(labelled)), head.embeddings, head.scale
    )
    # label every image as the dense model sees it, but the last
    for photo, found in zip(labelled, dense.argmax(dim=-1).tolist(), strict=True):
        photo.info[LABEL] = names[found]
    told = [photo.info[LABEL] for photo in labelled]
    assert len(set(told)) > 1
    labelled[-1].info[LABEL] = next(name for name in names if name != told[-1])

    kept = contest(encoders, labelled, REDUCERS["none"]()).quality.accuracy_kept
    reduced = contest(encoders, labelled, Breaker()).quality.accuracy_kept

    assert kept == 1
    assert reduced == 0


@pytest.mark.parametrize("labels", [[None] * 6, [*CLASSES[:5], None], ["cat"] * 6])
def test_without_a_class_each_and_two_in_all_there_is_no_accuracy(
    encoders: Encoders, photos: list[Image.Image], labels: list[str | None]
) -> None:
    """Among one class every answer is right; the other figures stand."""
    for photo, label in zip(photos, labels, strict=True):
        if label is not None:
            photo.info[LABEL] = label

    measured = contest(encoders, photos).quality

    assert measured.accuracy_kept is None
    assert measured.agreement is not None


def test_without_a_text_tower_there_is_no_zero_shot(
    folder: Path, labelled: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image side is measured alone; nothing stands in for the text side."""
    subject = replace(clip.load(WeightsRequest(Weights.PRETRAINED, str(folder), 0)), classify=None)
    monkeypatch.setattr(
        encoder_contests, "model_row", lambda _name: SimpleNamespace(load=lambda _request: subject)
    )

    measured = contest(Encoders(settings()), labelled).quality

    present = {name for name in COMPANIONS if getattr(measured, name) is not None}
    assert present == {"centred", "unrelated", "retrieval"}


def test_random_weights_have_no_quality(
    labelled: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that reads like quality is recorded of weights that mean nothing."""
    monkeypatch.setitem(clip.CONFIG, "num_hidden_layers", 3)

    measured = Encoders(settings(Weights.RANDOM)).contest(
        model="clip-vit-b16", reducer=REDUCERS["none"](), images=labelled, batch=2
    )

    assert measured.quality == Quality()
    assert measured.cossim.mean == pytest.approx(1)


def test_a_single_image_has_nothing_to_be_told_from(
    encoders: Encoders, photos: list[Image.Image]
) -> None:
    """One image has CosSim and no more."""
    measured = encoders.contest(model="a", reducer=REDUCERS["none"](), images=photos[:1], batch=1)

    assert measured.quality == Quality()
    assert measured.cossim.items == 1


class Breaker(Reducer):
    """A method whose output is not a number."""

    def attach(self, model: nn.Module) -> AbstractContextManager[None]:
        """Spoil the projection's output within the context."""
        return self._attach(model)

    @contextmanager
    def _attach(self, model: nn.Module) -> Iterator[None]:
        def spoil(_module: nn.Module, _args: object, out: Tensor) -> Tensor:
            return out * float("nan")

        handle = model.get_submodule("visual_projection").register_forward_hook(spoil)
        try:
            yield
        finally:
            handle.remove()


def test_broken_output_looks_good_nowhere(encoders: Encoders, labelled: list[Image.Image]) -> None:
    """Every figure is its worst, and finite: a run file holds nothing else."""
    measured = contest(encoders, labelled, Breaker()).quality

    assert (measured.centred, measured.retrieval, measured.agreement) == (-1, 0, 0)
    assert measured.accuracy_kept in (0, None)
    assert measured.divergence_nats is not None
    assert 2 < measured.divergence_nats < float("inf")


def test_bfloat16_is_measured_too(counted: Counted, labelled: list[Image.Image]) -> None:
    """Half precision costs the dense model against itself nothing."""
    measured = contest(Encoders(settings(dtype="bfloat16")), labelled, REDUCERS["none"]()).quality

    assert measured.centred == pytest.approx(1)
    assert (measured.retrieval, measured.agreement) == (1, 1)
    assert counted.counts["40 texts"] == 1


def test_images_and_texts_are_prepared_once(
    counted: Counted, encoders: Encoders, labelled: list[Image.Image], monkeypatch: Any
) -> None:
    """Cells of one model on the same images share pixels, hash and text embeddings."""
    digests: list[int] = []
    digest = encoder_contests._digest
    monkeypatch.setattr(
        encoder_contests, "_digest", lambda images: digests.append(1) or digest(images)
    )

    sources = {contest(encoders, list(labelled)).source for _cell in range(3)}

    assert counted.counts == {"prepare": 1, "40 texts": 1, "3 texts": 1}
    assert len(digests) == len(sources) == 1


def test_other_images_or_another_model_are_prepared_anew(
    counted: Counted, encoders: Encoders, labelled: list[Image.Image]
) -> None:
    """Other images, fewer of them, and another model: each needs pixels of its own."""
    turned = [photo.rotate(90) for photo in labelled]
    sources = [
        contest(encoders, labelled).source,
        contest(encoders, turned).source,
        contest(encoders, turned[:4]).source,
        contest(encoders, turned[:4], model="b").source,
    ]

    assert counted.counts["prepare"] == 4
    assert len(set(sources)) == 3


def test_labels_are_part_of_the_images(encoders: Encoders, photos: list[Image.Image]) -> None:
    """Runs on the same pixels under other labels are told apart: their accuracies differ."""
    copies = [photo.copy() for photo in photos]
    for copy in copies:
        copy.info[LABEL] = "cat"

    assert contest(encoders, photos).source != contest(encoders, copies).source
