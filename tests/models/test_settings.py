"""The files beside a checkpoint's weights, spoiled: one sentence that names file and field."""

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from efficarch.errors import MissingWeightsError
from efficarch.models import byte_mamba, qwen2_5_vl
from efficarch.models.base import Normalization, Subject, WeightsRequest
from efficarch.models.checkpoint import Checkpoint, checkpoint_at, normalization_of
from efficarch.models.settings import check_config
from efficarch.record import Weights
from tests.models import checkpoints

HALF = (0.5, 0.5, 0.5)
DEFAULT = Normalization(224, HALF, HALF)


def load(family: str, folder: Path) -> Subject:
    """Load a family's checkpoint from a folder."""
    subject: Subject = import_module(f"efficarch.models.{family}").load(
        WeightsRequest(Weights.PRETRAINED, str(folder), 0)
    )
    return subject


def refusal(call: Callable[[], object], folder: Path) -> str:
    """Return why a call is refused: in one line, which names the folder."""
    with pytest.raises(MissingWeightsError) as caught:
        call()
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


SPOILED: list[tuple[dict[str, Any], str]] = [
    ({"size": None}, "its size is None; give height and width alike, or shortest_edge"),
    ({"size": []}, "its size is []"),
    ({"size": "224"}, "its size is '224'"),
    ({"size": 224.0}, "its size is 224.0"),
    ({"size": True}, "its size is True"),
    ({"size": 0}, "its size is 0, not from 1 to 8192 px"),
    ({"size": 10**18}, "its size is 1000000000000000000, not from 1 to 8192 px"),
    ({"size": {"height": -1}}, "its size is {'height': -1}"),
    ({"size": {"height": -1, "width": -1}}, "-1}, not from 1 to 8192 px"),
    ({"size": {"width": 224}}, "its size is {'width': 224}"),
    ({"size": {"height": [224], "width": [224]}}, "its size is {'height': [224]"),
    ({"size": {}}, "its size is {}"),
    ({"do_center_crop": True, "crop_size": None}, "its crop_size is None"),
    ({"do_center_crop": 1}, "its do_center_crop is 1, neither true nor false"),
    ({"do_normalize": "no"}, "its do_normalize is 'no', neither true nor false"),
    ({"image_mean": None}, "its image_mean is None, not three numbers"),
    ({"image_mean": [0.5, 0.5]}, "its image_mean is [0.5, 0.5], not three numbers"),
    ({"image_mean": 0.5}, "its image_mean is 0.5, not three numbers"),
    ({"image_mean": {"r": 1, "g": 1, "b": 1}}, "its image_mean is {"),
    ({"image_mean": [0.5, 0.5, float("nan")]}, "its image_mean is [0.5, 0.5, nan]"),
    ({"image_mean": [0.5, 0.5, 1e308]}, "its image_mean is [0.5, 0.5, 1e+308]"),
    ({"image_mean": ["0.5", "0.5", "0.5"]}, "its image_mean is ['0.5'"),
    ({"image_mean": [True, True, True]}, "its image_mean is [True"),
    ({"image_std": [0.5, 0.5, 0]}, "its image_std is [0.5, 0.5, 0.0], which pixels cannot be"),
    ({"image_std": [0.5, 0.5, 1e-300]}, "1e-300], which pixels cannot be divided by"),
    ({"image_std": [-0.5, 0.5, 0.5]}, "its image_std is [-0.5"),
    ({"image_std": [[0.5]] * 3}, "its image_std is [[0.5]"),
    ({"resample": None}, "its resample is None, not a filter from 0 to "),
    ({"resample": 99}, "its resample is 99, not a filter"),
    ({"resample": True}, "its resample is True, not a filter"),
    ({"resample": [3]}, "its resample is [3], not a filter"),
    ({"resample": "bicubic"}, "its resample is 'bicubic', not a filter"),
]


@pytest.mark.parametrize("name", ["preprocessor_config.json", "processor_config.json"])
@pytest.mark.parametrize(("said", "words"), SPOILED, ids=[words[:44] for _said, words in SPOILED])
def test_a_spoiled_preprocessor_is_refused(
    tmp_path: Path, said: dict[str, Any], words: str, name: str
) -> None:
    """In either file; the sentence gives the field's value and what it must be."""
    inside = said if name == "preprocessor_config.json" else {"image_processor": said}
    (tmp_path / name).write_text(json.dumps(inside))

    why = refusal(lambda: normalization_of(checkpoint_at(str(tmp_path)), DEFAULT), tmp_path)

    assert f"its {name} must give one square size" in why
    assert words in why


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "None"), ([], "[]"), ("x", "'x'"), (3, "3"), (True, "True")]
)
def test_an_image_processor_that_is_no_object_is_refused(
    tmp_path: Path, value: object, shown: str
) -> None:
    """Defaults would be another preprocessing than the checkpoint was trained with."""
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": value}))

    why = refusal(lambda: normalization_of(checkpoint_at(str(tmp_path)), DEFAULT), tmp_path)

    assert f"processor_config.json: image_processor is {shown}, not an object" in why


def test_what_a_preprocessor_leaves_to_its_class_is_the_family_s(tmp_path: Path) -> None:
    """Image processors write null for flags they do not set, and null is not false."""
    said = {"do_normalize": None, "do_center_crop": None, "crop_size": None, "size": 96}
    checkpoints.preprocessor(tmp_path, **said)

    found = normalization_of(checkpoint_at(str(tmp_path)), DEFAULT)

    assert found == Normalization(96, HALF, HALF)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("null", "config.json is None, not an object; mend it"),
        ("[1]", "config.json is [1], not an object; mend it"),
        ('"x"', "config.json is 'x', not an object; mend it"),
        ("", "config.json is not valid JSON (Expecting value"),
        ('{"size": 1, "size": 2}', "config.json is not valid JSON (the key 'size' stands twice"),
        ("[" * 100_000, "config.json is not valid JSON (maximum recursion depth"),
        ('{"a": ' + "9" * 5000 + "}", "config.json is not valid JSON (Exceeds the limit"),
    ],
    ids=["null", "list", "text", "empty", "twice", "deep", "long"],
)
@pytest.mark.parametrize("name", ["preprocessor_config.json", "processor_config.json"])
def test_a_settings_file_that_is_no_object_is_refused(
    tmp_path: Path, name: str, content: str, words: str
) -> None:
    """Going on with defaults would hide it."""
    (tmp_path / name).write_text(content)

    assert words in refusal(
        lambda: normalization_of(checkpoint_at(str(tmp_path)), DEFAULT), tmp_path
    )


def test_settings_with_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    """As some editors save them; in another encoding they are named."""
    path = tmp_path / "preprocessor_config.json"
    path.write_bytes('{"size": 96}'.encode("utf-8-sig"))
    assert normalization_of(checkpoint_at(str(tmp_path)), DEFAULT).size == 96

    path.write_bytes(b'{"size": "\xfc"}')
    why = refusal(lambda: Checkpoint(str(tmp_path)).settings(path.name), tmp_path)
    assert "not text in UTF-8" in why


def test_the_size_that_does_not_fit_names_the_file_it_stands_in(tmp_path: Path) -> None:
    """Also where that is the newer one."""
    checkpoints.clip(tmp_path)
    (tmp_path / "processor_config.json").write_text('{"image_processor": {"size": 64}}')

    why = refusal(lambda: load("clip", tmp_path), tmp_path)

    assert "its processor_config.json asks for images of 64 px" in why


CONFIGS: list[tuple[str, Any, str]] = [
    ("hidden_size", -1, "hidden_size is -1, not a whole number from 1 to 1,000,000"),
    ("hidden_size", 0, "hidden_size is 0, not a whole number"),
    ("hidden_size", 32.0, "hidden_size is 32.0, not a whole number"),
    ("hidden_size", "32", "hidden_size is '32', not a whole number"),
    ("hidden_size", [32], "hidden_size is [32], not a whole number"),
    ("hidden_size", True, "hidden_size is True, not a whole number"),
    ("hidden_size", 10**6, "its sizes (hidden_size 1000000) are those of"),
    ("num_hidden_layers", 10**6, "num_hidden_layers is 1000000, not a whole number from 1 to 1,0"),
    ("num_attention_heads", 0, "num_attention_heads is 0"),
    ("image_size", -32, "image_size is -32"),
    ("image_size", 10**5, "its sizes (hidden_size 32) are those of"),
    ("patch_size", 0, "patch_size is 0"),
    ("layer_norm_eps", float("nan"), "layer_norm_eps is NaN; mend it"),
]


@pytest.mark.parametrize(("name", "value", "words"), CONFIGS)
def test_sizes_no_model_can_have_are_refused(
    tmp_path: Path, name: str, value: object, words: str
) -> None:
    """Before anything is built with them: some take hours, some all of the memory."""
    checkpoints.dinov2(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))

    why = refusal(lambda: load("dinov2", tmp_path), tmp_path)

    assert f"{tmp_path}: config.json: " in why
    assert words in why


def test_the_sizes_of_a_tower_are_named_with_it(tmp_path: Path) -> None:
    """A configuration of two towers has every field twice."""
    config = {"vision_config": {"hidden_size": 32}, "text_config": {"hidden_size": "wide"}}
    (tmp_path / "config.json").write_text(json.dumps(config))

    why = refusal(lambda: check_config(tmp_path), tmp_path)

    assert "config.json: text_config: hidden_size is 'wide'" in why


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_act", 5),
        ("hidden_act", "loud"),
        ("hidden_size", None),
        ("num_attention_heads", 5),
        ("layer_norm_eps", "small"),
        ("initializer_range", []),
        ("dtype", "float33"),
        ("out_indices", 3),
    ],
)
def test_what_transformers_fails_on_is_one_sentence(
    tmp_path: Path, name: str, value: object
) -> None:
    """Whatever it raises: type errors, look-ups and divisions are no answer."""
    checkpoints.dinov2(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))

    assert "Dinov2Model" in refusal(lambda: load("dinov2", tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        ((), None),
        ((), []),
        (("model",), None),
        (("model",), []),
        (("model", "vocab"), {"a": -1}),
        (("model", "vocab"), "x"),
        (("model", "merges"), [1]),
        (("pre_tokenizer",), 7),
        (("added_tokens",), None),
        (("added_tokens",), [{"id": 10**18, "content": "x"}]),
    ],
)
def test_a_spoiled_tokenizer_is_refused(
    tmp_path: Path, keys: tuple[str, ...], value: object
) -> None:
    """The sentence names the file, whatever the library raises."""
    checkpoints.clip(tmp_path)
    path = tmp_path / "tokenizer.json"
    data: Any = {"": json.loads(path.read_text())}
    inside = data
    for key in ("", *keys)[:-1]:
        inside = inside[key]
    inside[("", *keys)[-1]] = value
    path.write_text(json.dumps(data[""]))
    classify = load("clip", tmp_path).classify
    assert classify is not None

    assert "tokenizer.json" in refusal(lambda: classify(["a cat", "a dog"]), tmp_path)


def qwen(folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> object:
    """Load the files beside the weights of a Qwen2.5-VL, which are left out."""
    from transformers import CLIPTokenizer, Qwen2VLImageProcessorPil

    Qwen2VLImageProcessorPil(size=qwen2_5_vl.PIXELS).save_pretrained(folder)
    CLIPTokenizer(vocab=checkpoints.VOCABULARY, merges=[]).save_pretrained(folder)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    model = qwen2_5_vl.load_reduced(WeightsRequest(Weights.RANDOM, None, 0)).model
    monkeypatch.setattr(qwen2_5_vl, "load_pretrained", lambda _kind, _name: (model, "folder"))
    request = WeightsRequest(Weights.PRETRAINED, str(folder), 0)
    return qwen2_5_vl.load(request, "none", None, option="--qwen-3b-path")


@pytest.mark.parametrize(
    "settings",
    [
        {"image_mean": [0.5, 0.5]},
        {"image_mean": [0.5, 0.5, float("nan")]},
        {"image_std": None, "image_mean": "x"},
        {"patch_size": 0},
        {"patch_size": "x"},
        {"merge_size": []},
        {"size": {"height": -1}},
        {"size": [1]},
        {"resample": 99},
    ],
    ids=str,
)
def test_a_spoiled_preprocessor_of_qwen_is_refused(
    tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the model is loaded, not at the first image of a cell."""
    refusal(lambda: qwen(tmp_path, monkeypatch, **settings), tmp_path)


def test_an_unspoiled_preprocessor_of_qwen_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the test above spoils is good."""
    assert qwen(tmp_path, monkeypatch) is not None


@pytest.mark.parametrize("content", ["null", "[]", "3", "{}", '{"checkpoint": 5}', "[" * 100_000])
def test_a_description_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    """Of the packaged model, which is then not used."""
    (tmp_path / byte_mamba.DESCRIPTION).write_text(content)

    why = refusal(lambda: byte_mamba.packaged_state(tmp_path), tmp_path)

    assert "byte_mamba.json; reinstall efficarch" in why
