"""Claims about backends of ours behind the call of a transformers mixer."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from efficarch.errors import EfficarchError, UnknownNameError
from efficarch.scan import BACKENDS
from efficarch.scan.layer_scans import BackendRun, backend_scans, foreign_kernels, oracle_scans
from tests.models.sequence_models import BUILDERS, WORDS, mamba2
from tests.scan.samples import largest_error, random_inputs

RUNNABLE = [
    name for name, row in BACKENDS.items() if "cpu" in row.devices and row.missing() is None
]


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    """Run as the suites do, without autograd."""
    with torch.inference_mode():
        yield


def token_ids(length: int = 40) -> Tensor:
    """Return seeded token ids [1, L]; by default two chunks and a half of the tiny Mamba-2."""
    return torch.randint(WORDS, (1, length), generator=torch.Generator().manual_seed(3))


def states_of(output: Any) -> list[Tensor]:
    """Return the recurrent state of each layer."""
    return [layer.recurrent_states[0] for layer in output.cache_params.layers]


def assert_same(found: Any, expected: Any) -> None:
    """Compare logits and states of two prefills."""
    assert largest_error(found.logits, expected.logits) <= 1e-4
    for mine, theirs in zip(states_of(found), states_of(expected), strict=True):
        assert mine.shape == theirs.shape
        assert largest_error(mine, theirs) <= 1e-5


@pytest.mark.parametrize("name", [*RUNNABLE, "auto"])
@pytest.mark.parametrize("kind", BUILDERS)
def test_every_backend_gives_the_models_own_output(kind: str, name: str) -> None:
    """Logits and last states are those of the scan in transformers, an independent peer."""
    model, run = BUILDERS[kind](), BackendRun(name)
    own = model(token_ids(), use_cache=True)

    with backend_scans(model, run):
        assert_same(model(token_ids(), use_cache=True), own)

    assert run.used in RUNNABLE
    assert name in ("auto", run.used)


@pytest.mark.parametrize("kind", BUILDERS)
def test_the_oracle_gives_the_models_own_output(kind: str) -> None:
    """The float64 oracle sits in the same place."""
    model = BUILDERS[kind]()
    own = model(token_ids(), use_cache=True)

    with oracle_scans(model):
        assert_same(model(token_ids(), use_cache=True), own)


@pytest.mark.parametrize("kind", BUILDERS)
def test_no_backend_leaves_the_model_alone(kind: str) -> None:
    """Without one the model's own code runs."""
    model = BUILDERS[kind]()

    with backend_scans(model, None):
        inside = model(token_ids()).logits

    assert torch.equal(inside, model(token_ids()).logits)


def test_limits_of_the_step_are_honoured() -> None:
    """A Mamba-2 that clamps its steps does so on our backends too, and it matters."""
    limited, free = mamba2(limit=(0.01, 0.02)), mamba2()
    own = limited(token_ids(), use_cache=True)

    with backend_scans(limited, BackendRun("chunked")):
        assert_same(limited(token_ids(), use_cache=True), own)

    assert largest_error(own.logits, free(token_ids()).logits) > 1e-2


def test_continuing_from_a_state_is_refused() -> None:
    """Several tokens after a prefill would need a state to start from, which ours do not take."""
    model = mamba2()
    cache = model(token_ids(), use_cache=True).cache_params

    with (
        backend_scans(model, BackendRun("chunked")),
        pytest.raises(
            EfficarchError, match=r"starts from an empty state .* whole sequence at once"
        ),
    ):
        model(token_ids(5), cache_params=cache, use_cache=True)


def test_an_unknown_backend_gets_a_hint() -> None:
    """A typing mistake names the backend that was meant."""
    with pytest.raises(UnknownNameError, match="did you mean 'chunked'"):
        BackendRun("chunkd")(random_inputs(4), False)


@pytest.mark.parametrize("kind", BUILDERS)
def test_nothing_foreign_is_found_where_nothing_is(kind: str) -> None:
    """Here transformers runs torch."""
    assert foreign_kernels(BUILDERS[kind]()) == {}


STUB = """
def selective_scan_fn(*args, **kwargs):
    raise RuntimeError("expected a CUDA tensor")
selective_state_update = selective_scan_fn
"""

ASK = """
from efficarch.contests.base import Settings
from efficarch.contests.sequences import Sequences
from efficarch.errors import EfficarchError
from efficarch.models import MODELS
from efficarch.record import Weights
from tests.models.sequence_models import ROWS

MODELS.update(ROWS)
try:
    Sequences(Settings("cpu", "float32", Weights.RANDOM, {}, 8)).subject("tiny-mamba")
except EfficarchError as error:
    print(error)
"""


def test_kernels_that_need_a_gpu_are_named(tmp_path: Path) -> None:
    """With mamba_ssm importable transformers takes it on the CPU too: one sentence says so."""
    for name, text in (("__init__", ""), ("ops/__init__", ""), ("ops/triton/__init__", "")):
        path = tmp_path / "mamba_ssm" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "mamba_ssm/ops/selective_scan_interface.py").write_text(STUB)
    (tmp_path / "mamba_ssm/ops/triton/selective_state_update.py").write_text(STUB)
    here = Path(__file__).parents[2]
    path = [str(tmp_path), str(here), *sys.path]
    code = f"import sys; sys.path[:] = {path!r}\n{ASK}"

    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )

    assert "mamba_selective_scan" in found.stdout
    assert "from mamba_ssm, which cannot run on the CPU; uninstall the package" in found.stdout
    assert found.stdout.count("\n") == 1
