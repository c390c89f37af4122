"""Claims about signals of known redundancy."""

import pytest
import torch

from efficarch.errors import UnknownNameError
from efficarch.scan.signals import RHOS, SIGNALS, Size, signal_inputs


@pytest.mark.parametrize("name", SIGNALS)
def test_they_are_seeded_inputs_of_any_size(name: str) -> None:
    """The same seed gives the same numbers, another seed others."""
    size = Size(batch=2, channels=6, state=3, length=40)
    first, again, other = (signal_inputs(name, size, seed=seed) for seed in (0, 0, 1))

    assert first.u.shape == (2, 6, 40)
    assert first.A.shape == (6, 3)
    assert first.B.shape == first.C.shape == (2, 3, 40)
    assert torch.equal(first.u, again.u)
    assert not torch.equal(first.u, other.u)


@pytest.mark.parametrize("rho", RHOS)
def test_their_autocorrelation_is_known(rho: float) -> None:
    """B and C are as slow as the signal is."""
    inputs = signal_inputs(f"ar1-{rho}", Size(4, 8, 16, 4000), seed=0)

    for x in (inputs.B, inputs.C):
        assert float((x[..., 1:] * x[..., :-1]).sum() / x.square().sum()) == pytest.approx(
            rho, abs=0.03
        )


def test_pieces_are_constant() -> None:
    """Between two jumps u, delta, B and C rest."""
    inputs = signal_inputs("piecewise", Size(1, 4, 4, 3000), seed=0)

    rests = [(x.diff(dim=-1) == 0).all(1)[0] for x in (inputs.u, inputs.delta, inputs.B, inputs.C)]

    assert all(torch.equal(each, rests[0]) for each in rests)
    assert float(rests[0].float().mean()) == pytest.approx(1 - 1 / 32, abs=0.01)


def test_a_needle_is_one_token() -> None:
    """One token of a slow signal is unlike its neighbours on both sides."""
    inputs = signal_inputs("needle", Size(1, 4, 16, 400), seed=0)

    jumps = inputs.B.diff(dim=-1).norm(dim=1)[0]

    top = sorted(jumps.topk(2).indices.tolist())
    assert top[1] == top[0] + 1
    assert float(jumps.topk(2).values.min()) > 2 * float(jumps.topk(3).values[-1])


def test_unknown_signals_get_a_hint() -> None:
    """A typing mistake names the signal that was meant."""
    with pytest.raises(UnknownNameError, match="did you mean 'piecewise'"):
        signal_inputs("piecwise", Size(1, 1, 1, 4), seed=0)
