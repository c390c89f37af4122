"""Claims about replacing the scans inside a transformers Mamba."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from efficarch.errors import EfficarchError
from efficarch.scan import in_model
from efficarch.scan.in_model import mixers, replaced_scans
from tests.models.sequence_models import BUILDERS, WORDS, mamba, mamba2

KINDS = list(BUILDERS)


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    """Run as the suites do, without autograd."""
    with torch.inference_mode():
        yield


def token_ids(length: int) -> Tensor:
    """Return seeded token ids [1, L]."""
    return torch.randint(WORDS, (1, length), generator=torch.Generator().manual_seed(3))


def silent(calls: list[int]) -> in_model.LayerScan:
    """Return scans that put out nothing, and note the layers that called them."""

    def of_layer(layer: int) -> Callable[..., Any]:
        def scan(u: Tensor, *projections: Tensor, **options: Any) -> Any:
            calls.append(layer)
            wants = options.get("return_last_state") or options.get("return_final_states")
            heads = u.shape[2:] if u.ndim == 4 else u.shape[1:2]
            state = u.new_zeros(1, *heads, 8)  # [B, D, N] or [B, H, P, N]
            return (u * 0, state) if wants else u * 0

        return scan

    return of_layer


@pytest.mark.parametrize("kind", KINDS)
def test_it_leaves_no_trace(kind: str) -> None:
    """Afterwards the model is what it was, bit by bit, also when something went wrong inside."""
    model, ids = BUILDERS[kind](), token_ids(20)
    before = model(ids).logits
    attributes = [dict(vars(mixer)) for mixer in mixers(model)]

    with replaced_scans(model, silent([])):
        assert not torch.equal(model(ids).logits, before)
    with pytest.raises(KeyError), replaced_scans(model, silent([])):
        raise KeyError

    assert [vars(mixer) for mixer in mixers(model)] == attributes
    assert torch.equal(model(ids).logits, before)


@pytest.mark.parametrize("kind", KINDS)
def test_each_layer_gets_its_own_scan(kind: str) -> None:
    """The layers call in their order, once for a sequence and not at all for a single step."""
    model, calls = BUILDERS[kind](), list[int]()

    with replaced_scans(model, silent(calls)):
        cache = model(token_ids(20), use_cache=True).cache_params
        assert calls == [0, 1]
        model(token_ids(1), cache_params=cache, use_cache=True)

    assert calls == [0, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_it_returns_is_the_cache(kind: str) -> None:
    """With use_cache the replaced scan's last state is what the next step starts from."""
    model = BUILDERS[kind]()

    with replaced_scans(model, silent([])):
        cache = model(token_ids(20), use_cache=True).cache_params

    own = model(token_ids(20), use_cache=True).cache_params
    assert all(not layer.recurrent_states[0].any() for layer in cache.layers)
    assert all(layer.recurrent_states[0].any() for layer in own.layers)
    assert cache.layers[0].recurrent_states[0].shape == own.layers[0].recurrent_states[0].shape


@pytest.mark.parametrize("kind", KINDS)
def test_other_models_stay_as_they_are(kind: str) -> None:
    """A second model of the same class runs its own code meanwhile."""
    model, other, ids = BUILDERS[kind](), BUILDERS[kind](1), token_ids(20)
    before = other(ids).logits
    calls = list[int]()

    with replaced_scans(model, silent(calls)):
        meanwhile = other(ids).logits

    assert torch.equal(meanwhile, before)
    assert calls == []


def test_replacing_twice_is_refused() -> None:
    """Nested use says so, and the outer one stays in force."""
    model, calls = mamba(), list[int]()

    with replaced_scans(model, silent(calls)):
        with (
            pytest.raises(EfficarchError, match="layer 0 is replaced already; leave that context"),
            replaced_scans(model, silent([])),
        ):
            pass
        model(token_ids(5))

    assert calls == [0, 1]


def test_a_model_without_mixers_is_refused() -> None:
    """What has no scan cannot have it replaced."""
    with pytest.raises(EfficarchError, match=r"Linear has no Mamba mixer .* known: MambaMixer"):
        mixers(nn.Linear(2, 2))


def test_another_transformers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mixer that calls no scan of the known name asks for a version that does."""
    monkeypatch.setitem(in_model.SCANS, "Mamba2Mixer", "renamed_scan")

    with (
        pytest.raises(EfficarchError, match=r"does not call renamed_scan; use transformers 5.17"),
        replaced_scans(mamba2(), silent([])),
    ):
        pass
