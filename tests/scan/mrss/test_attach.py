"""Claims about deferring updates inside a transformers model."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from efficarch.errors import EfficarchError
from efficarch.scan.in_model import mixers
from efficarch.scan.mrss import Observation, Planner, attached, planner
from tests.models.sequence_models import BUILDERS, WORDS
from tests.scan.samples import largest_error

KINDS = list(BUILDERS)


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    """Run as the suites do, without autograd."""
    with torch.inference_mode():
        yield


def token_ids(length: int = 40) -> Tensor:
    """Return seeded token ids [2, L]."""
    return torch.randint(WORDS, (2, length), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("kind", KINDS)
def test_it_leaves_no_trace(kind: str) -> None:
    """Afterwards the model is what it was, bit by bit, also when something went wrong inside."""
    model, ids = BUILDERS[kind](), token_ids()
    before = model(ids).logits
    attributes = [dict(vars(mixer)) for mixer in mixers(model)]
    stride = planner("stride", 0.5)

    with attached(model, stride):
        assert not torch.equal(model(ids).logits, before)
    with pytest.raises(KeyError), attached(model, stride):
        raise KeyError

    assert [vars(mixer) for mixer in mixers(model)] == attributes
    assert torch.equal(model(ids).logits, before)


@pytest.mark.parametrize("emission", ["readout", "hold+local"])
@pytest.mark.parametrize("kind", KINDS)
def test_saving_nothing_changes_nothing(kind: str, emission: str) -> None:
    """The logits are the model's own."""
    model, ids = BUILDERS[kind](), token_ids()

    with attached(model, planner("none", 0.0), emission=emission):
        found = model(ids).logits

    assert largest_error(found, model(ids).logits) <= 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_each_layer_may_have_its_own_planner(kind: str) -> None:
    """What is observed says which layer saved what, and how near its SSM term stayed."""
    model, seen, savings = BUILDERS[kind](), list[Observation](), (0.5, 0.0)

    def of_layer(layer: int) -> Planner:
        return planner("stride" if savings[layer] else "none", savings[layer])

    with attached(model, of_layer, observe=seen.append):
        model(token_ids())

    assert [each.layer for each in seen] == [0, 1]
    assert [each.plan.updates_saved for each in seen] == pytest.approx([0.475, 0.0])
    changed = [largest_error(each.ssm, each.exact) for each in seen]
    # states that decay alike, as those of Mamba-2, are read exactly
    assert (changed[0] > 0) == (kind == "mamba")
    assert changed[1] == 0
    assert all(each.ssm.shape == each.inputs.u.shape for each in seen)


def test_mamba2_reads_exactly() -> None:
    """States that decay alike leave nothing for the ladder to round, whatever is deferred."""
    model, ids = BUILDERS["mamba2"](), token_ids()

    with attached(model, planner("stride", 0.875)):
        found = model(ids, use_cache=True)

    own = model(ids, use_cache=True)
    assert largest_error(found.logits, own.logits) <= 1e-4
    state, exact = (each.cache_params.layers[0].recurrent_states[0] for each in (found, own))
    assert float((state - exact).norm() / exact.norm()) <= 1e-5


def test_a_planner_that_fails_leaves_no_trace() -> None:
    """A backend without readout says so when the model runs, and the model is whole again."""
    model, ids = BUILDERS["mamba"](), token_ids()
    before = model(ids).logits

    with (
        pytest.raises(EfficarchError, match="'chunked' has no kernel that defers updates"),
        attached(model, planner("stride", 0.5), backend="chunked"),
    ):
        model(ids)

    assert torch.equal(model(ids).logits, before)
