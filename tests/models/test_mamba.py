"""Claims about Mamba and Mamba-2: dimensions, folders, and whose weights they are called."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from efficarch.errors import MissingWeightsError
from efficarch.models import MODELS, model_row
from efficarch.models.base import SequenceSubject, WeightsRequest
from efficarch.models.mamba import load_mamba, load_mamba2, mamba2_config, mamba_config
from efficarch.models.transformer import parameter_count
from efficarch.record import Weights
from tests.models.sequence_models import BUILDERS

LOADERS: dict[str, Callable[[WeightsRequest], SequenceSubject]] = {
    "mamba": load_mamba,
    "mamba2": load_mamba2,
}
REDUCED = ("mamba-reduced", "mamba2-reduced")


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Save a tiny checkpoint of each kind."""
    path = tmp_path_factory.mktemp("mamba")
    for kind, build in BUILDERS.items():
        build().save_pretrained(path / kind)
    return {kind: path / kind for kind in BUILDERS}


def request(location: Path | None, weights: Weights = Weights.PRETRAINED) -> WeightsRequest:
    """Ask for weights."""
    return WeightsRequest(weights, None if location is None else str(location), 0)


@pytest.mark.parametrize("kind", LOADERS)
def test_any_checkpoint_of_the_class_is_loaded(kind: str, folders: dict[str, Path]) -> None:
    """A folder brings its own dimensions and is called pretrained."""
    subject = LOADERS[kind](request(folders[kind]))

    ids = torch.arange(10)[None]
    assert subject.weights is Weights.PRETRAINED
    assert subject.source == f"folder {kind}"
    assert not subject.model.training
    assert torch.equal(subject.model(ids).logits, BUILDERS[kind]()(ids).logits)


@pytest.mark.parametrize("kind", LOADERS)
def test_another_kind_of_checkpoint_is_refused(kind: str, folders: dict[str, Path]) -> None:
    """A Mamba is no Mamba-2; the sentence names both and the option."""
    other = next(name for name in LOADERS if name != kind)

    with pytest.raises(MissingWeightsError) as caught:
        LOADERS[kind](request(folders[other]))

    sentence = f"holds a model of type {other!r}; --{kind}-path takes one of type {kind!r}"
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", LOADERS)
def test_a_missing_folder_is_named(kind: str, tmp_path: Path) -> None:
    """A path that is not there is not asked of the hub."""
    with pytest.raises(MissingWeightsError, match=r"no weights folder '.*nowhere'"):
        LOADERS[kind](request(tmp_path / "nowhere"))


@pytest.mark.parametrize("kind", LOADERS)
def test_weights_that_are_not_here_are_missing(kind: str) -> None:
    """Nothing is downloaded that nobody named."""
    with pytest.raises(MissingWeightsError, match=f"--{kind}-path"):
        model_row(f"{kind}-130m").load(request(None))


@pytest.mark.parametrize("weights", [Weights.PRETRAINED, Weights.RANDOM])
@pytest.mark.parametrize("name", REDUCED)
def test_reduced_models_never_claim_to_be_pretrained(name: str, weights: Weights) -> None:
    """They have random weights, whatever was asked for, and the full width."""
    subject = model_row(name).load(request(None, weights))

    config: Any = subject.model.config
    assert subject.weights is Weights.RANDOM
    assert subject.source == "reduced depth and vocabulary, random weights, seed 0"
    assert MODELS[name].option is None
    assert (config.hidden_size, config.num_hidden_layers, config.vocab_size) == (768, 2, 1024)


def test_seeds_give_other_weights() -> None:
    """The seed of the request is that of the weights."""
    name = "backbone.layers.0.mixer.in_proj.weight"
    row = model_row("mamba-reduced")
    zero, again, one = (
        row.load(WeightsRequest(Weights.RANDOM, None, seed)).model.get_parameter(name)
        for seed in (0, 0, 1)
    )

    assert torch.equal(zero, again)
    assert not torch.equal(zero, one)


@pytest.mark.parametrize(
    ("kind", "config", "millions"),
    [("MambaForCausalLM", mamba_config(), 129.14), ("Mamba2ForCausalLM", mamba2_config(), 128.99)],
    ids=["mamba", "mamba2"],
)
def test_the_released_sizes_have_as_many_parameters(
    kind: str, config: Any, millions: float
) -> None:
    """The published checkpoints hold 129.1 and 129.0 million, embeddings shared with the head."""
    import transformers

    with torch.device("meta"):
        model = getattr(transformers, kind)(config)

    assert parameter_count(model) / 1e6 == pytest.approx(millions, abs=0.01)
