"""A multi-resolution scan against the plain one: an operator on a signal, or inside a whole model.

Planning and emission are part of what is timed, and both sides run on the same backend. Figures of
a scan are those of its SSM term, without skip term and gate: these pass the input on unchanged and
would flatter any saving.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from efficarch.contests.base import Arm, Contest, Costs
from efficarch.contests.scans import by_position
from efficarch.contests.sequence_sides import Side, flops_of
from efficarch.errors import EfficarchError
from efficarch.models.base import SequenceSubject
from efficarch.models.byte_text import bits_to_predict
from efficarch.probe import peak_bytes
from efficarch.quality import cosine_rows, summarise
from efficarch.record import LayerSaving, Quality, Saving, Weights
from efficarch.scan import ScanInputs
from efficarch.scan.base import ScanOutput
from efficarch.scan.flops import deferral_spares, scan_flops
from efficarch.scan.in_model import mixers
from efficarch.scan.layer_scans import BackendRun
from efficarch.scan.mrss import Observation, Plan, Planner, attached, chosen_backend, mrss_scan

BYTES = 256

# S segments, B batch, D channels, N state size, L length, C hidden channels


@dataclass(frozen=True)
class Deferral:
    """Which updates are deferred, on which backend, and what a deferred token puts out."""

    planner: Planner
    backend: str
    emission: str

    def attached(self, model: nn.Module) -> AbstractContextManager[None]:
        """Defer updates in every layer of a model."""
        return attached(model, self.planner, backend=self.backend, emission=self.emission)


def scan_saving_contest(deferral: Deferral, inputs: ScanInputs, *, signal: str) -> Contest:
    """Set a multi-resolution scan against the plain scan of the same inputs.

    Raises:
        EfficarchError: the backend cannot run these inputs or this emission.
    """
    planner, emission = deferral.planner, deferral.emission
    row = chosen_backend(inputs, deferral.backend, emission)

    def scan(inputs: ScanInputs, plan: Plan, *, state: bool = False) -> ScanOutput:
        return mrss_scan(inputs, plan, backend=row.name, emission=emission, return_last_state=state)

    # a planner may look at the gate, so it has to plan before the gate is taken away
    plan, bare = planner.plan(inputs), replace(inputs, D=None, z=None)
    found, exact = _term(scan(bare, plan, state=True)), _term(row.run(bare, return_last_state=True))
    saved = plan.updates_saved
    subject = Arm(lambda: scan(inputs, planner.plan(inputs)))
    reference = Arm(lambda: row.run(inputs))
    batch, length, kind = inputs.u.shape[0], inputs.length, inputs.u.device.type
    plain = scan_flops(batch=batch, channels=inputs.channels, state=inputs.state, length=length)
    updates = round(saved * batch * length) * inputs.channels
    spared = updates * deferral_spares(inputs.state)
    return Contest(
        subject=subject,
        reference=reference,
        costs=Costs((length,), plain - spared, peak_bytes(subject.call, kind)),
        reference_costs=Costs((length,), plain, peak_bytes(reference.call, kind)),
        cossim=summarise(cosine_rows(found.rows, exact.rows)),
        cossim_items=(),
        quality=Quality(),
        items=batch * length,
        weights=Weights.NONE,
        source=f"signal {signal}, {inputs.channels} channels, state {inputs.state}",
        backend=row.name,
        saving=Saving(
            updates_saved=saved,
            relative_l2=_relative(found.rows, exact.rows),
            state_error=_relative(found.state, exact.state),
            layers=(),
            bits=(),
            reference_bits=(),
        ),
    )


@dataclass(frozen=True)
class _Term:
    """The SSM term of a scan by position, [B * L, D], and its last state [B, D, N]."""

    rows: Tensor
    state: Tensor


def _term(output: ScanOutput) -> _Term:
    if isinstance(output, Tensor):
        raise TypeError("a scan with return_last_state returns two tensors")
    return _Term(by_position(output[0]), output[1])


def _relative(found: Tensor, exact: Tensor) -> float:
    """Return the L2 norm of the difference over that of the exact value."""
    return float((found - exact).double().norm() / exact.double().norm())


def term_similarity(seen: Observation) -> Tensor:
    """Return the CosSim of a layer's SSM term with the exact one at each position, [B * L]."""
    return cosine_rows(by_position(seen.ssm), by_position(seen.exact))


@dataclass
class _Layer:
    """What became of one layer's SSM term, segment after segment."""

    saved: list[float] = field(default_factory=list)
    similarity: list[Tensor] = field(default_factory=list)  # [B * L] each


@dataclass
class _Recorder:
    """Keeps, of every layer, how near its SSM term stays to the exact scan of the same inputs."""

    layers: dict[int, _Layer] = field(default_factory=dict)
    backend: str = ""
    """The one that ran, once one has."""

    def __call__(self, seen: Observation) -> None:
        """Take one scan of one layer."""
        self.backend = seen.backend
        layer = self.layers.setdefault(seen.layer, _Layer())
        layer.saved.append(seen.plan.updates_saved)
        layer.similarity.append(term_similarity(seen))

    @property
    def savings(self) -> tuple[LayerSaving, ...]:
        """The figures of each layer over everything seen."""
        return tuple(
            LayerSaving(
                index,
                sum(layer.saved) / len(layer.saved),
                summarise(torch.cat(layer.similarity)),
            )
            for index, layer in sorted(self.layers.items())
        )


def model_saving_contest(
    subject: SequenceSubject, deferral: Deferral, segments: Tensor, *, timing_only: bool = False
) -> Contest:
    """Set a byte-level model that defers updates against itself on the plain scan.

    ``segments`` [S, L] are held-out bytes. Latency is that of a prefill of the first. CosSim is
    that of the final hidden states, by position, and bits per byte are of each segment; a session
    that only times reads no more than the first.

    Raises:
        EfficarchError: the model does not read bytes or has no Mamba mixer, or the backend cannot
            run it.
    """
    model: Any = subject.model
    if model.config.vocab_size != BYTES:
        raise EfficarchError(
            f"the model has a vocabulary of {model.config.vocab_size}, bits per byte need one of "
            f"{BYTES}; use a byte-level model"
        )
    scored = segments[:1] if timing_only else segments
    seen, found = _observe(model, deferral, scored)
    deferral = replace(deferral, backend=seen.backend)  # both sides on the same one
    plain = Side(model, BackendRun(seen.backend))
    reference = plain.prefill(segments[:1])
    timed = Arm(Side(model).prefill(segments[:1]).call, lambda: deferral.attached(model))
    with plain.context():
        exact = _read(model, scored)
    layers = seen.savings
    length = segments.shape[1]
    flops = flops_of(model, tokens=length, context=0)
    return Contest(
        subject=timed,
        reference=reference,
        costs=_costs(model, timed, length, flops - _spared(model, layers, length)),
        reference_costs=_costs(model, reference, length, flops),
        cossim=summarise(cosine_rows(found.states, exact.states)),
        cossim_items=(),
        quality=Quality(),
        items=length,
        weights=subject.weights,
        source=f"{subject.source}; {len(segments)} held-out segments of {length} bytes",
        backend=seen.backend,
        saving=Saving(
            updates_saved=sum(layer.updates_saved for layer in layers) / len(layers),
            relative_l2=None,
            state_error=None,
            layers=layers,
            bits=found.bits,
            reference_bits=exact.bits,
        ),
    )


@dataclass(frozen=True)
class _Reading:
    """What a model makes of segments: bits per byte of each, hidden states [S * L, C]."""

    bits: tuple[float, ...]
    states: Tensor


def _read(model: nn.Module, segments: Tensor) -> _Reading:  # [S, L]
    causal_lm: Any = model
    states = [Side(model).states(segment[None]) for segment in segments]
    head = causal_lm.get_output_embeddings()
    bits = [
        float(bits_to_predict(segment, head(state)))
        for segment, state in zip(segments, states, strict=True)
    ]
    return _Reading(tuple(bits), torch.cat(states))


def _observe(model: nn.Module, deferral: Deferral, segments: Tensor) -> tuple[_Recorder, _Reading]:
    recorder = _Recorder()
    with attached(
        model,
        deferral.planner,
        backend=deferral.backend,
        emission=deferral.emission,
        observe=recorder,
    ):
        reading = _read(model, segments)
    return recorder, reading


def _costs(model: nn.Module, arm: Arm, length: int, flops: int) -> Costs:
    each: Any = model
    with arm.context():
        peak = peak_bytes(arm.call, each.device.type)
    return Costs((length,) * each.config.num_hidden_layers, flops, peak)


def _spared(model: nn.Module, layers: Sequence[LayerSaving], length: int) -> int:
    """Return the FLOPs that the deferred updates of all layers would have taken."""
    spared = 0
    for mixer, layer in zip(mixers(model), layers, strict=True):
        each: Any = mixer
        updates = round(layer.updates_saved * length) * each.intermediate_size
        spared += updates * deferral_spares(each.ssm_state_size)
    return spared
