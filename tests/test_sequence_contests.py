"""Claims about contests of Mamba language models against their matched Transformer."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from efficarch.contests.base import Contest, Settings
from efficarch.contests.language import Stage
from efficarch.contests.sequence_sides import Side, flops_of
from efficarch.contests.sequences import CHECKED_AGAIN, Sequences
from efficarch.errors import EfficarchError
from efficarch.models import MODELS
from efficarch.models.transformer import matched_transformer
from efficarch.probe import count_flops
from efficarch.record import Weights
from efficarch.scan.flops import attention_flops, scan_flops, ssd_flops
from tests.models.sequence_models import BUILDERS, LAYERS, ROWS, WIDTH, mamba

CASES: list[tuple[str, str, Stage]] = [
    ("tiny-mamba", "chunked", "prefill"),
    ("tiny-mamba", "transformers", "prefill"),
    ("tiny-mamba", "transformers", "decode"),
    ("tiny-mamba2", "auto", "prefill"),
    ("tiny-mamba2", "transformers", "decode"),
]


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    """Run as the suites do, without autograd."""
    with torch.inference_mode():
        yield


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the tiny models into the table."""
    for name, row in ROWS.items():
        monkeypatch.setitem(MODELS, name, row)


@pytest.fixture
def sequences() -> Sequences:
    """Return a session's sequence models, with pretrained weights asked for."""
    return Sequences(Settings("cpu", "float32", Weights.PRETRAINED, {}, rounds=6))


def contest(sequences: Sequences, case: tuple[str, str, Stage], length: int = 20) -> Contest:
    """Set one case against its reference."""
    model, backend, stage = case
    return sequences.contest(model=model, backend=backend, length=length, stage=stage)


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_both_arms_can_be_called_again_and_again(
    sequences: Sequences, case: tuple[str, str, Stage]
) -> None:
    """Every call does the same work on the same cache: no state drifts, no cache grows."""
    found = contest(sequences, case)

    for arm in (found.subject, found.reference):
        outputs: list[Any] = []
        for _ in range(3):
            with arm.context():
                outputs.append(arm.call())
        assert all(torch.equal(each.logits, outputs[0].logits) for each in outputs)
        assert outputs[0].logits.shape[:2] == (1, 1)


@pytest.mark.parametrize("kind", BUILDERS)
def test_a_step_continues_the_sequence(kind: str) -> None:
    """One token on the kept cache gives what the whole sequence gives, also the second time."""
    for model in (BUILDERS[kind](), matched_transformer(BUILDERS[kind](), 0)):
        side = Side(model)
        ids = torch.arange(21)[None]
        whole: Any = model(ids)
        step = side.step(ids[:, -1:], side.after(ids[:, :-1]))
        for _ in range(2):
            with step.context():
                one: Any = step.call()
            assert torch.allclose(one.logits[0, 0], whole.logits[0, -1], atol=1e-4)


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_the_row_says_what_ran(sequences: Sequences, case: tuple[str, str, Stage]) -> None:
    """Backend by name, weights, stage and both sizes; CosSim is that with the exact scan."""
    found = contest(sequences, case)
    model, backend, stage = case

    assert found.backend in ("chunked", "cpp") if backend == "auto" else found.backend == backend
    random = model == "tiny-mamba2"
    assert found.weights is (Weights.RANDOM if random else Weights.PRETRAINED)
    assert found.source.startswith(f"tiny, seed 0; {stage} at 20 seeded token ids; ")
    assert found.source.endswith("with random weights")
    assert 0.99999 < found.cossim.minimum <= 1
    assert found.cossim.items == found.items == (20 if stage == "prefill" else 1)
    assert found.costs.tokens == found.reference_costs.tokens
    assert len(found.costs.tokens) == LAYERS


def test_a_session_that_only_times_checks_fewer_positions(sequences: Sequences) -> None:
    """The first ones; decode is one position as ever."""
    timing = Sequences(replace(sequences.settings, timing_only=True))
    prefill, decode = CASES[0], ("tiny-mamba", "transformers", "decode")

    assert contest(sequences, prefill, length=40).cossim.items == 40
    assert contest(timing, prefill, length=40).cossim.items == CHECKED_AGAIN < 40
    assert contest(timing, decode, length=40).cossim.items == 1


def test_a_wrong_scan_is_seen(sequences: Sequences, monkeypatch: pytest.MonkeyPatch) -> None:
    """CosSim falls as soon as the backend's output is not the exact one."""
    from efficarch.scan import layer_scans

    run = layer_scans.BackendRun.__call__
    monkeypatch.setattr(
        layer_scans.BackendRun,
        "__call__",
        lambda self, inputs, last: (
            run(self, inputs, last) if last else run(self, inputs, last).roll(1, -1)
        ),
    )

    assert contest(sequences, ("tiny-mamba", "chunked", "prefill")).cossim.mean < 0.999


def test_steps_hold_a_state_or_a_cache(sequences: Sequences) -> None:
    """The memory of a step grows with the context for attention, and not for a state."""
    case: tuple[str, str, Stage] = ("tiny-mamba", "transformers", "decode")
    short, long = (contest(sequences, case, length) for length in (16, 64))

    assert long.costs.peak_bytes == pytest.approx(short.costs.peak_bytes, rel=0.02)
    kept = 2 * LAYERS * WIDTH * 4  # keys and values of a token, float32
    grown = long.reference_costs.peak_bytes - short.reference_costs.peak_bytes
    assert grown >= (64 - 16) * kept


def test_flops_are_the_counters_plus_the_scan() -> None:
    """Products with weights as torch counts them; attention is half of what it counts."""
    tokens, heads = 64, WIDTH // 64
    for build in BUILDERS.values():
        reference = matched_transformer(build(), 0)
        call = Side(reference).prefill(torch.zeros(1, tokens, dtype=torch.long)).call
        attention = LAYERS * attention_flops(batch=1, heads=heads, head_dim=64, length=tokens)
        found = flops_of(reference, tokens=tokens, context=0)
        assert found + attention == pytest.approx(count_flops(call), rel=2e-3)

    model = mamba()
    call = Side(model).prefill(torch.zeros(1, tokens, dtype=torch.long)).call
    scans = LAYERS * scan_flops(batch=1, channels=2 * WIDTH, state=8, length=tokens)
    read_out = LAYERS * 2 * tokens * 2 * WIDTH * 8  # C h, the one product of the scan torch sees
    projected = flops_of(model, tokens=tokens, context=0) - scans
    assert projected + read_out == pytest.approx(count_flops(call), rel=0.01)


def test_flops_of_one_step_of_a_mamba2_scan() -> None:
    """One head of one channel and one state: 5 for the state, 3 for the skip, 2 for the decay."""
    assert ssd_flops(batch=1, heads=1, head_dim=1, state=1, length=1) == 10
    assert ssd_flops(batch=2, heads=3, head_dim=4, state=5, length=6) == 36 * (4 * 28 + 2)


def test_another_model_takes_the_place_of_the_first(sequences: Sequences) -> None:
    """One model and its reference are in memory at a time; each is loaded once."""
    first = sequences.subject("tiny-mamba")

    assert sequences.subject("tiny-mamba") is first
    assert sequences.subject("tiny-mamba2") is not first
    assert sequences.subject("tiny-mamba") is not first


@pytest.mark.parametrize(
    ("case", "length", "sentence"),
    [
        (("tiny-mamba", "chunkd", "prefill"), 8, "unknown backend 'chunkd'; did you mean"),
        (("tiny-mamba", "auto", "prefil"), 8, "stage is 'prefil'; choose 'prefill' or 'decode'"),
        (("tiny-mamba", "auto", "prefill"), 0, "length is 0; give at least 1 token"),
        (("tiny-mamba", "auto", "decode"), 8, "'auto', but a decode step runs no scan"),
        (("dinov2-small", "auto", "prefill"), 8, "dinov2-small is no language model over token"),
    ],
)
def test_nonsense_is_refused(
    sequences: Sequences, case: tuple[str, str, Any], length: int, sentence: str
) -> None:
    """One sentence says what, which value and what to do."""
    with pytest.raises(EfficarchError, match=sentence):
        contest(sequences, case, length)


@pytest.mark.parametrize("model", ["tiny-mamba", "tiny-mamba2"])
def test_layers_of_both_sides_are_built_at_any_length(sequences: Sequences, model: str) -> None:
    """A scaling contest prepares hidden states of a length, and knows what ran and how exactly."""
    found = sequences.layer_scaling(model=model, backend="chunked", lengths=((8, 16), (8, 32)))

    for arm in (found.subject, found.reference):
        output: Any = arm.build(8)()
        assert output.shape == (1, 8, WIDTH)
        assert torch.equal(output, arm.build(8)())
        assert arm.flops(16) > arm.flops(8) > 0
    assert found.backend == "chunked"
    assert found.cossim().mean > 0.99999
    assert "one layer without cache" in found.source
