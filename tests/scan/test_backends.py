"""Claims about the table of backends and the function with mamba-ssm's signature."""

import inspect

import pytest
import torch

from efficarch.errors import UnknownNameError
from efficarch.scan import BACKENDS, backend, naive, selective_scan
from tests.scan.samples import largest_error, random_inputs


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_matches_the_oracle(name: str) -> None:
    """A new row is held to the oracle without a new test."""
    inputs = random_inputs(100)

    out, state = backend(name).run(inputs, return_last_state=True)
    expected, expected_state = naive.scan(inputs.double(), return_last_state=True)

    assert largest_error(out, expected) <= 1e-4
    assert largest_error(state, expected_state) <= 1e-4


@pytest.mark.parametrize("name", BACKENDS)
def test_every_row_describes_itself(name: str) -> None:
    """Reports and the README read the row: its name is its key and no text is empty."""
    row = BACKENDS[name]

    assert row.name == name
    assert row.summary
    assert row.source


def test_an_unknown_backend_gets_a_hint() -> None:
    """A typing mistake names the backend that was meant."""
    with pytest.raises(UnknownNameError, match="unknown backend 'chunky'; did you mean 'chunked'"):
        backend("chunky")


def test_the_signature_is_that_of_mamba_ssm() -> None:
    """Names, order and defaults of selective_scan_fn, then our own choice of backend."""
    parameters = inspect.signature(selective_scan).parameters.values()

    assert [p.name for p in parameters] == [
        *("u", "delta", "A", "B", "C", "D", "z", "delta_bias"),
        *("delta_softplus", "return_last_state", "backend"),
    ]
    assert [p.default for p in parameters][5:] == [None, None, None, False, False, "auto"]


@pytest.mark.parametrize("name", BACKENDS)
def test_selective_scan_runs_the_named_backend(name: str) -> None:
    """Called as mamba-ssm is called, it returns what the backend returns."""
    inputs = random_inputs(50)

    out, state = selective_scan(*vars(inputs).values(), return_last_state=True, backend=name)
    alone = selective_scan(*vars(inputs).values(), backend=name)

    assert torch.equal(out, backend(name).run(inputs))
    assert torch.equal(out, alone)
    assert state.shape == (2, 4, 8)
