"""Claims about contests of the multi-resolution scan against the plain one."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from efficarch.contests.base import Contest
from efficarch.contests.mrss import Deferral, model_saving_contest, scan_saving_contest
from efficarch.errors import EfficarchError
from efficarch.models.base import SequenceSubject
from efficarch.models.loading import load_random
from efficarch.quality import cosine_rows
from efficarch.record import Saving, Weights
from efficarch.scan import ScanInputs
from efficarch.scan.in_model import mixers
from efficarch.scan.mrss import Plan, Planner, mrss_scan, planner
from efficarch.scan.signals import Size, signal_inputs
from tests.models.sequence_models import LAYERS, mamba

SIZE = Size(batch=2, channels=8, state=4, length=64)


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    """Run as the suites do, without autograd."""
    with torch.inference_mode():
        yield


def on_signal(
    name: str, saving: float, signal: str = "ar1-0.9", emission: str = "readout"
) -> Contest:
    """Set a planner against the plain scan on a small signal, on the oracle."""
    deferral = Deferral(planner(name, saving), "naive", emission)
    return scan_saving_contest(deferral, signal_inputs(signal, SIZE, seed=0), signal=signal)


def saving_of(contest: Contest) -> Saving:
    """Return what a contest saved."""
    assert contest.saving is not None
    return contest.saving


def test_nothing_deferred_is_the_plain_scan() -> None:
    """A plan that defers nothing costs and changes nothing."""
    contest = on_signal("none", 0.0)

    assert (contest.cossim.mean, contest.cossim.minimum) == pytest.approx((1, 1), abs=1e-6)
    assert saving_of(contest) == Saving(0.0, 0.0, 0.0, (), (), ())
    assert contest.costs.flops == contest.reference_costs.flops


def test_what_is_deferred_is_recorded() -> None:
    """Updates saved are counted, FLOPs are fewer, and the errors of term and state are told."""
    contest = on_signal("random", 0.5, "ar1-0.0")
    saving = saving_of(contest)

    assert saving.updates_saved == 0.5
    # per update spared, a product and an exponential per state
    assert contest.reference_costs.flops - contest.costs.flops == 64 * 8 * 2 * 4
    assert saving.relative_l2 is not None
    assert saving.relative_l2 > 0
    assert saving.state_error is not None
    assert saving.state_error > 0
    assert contest.cossim.items == 2 * 64
    assert contest.backend == "naive"
    assert contest.weights is Weights.NONE


def test_skip_term_and_gate_do_not_flatter() -> None:
    """A skip term of a thousand makes any output look alike; the figures leave it out."""
    inputs = signal_inputs("ar1-0.0", SIZE, seed=0)
    deferral = Deferral(planner("random", 0.5), "naive", "hold")
    found = [
        scan_saving_contest(deferral, replace(inputs, D=D), signal="x").cossim
        for D in (None, torch.full((8,), 1000.0))
    ]

    assert found[0] == found[1]
    assert found[0].mean < 0.9


def test_a_planner_that_sees_the_gate_is_compared_by_the_plan_that_is_timed() -> None:
    """The gate is left out of the figures, not of what the planner looks at."""
    inputs = signal_inputs("ar1-0.0", SIZE, seed=0)
    gated = planner("gated-step", 0.5)
    bare = replace(inputs, D=None, z=None)
    term, exact = (
        run.transpose(1, 2).flatten(0, 1)
        for run in (
            mrss_scan(bare, gated.plan(inputs), backend="naive", emission="hold"),
            mrss_scan(bare, planner("none", 0.0).plan(bare), backend="naive", emission="hold"),
        )
        if isinstance(run, Tensor)
    )

    found = scan_saving_contest(Deferral(gated, "naive", "hold"), inputs, signal="x")

    assert not torch.equal(gated.plan(inputs).deferred, gated.plan(bare).deferred)
    assert found.cossim.mean == pytest.approx(float(cosine_rows(term, exact).mean()))


@dataclass(frozen=True)
class Counting:
    """A planner that counts how often it is asked."""

    inner: Planner
    asked: list[int]
    name: str = "counting"
    causal: bool = True
    saving: float = 0.35

    def plan(self, inputs: ScanInputs) -> Plan:
        """Return the plan of the other planner."""
        self.asked.append(inputs.length)
        return self.inner.plan(inputs)


def test_planning_is_timed() -> None:
    """Every timed call plans anew; the reference never does."""
    counting = Counting(planner("stride", 0.35), [])
    deferral = Deferral(counting, "naive", "readout")
    contest = scan_saving_contest(
        deferral, signal_inputs("ar1-0.9", SIZE, seed=0), signal="ar1-0.9"
    )
    before = len(counting.asked)

    contest.subject.call()
    contest.subject.call()
    contest.reference.call()

    assert len(counting.asked) == before + 2


def byte_model() -> SequenceSubject:
    """Return a tiny Mamba that reads bytes; with the rates of a fresh one a readout is exact."""
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(hidden_size=32, num_hidden_layers=LAYERS, vocab_size=256, state_size=8)
    model = load_random(MambaForCausalLM, config, 0)[0].eval()
    rng = torch.Generator().manual_seed(0)
    for block in model.backbone.layers:
        rates = block.mixer.A_log.data
        rates += 0.1 * torch.randn(rates.shape, generator=rng)
    return SequenceSubject(model, Weights.RANDOM, "s")


def segments() -> Tensor:
    """Return three segments of 40 bytes."""
    return torch.randint(256, (3, 40), generator=torch.Generator().manual_seed(0))


def in_model(name: str, saving: float) -> Contest:
    """Set a planner in the tiny model against the plain model."""
    deferral = Deferral(planner(name, saving), "naive", "readout")
    return model_saving_contest(byte_model(), deferral, segments())


def test_model_that_defers_nothing_reads_alike() -> None:
    """Bits per byte of every segment are those of the exact model, and so are hidden states."""
    contest = in_model("none", 0.0)
    saving = saving_of(contest)

    assert saving.bits == pytest.approx(saving.reference_bits, abs=1e-6)
    assert saving.bits_lost == pytest.approx(0, abs=1e-6)
    assert contest.cossim.minimum == pytest.approx(1, abs=1e-6)
    assert contest.costs == replace(contest.reference_costs, peak_bytes=contest.costs.peak_bytes)


def test_model_that_defers_is_measured_layer_by_layer() -> None:
    """Each layer tells what it saved and how near its term stays; the model tells its bits."""
    contest = in_model("random", 0.5)
    saving = saving_of(contest)

    assert [layer.layer for layer in saving.layers] == list(range(LAYERS))
    assert {layer.updates_saved for layer in saving.layers} == {0.5}
    assert all(0 < layer.cossim.mean < 1 for layer in saving.layers)
    assert {layer.cossim.items for layer in saving.layers} == {3 * 40}
    assert len(saving.bits) == len(saving.reference_bits) == 3
    assert saving.bits != saving.reference_bits
    assert saving.relative_l2 is None
    assert contest.cossim.items == 3 * 40
    assert contest.costs.tokens == (40,) * LAYERS


def test_model_that_is_only_timed_reads_one_segment() -> None:
    """The first, as it would among all; what is said of the inputs stays."""
    deferral = Deferral(planner("random", 0.5), "naive", "readout")
    full = model_saving_contest(byte_model(), deferral, segments())

    timed = model_saving_contest(byte_model(), deferral, segments(), timing_only=True)

    assert saving_of(timed).bits == pytest.approx(saving_of(full).bits[:1])
    assert timed.cossim.items == 40
    assert timed.source == full.source


def test_both_arms_run_again_and_leave_no_trace() -> None:
    """Arms can be called in turns, each in its context, and the model is its own again."""
    subject: Any = byte_model()
    deferral = Deferral(planner("stride", 0.35), "naive", "readout")
    contest = model_saving_contest(subject, deferral, segments())
    outputs: dict[bool, list[Tensor]] = {True: [], False: []}
    for _ in range(2):
        for arm in (contest.subject, contest.reference):
            with arm.context():
                output: Any = arm.call()
            outputs[arm is contest.subject].append(output.logits)

    assert torch.equal(*outputs[True])
    assert torch.equal(*outputs[False])
    assert not torch.equal(outputs[True][0], outputs[False][0])
    assert all("forward" not in vars(mixer) for mixer in mixers(subject.model))


def test_model_of_words_is_refused() -> None:
    """Bits per byte of a model that reads no bytes would be nonsense."""
    subject = SequenceSubject(mamba(), Weights.RANDOM, "tiny")
    deferral = Deferral(planner("stride", 0.35), "naive", "readout")

    with pytest.raises(EfficarchError, match="vocabulary of 32, bits per byte need one of 256"):
        model_saving_contest(subject, deferral, segments())


def test_segments_that_leave_nothing_to_predict_are_refused() -> None:
    """Bits per byte of a single byte would be no number."""
    with pytest.raises(EfficarchError, match="segments of 1 bytes leave nothing to predict"):
        model_saving_contest(
            byte_model(), Deferral(planner("none", 0.0), "naive", "readout"), segments()[:, :1]
        )
