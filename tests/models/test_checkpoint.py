"""Claims about checkpoints by folder: what is read of them besides their weights."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from efficarch.errors import EfficarchError, MissingWeightsError
from efficarch.models.base import Normalization, Subject, WeightsRequest
from efficarch.models.checkpoint import Checkpoint
from efficarch.models.images import packaged_photos
from efficarch.models.texts import EVERYDAY, prompt
from efficarch.models.vit import blocks_of
from efficarch.record import Weights
from efficarch.reducers import REDUCERS
from tests.models import checkpoints

PX = checkpoints.PX
PIXELS = torch.randn(3, 3, PX, PX, generator=torch.Generator().manual_seed(0))
CLASSES = [prompt(name) for name in ("cat", "dog", "page of text")]


def load(family: str, folder: Path) -> Subject:
    """Load a family's checkpoint from a folder."""
    subject: Subject = import_module(f"efficarch.models.{family}").load(
        WeightsRequest(Weights.PRETRAINED, str(folder), 0)
    )
    return subject


def whole_clip(model: Any, pixels: Tensor) -> Tensor:
    """Return the image embedding of both towers' model."""
    embedding: Tensor = model.get_image_features(pixel_values=pixels).pooler_output
    return embedding


def whole_vit(model: Any, pixels: Tensor) -> Tensor:
    """Return the CLS state the classifier reads."""
    states: Tensor = model.vit(pixel_values=pixels).last_hidden_state
    return states[:, 0]


def whole_dinov2(model: Any, pixels: Tensor) -> Tensor:
    """Return the CLS state after the final norm."""
    states: Tensor = model(pixel_values=pixels).last_hidden_state
    return states[:, 0]


WHOLE: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "clip": whole_clip,
    "siglip": whole_clip,
    "vit_classifier": whole_vit,
    "dinov2": whole_dinov2,
}


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_a_checkpoint_loads_from_its_folder(family: str, tmp_path: Path) -> None:
    """The embedding is that of the whole model that was saved, and images differ in it."""
    whole = checkpoints.FAMILIES[family](tmp_path)

    subject = load(family, tmp_path)

    embedding = subject.embed(PIXELS)
    torch.testing.assert_close(embedding, WHOLE[family](whole, PIXELS), rtol=1e-5, atol=1e-5)
    assert (embedding[0] - embedding[1]).abs().max() > 1e-2
    assert subject.source == f"folder {tmp_path.name}"
    assert not subject.model.training


@pytest.mark.parametrize(
    ("family", "prefix"), [("clip", 1), ("siglip", 0), ("vit_classifier", 1), ("dinov2", 1)]
)
def test_its_blocks_are_seen(family: str, prefix: int, tmp_path: Path) -> None:
    """Methods find every block, with the prefix of the family; ToMe runs on it."""
    checkpoints.FAMILIES[family](tmp_path)
    subject = load(family, tmp_path)

    assert [block.prefix for block in blocks_of(subject.model)] == [prefix] * 3
    with REDUCERS["tome"](0.5).attach(subject.model):
        assert subject.embed(PIXELS).isfinite().all()


def test_exact_tail_is_not_offered_where_there_is_no_cls(tmp_path: Path) -> None:
    """SigLIP pools its patches: no cell of its has the exact tail, and attaching it is refused."""
    checkpoints.siglip(tmp_path)
    subject = load("siglip", tmp_path)
    cases = REDUCERS.cases("siglip-base-p16", keeps=[0.5])

    assert "exact-tail" not in [method.name for method, _keep in cases]
    assert "exact-tail" in [row.name for row, _keep in REDUCERS.cases("vit-b16", keeps=[0.5])]
    with (
        pytest.raises(EfficarchError, match="SiglipVisionModel has no CLS token"),
        REDUCERS["exact-tail"]().attach(subject.model),
    ):
        pass


HALF = (0.5, 0.5, 0.5)
OPENAI = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("clip", Normalization(PX, *OPENAI, Image.Resampling.BICUBIC)),
        ("siglip", Normalization(PX, HALF, HALF, Image.Resampling.BICUBIC)),
        ("vit_classifier", Normalization(PX, HALF, HALF, Image.Resampling.BILINEAR)),
        ("dinov2", Normalization(224, *IMAGENET, Image.Resampling.BICUBIC)),
    ],
    ids=["clip", "siglip", "vit", "dinov2"],
)
def test_without_a_preprocessor_the_family_decides(
    family: str, expected: Normalization, tmp_path: Path
) -> None:
    """The size is that of the weights (DINOv2's is 224 px), the rest the family's own."""
    checkpoints.FAMILIES[family](tmp_path)
    photo = packaged_photos()[0]

    pixels = load(family, tmp_path).prepare([photo])

    resized = np.asarray(photo.resize((expected.size,) * 2, expected.resample)) / 255
    wanted = (resized - expected.mean) / expected.std
    np.testing.assert_allclose(pixels[0].permute(1, 2, 0), wanted, rtol=1e-4, atol=1e-5)


SAYS: dict[str, dict[str, Any]] = {
    "size": {"size": {"height": PX, "width": PX}},
    "crop": {"size": {"shortest_edge": 40}, "crop_size": {"height": PX, "width": PX}},
    "old crop": {"size": 40, "crop_size": PX},
    "shortest edge": {"size": {"shortest_edge": PX}},
}
VALUES: dict[str, Any] = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.4, 0.2]}


@pytest.mark.parametrize("spelling", SAYS)
@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_the_preprocessor_decides(family: str, spelling: str, tmp_path: Path) -> None:
    """Size, means, deviations and filter are the checkpoint's, in every spelling of the size."""
    checkpoints.FAMILIES[family](tmp_path)
    crop = "crop_size" in SAYS[spelling]
    checkpoints.preprocessor(tmp_path, **SAYS[spelling], **VALUES, do_center_crop=crop, resample=0)
    black_and_white = Image.new("RGB", (2, 2), (255, 255, 255))
    black_and_white.putpixel((0, 0), (0, 0, 0))

    pixels = load(family, tmp_path).prepare([black_and_white])

    assert pixels.shape == (1, 3, PX, PX)
    mean, std = torch.tensor(VALUES["image_mean"]), torch.tensor(VALUES["image_std"])
    torch.testing.assert_close(pixels[0, :, 0, 0], (0 - mean) / std)
    torch.testing.assert_close(pixels[0, :, -1, -1], (1 - mean) / std)
    # nearest neighbour makes no shade between
    assert len(pixels[0, 0].unique()) == 2


def test_settings_inside_those_of_a_whole_processor(tmp_path: Path) -> None:
    """Newer checkpoints keep one file for tokenizer and images."""
    checkpoints.clip(tmp_path)
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": VALUES}))

    pixels = load("clip", tmp_path).prepare([Image.new("RGB", (9, 9))])

    assert pixels[0, :, 0, 0].tolist() == pytest.approx([-0.2, -0.5, -1.5])


def test_no_normalization_is_taken_at_its_word(tmp_path: Path) -> None:
    """A preprocessor that does not normalise leaves pixels in [0, 1]."""
    checkpoints.clip(tmp_path)
    checkpoints.preprocessor(tmp_path, **VALUES, do_normalize=False)

    pixels = load("clip", tmp_path).prepare([Image.new("RGB", (9, 9), (255, 255, 255))])

    assert pixels.unique().tolist() == [1]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"size": {"height": 32, "width": 48}}, r"its size is .*'width': 48"),
        ({"size": {"longest_edge": 32}}, "shortest_edge"),
        ({"image_mean": [0.5]}, "three means"),
        ({"image_mean": ["a", "b", "c"]}, r"its image_mean is \['a', 'b', 'c'\], not three"),
        ({"resample": 99}, "99"),
        ({"size": 64}, "asks for images of 64 px, its weights take 32 px only; set the size to 32"),
    ],
    ids=["not square", "no side", "one mean", "no number", "no filter", "other size"],
)
def test_settings_that_do_not_fit_are_refused(
    settings: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    """The error is one sentence that names the folder and the file."""
    checkpoints.clip(tmp_path)
    checkpoints.preprocessor(tmp_path, **settings)

    with pytest.raises(MissingWeightsError, match=sentence) as caught:
        load("clip", tmp_path)

    assert str(tmp_path) in str(caught.value)
    assert "preprocessor_config.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_that_are_no_json_are_refused(tmp_path: Path) -> None:
    """A file cut short is no reason to go on with defaults."""
    checkpoints.clip(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("{")

    with pytest.raises(MissingWeightsError, match=r"preprocessor_config\.json is not valid JSON"):
        load("clip", tmp_path)


def whole_texts(model: Any, texts: list[str]) -> Tensor:
    """Return logits of the whole model over texts, spelled letter by letter."""
    ids = torch.full((len(texts), checkpoints.TEXT_TOKENS), checkpoints.VOCABULARY["<|endoftext|>"])
    for row, text in enumerate(texts):
        words = [[*word[:-1], word[-1] + "</w>"] for word in text.split()]
        tokens = ["<|startoftext|>", *(token for word in words for token in word)]
        ids[row, : len(tokens)] = torch.tensor([checkpoints.VOCABULARY[t] for t in tokens])
    logits: Tensor = model(input_ids=ids, pixel_values=PIXELS).logits_per_image
    return logits - (model.logit_bias if hasattr(model, "logit_bias") else 0)


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_the_text_head_gives_the_whole_model_s_logits(family: str, tmp_path: Path) -> None:
    """Scaled cosines of our two halves are what both towers together compute."""
    whole = checkpoints.FAMILIES[family](tmp_path)
    subject = load(family, tmp_path)
    assert subject.classify is not None

    head = subject.classify(CLASSES)

    images = nn.functional.normalize(subject.embed(PIXELS), dim=-1)
    logits = head.scale * images @ head.embeddings.T
    torch.testing.assert_close(logits, whole_texts(whole, CLASSES), rtol=1e-4, atol=1e-4)
    assert head.embeddings.norm(dim=-1).tolist() == pytest.approx([1, 1, 1])
    # three prompts are three embeddings: the tokenizer was read
    assert (head.embeddings @ head.embeddings.T)[0, 1] < 0.999


def image_tower_only(folder: Path) -> None:
    """Save the image tower over the whole model."""
    load("clip", folder).model.save_pretrained(folder)


def no_tokenizer(folder: Path) -> None:
    """Take the tokenizer away."""
    (folder / "tokenizer.json").unlink()


@pytest.mark.parametrize("spoil", [image_tower_only, no_tokenizer])
def test_without_text_tower_or_tokenizer_there_is_no_head(
    spoil: Callable[[Path], None], tmp_path: Path
) -> None:
    """An image encoder alone loads; nothing stands in for what it lacks."""
    checkpoints.clip(tmp_path)
    assert load("clip", tmp_path).classify is not None

    spoil(tmp_path)

    assert load("clip", tmp_path).classify is None


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_random_weights_have_no_head(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text tower of random weights would say nothing of any class."""
    module = import_module(f"efficarch.models.{family}")
    monkeypatch.setitem(module.CONFIG, "num_hidden_layers", 1)

    assert module.load(WeightsRequest(Weights.RANDOM, None, 0)).classify is None


def foreign_tokenizer(folder: Path) -> None:
    """Let the tokenizer know more tokens than the text tower."""
    path = folder / "tokenizer.json"
    data = json.loads(path.read_text())
    data["model"]["vocab"]["a</w>"] = 5000
    path.write_text(json.dumps(data))


def broken_tokenizer(folder: Path) -> None:
    """Cut the tokenizer short."""
    (folder / "tokenizer.json").write_text("{")


@pytest.mark.parametrize("spoil", [foreign_tokenizer, broken_tokenizer])
def test_a_tokenizer_that_does_not_fit_is_refused(
    spoil: Callable[[Path], None], tmp_path: Path
) -> None:
    """The error is one sentence that names the folder."""
    checkpoints.clip(tmp_path)
    spoil(tmp_path)
    classify = load("clip", tmp_path).classify
    assert classify is not None

    with pytest.raises(MissingWeightsError, match="its text tower cannot read class") as caught:
        classify(CLASSES)

    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_class_names_are_distinct_prompts() -> None:
    """About forty classes, no two alike, and a folder's name reads as words."""
    prompts = [prompt(name) for name in EVERYDAY]

    assert len(set(prompts)) == len(EVERYDAY) == 40
    assert all(text == text.lower() for text in prompts)
    assert prompt("Golden_Retriever") == "a photo of a golden retriever"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A folder is asked for its own files, the hub's cache for the others, without a network."""
    (tmp_path / "there.json").write_text('{"a": 1}')

    assert Checkpoint(str(tmp_path)).settings("there.json") == {"a": 1}
    assert Checkpoint(str(tmp_path)).file("elsewhere.json") is None
    assert Checkpoint("nobody/nothing", local_only=True).file("config.json") is None


@pytest.mark.parametrize(
    ("family", "other", "name"),
    [
        ("vit_classifier", "dinov2", "ViTModel"),
        ("siglip", "vit_classifier", "SiglipVisionModel"),
        ("clip", "siglip", "CLIPVisionModelWithProjection"),
    ],
)
def test_another_family_s_checkpoint_is_refused(
    family: str, other: str, name: str, tmp_path: Path
) -> None:
    """The error names the folder and the class that it does not fit."""
    checkpoints.FAMILIES[other](tmp_path)

    with pytest.raises(MissingWeightsError, match=name) as caught:
        load(family, tmp_path)

    assert tmp_path.name in str(caught.value)
    assert "\n" not in str(caught.value)


CACHED = """
from efficarch.models.base import WeightsRequest
from efficarch.models.clip import load
from efficarch.record import Weights
from PIL import Image

subject = load(WeightsRequest(Weights.PRETRAINED, None, 0))
head = subject.classify(["a photo of a cat", "a photo of a dog"])
pixels = subject.prepare([Image.new("RGB", (9, 9))])
print(subject.source, tuple(head.embeddings.shape), f"{pixels[0, 0, 0, 0]:.1f}", sep="; ")
"""


def test_a_copy_in_the_hub_s_cache_is_as_good_as_a_folder(tmp_path: Path) -> None:
    """Without a location, weights, preprocessor, text tower and tokenizer come from the cache."""
    repository = tmp_path / "hub" / "models--openai--clip-vit-base-patch16"
    snapshot = repository / "snapshots" / "0123456789"
    checkpoints.clip(snapshot)
    checkpoints.preprocessor(snapshot, **VALUES)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123456789")

    run = subprocess.run(
        [sys.executable, "-c", CACHED],
        # in a process of its own: the cache's place is read when the hub's client is imported
        env={**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "hub openai/clip-vit-base-patch16; (2, 16); -0.2"
