"""Mamba language models against a Transformer of as many parameters, layers and channels.

# L length, C channels
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from efficarch.contests.base import Arm, Contest, Costs, LengthArm, ScalingContest, Settings
from efficarch.contests.language import STAGES, Stage
from efficarch.contests.sequence_sides import Side, flops_of, layer_call, layer_flops
from efficarch.errors import EfficarchError, UnknownNameError
from efficarch.models import model_row
from efficarch.models.base import SequenceSubject, WeightsRequest
from efficarch.models.transformer import matched_transformer, parameter_count
from efficarch.models.vit import torch_dtype
from efficarch.probe import peak_bytes
from efficarch.quality import cosine_rows, summarise
from efficarch.record import CosSim, Quality
from efficarch.scan.backends import BACKENDS
from efficarch.scan.layer_scans import OWN, BackendRun, foreign_kernels, oracle_scans
from efficarch.scan.ssd import SSD_BACKENDS

CHECKED_LENGTH = 384
"""CosSim is taken at this length, or at the cell's where that is shorter: the oracle is slow. One
and a half chunks of Mamba-2."""
CHECKED_AGAIN = 32
"""The same of a prefill in a session that only times; the gate tells it by its fewer positions."""

METHODS = (OWN, "auto", *dict.fromkeys((*BACKENDS, *SSD_BACKENDS)))


@dataclass(frozen=True)
class _Pair:
    """A loaded model, its matched Transformer, and the model's exact hidden states by length."""

    name: str
    subject: SequenceSubject
    reference: nn.Module
    exact: dict[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class _Call:
    """What is timed on one side, and the memory its cache holds before the call."""

    model: nn.Module
    arm: Arm
    held_bytes: int = 0


@dataclass
class Sequences:
    """The sequence model in use and its reference; asking for another model releases both."""

    settings: Settings
    _pair: _Pair | None = None

    def subject(self, model: str) -> SequenceSubject:
        """Load a model on first use, in the session's dtype and on its device."""
        return self._loaded(model).subject

    def contest(self, *, model: str, backend: str, length: int, stage: Stage) -> Contest:
        """Set a Mamba, its scans on ``backend``, against the matched Transformer.

        ``prefill`` takes ``length`` token ids to the logits of the last one, state or cache
        included. ``decode`` is one token after ``length`` others, always on the cache those left;
        it is the model's own step, whatever the scan, so its backend is ``transformers``. The peak
        memory of a step includes the cache it works on.

        CosSim is that of the final hidden states with those on the float64 oracle: of every
        position of a prefill of ``CHECKED_LENGTH`` (of ``CHECKED_AGAIN`` in a session that only
        times), or of one token after it. The reference has other, random weights: it stands for
        latency, memory and FLOPs alone.

        Raises:
            EfficarchError: an unknown stage or backend, a length below 1, a ``decode`` on another
                backend than ``transformers``, or a backend that cannot run here or is wrong.
        """
        _check(backend, length, stage)
        pair = self._loaded(model)
        run = None if backend == OWN else BackendRun(backend)
        subject, reference = Side(pair.subject.model, run), Side(pair.reference)
        ids = self._token_ids(pair.subject, length + 1)  # [1, L + 1]
        call = _prefill if stage == "prefill" else _decode
        mine, theirs = call(subject, ids), call(reference, ids)
        again = self.settings.timing_only and stage == "prefill"
        checked = CHECKED_AGAIN if again else CHECKED_LENGTH
        similarity = self._similarity(pair, subject, min(length, checked), stage)
        tokens, context = (length, 0) if stage == "prefill" else (1, length)
        return Contest(
            subject=mine.arm,
            reference=theirs.arm,
            costs=self._costs(mine, tokens, context),
            reference_costs=self._costs(theirs, tokens, context),
            cossim=summarise(similarity),
            cossim_items=(),
            quality=Quality(),
            items=tokens,
            weights=pair.subject.weights,
            # the stage tells items apart that do not pair up
            source=_source(pair, f"{stage} at {length} seeded token ids"),
            backend=_used(pair, run),
        )

    def layer_scaling(
        self, *, model: str, backend: str, lengths: tuple[tuple[int, ...], tuple[int, ...]]
    ) -> ScalingContest:
        """Set the first layer of a Mamba against that of its reference over sequence length.

        A layer takes hidden states [1, L, C] to hidden states, without a cache. ``lengths`` are the
        Mamba's and the reference's. CosSim is that with the float64 oracle, by position, at the
        shortest length.
        """
        _check(backend, min(lengths[0]), "prefill")
        pair = self._loaded(model)
        run = None if backend == OWN else BackendRun(backend)
        subject, reference = Side(pair.subject.model, run), Side(pair.reference)
        self._layer(subject, 1)()  # chooses the backend before anything is timed
        return ScalingContest(
            subject=self._layer_arm(subject, lengths[0]),
            reference=self._layer_arm(reference, lengths[1]),
            cossim=lambda: self._layer_cossim(subject, lengths[0][0]),
            batch=1,
            weights=pair.subject.weights,
            source=_source(pair, "one layer without cache, seeded hidden states"),
            backend=_used(pair, run),
        )

    def _layer(self, side: Side, length: int) -> Callable[[], Tensor]:
        return layer_call(side, self._hidden(side.model, length))

    def _layer_arm(self, side: Side, lengths: tuple[int, ...]) -> LengthArm:
        return LengthArm(
            build=lambda length: self._layer(side, length),
            lengths=lengths,
            flops=lambda length: layer_flops(side.model, tokens=length),
        )

    def _layer_cossim(self, side: Side, length: int) -> CosSim:
        with oracle_scans(side.model):
            exact = self._layer(Side(side.model), length)()  # [1, L, C]
        return summarise(cosine_rows(self._layer(side, length)()[0], exact[0]))

    def _loaded(self, model: str) -> _Pair:
        if self._pair is None or self._pair.name != model:
            self._pair = None  # released before the next one is loaded
            settings = self.settings
            location = settings.locations.get(model)
            loaded = model_row(model).load(
                WeightsRequest(settings.weights, location, settings.seed)
            )
            if not isinstance(loaded, SequenceSubject):
                raise EfficarchError(
                    f"{model} is no language model over token ids alone; use bench(...) or "
                    "bench.generate(...)"
                )
            _refuse_foreign(loaded.model, settings.device)
            reference = matched_transformer(loaded.model, settings.seed)
            for each in (loaded.model, reference):
                each.to(device=settings.device, dtype=torch_dtype(settings.dtype))
            self._pair = _Pair(model, loaded, reference)
        return self._pair

    def _token_ids(self, subject: SequenceSubject, count: int) -> Tensor:  # [1, count]
        config: Any = subject.model.config
        rng = torch.Generator().manual_seed(self.settings.seed)
        drawn = torch.randint(config.vocab_size, (1, count), generator=rng)
        return drawn.to(self.settings.device)

    def _hidden(self, model: nn.Module, length: int) -> Tensor:  # [1, L, C]
        config: Any = model.config
        rng = torch.Generator().manual_seed(self.settings.seed)
        drawn = torch.randn(1, length, config.hidden_size, generator=rng)
        return drawn.to(self.settings.device, torch_dtype(self.settings.dtype))

    def _similarity(self, pair: _Pair, side: Side, length: int, stage: Stage) -> Tensor:
        ids = self._token_ids(pair.subject, length + 1)  # [1, L + 1]
        if length not in pair.exact:
            with oracle_scans(side.model):
                pair.exact[length] = Side(side.model).states(ids)  # [L + 1, C]
        exact = pair.exact[length]
        if stage == "prefill":
            return cosine_rows(side.states(ids[:, :-1]), exact[:-1])
        context = _fast(side).after(ids[:, :-1])
        return cosine_rows(side.next_state(ids[:, -1:], context), exact[-1:])

    def _costs(self, call: _Call, tokens: int, context: int) -> Costs:
        config: Any = call.model.config
        with call.arm.context():
            peak = peak_bytes(call.arm.call, self.settings.device)
        return Costs(
            tokens=(tokens + context,) * config.num_hidden_layers,
            flops=flops_of(call.model, tokens=tokens, context=context),
            peak_bytes=call.held_bytes + peak,
        )


def _check(backend: str, length: int, stage: Stage) -> None:
    if stage not in STAGES:
        raise EfficarchError(f"stage is {stage!r}; choose 'prefill' or 'decode'")
    if backend not in METHODS:
        raise UnknownNameError.of("backend", backend, list(METHODS))
    if length < 1:
        raise EfficarchError(f"length is {length}; give at least 1 token")
    if stage == "decode" and backend != OWN:
        raise EfficarchError(
            f"backend is {backend!r}, but a decode step runs no scan: the model's own code updates "
            f"the state; use backend {OWN!r}"
        )


def _refuse_foreign(model: nn.Module, device: str) -> None:
    foreign = foreign_kernels(model)
    if device == "cpu" and foreign:
        packages = " and ".join(sorted(set(foreign.values())))
        raise EfficarchError(
            f"transformers takes {', '.join(sorted(foreign))} from {packages}, which cannot run on "
            "the CPU; uninstall the package or measure on CUDA"
        )


def _used(pair: _Pair, run: BackendRun | None) -> str | None:
    """Return what ran the scans; the model's own code is torch unless a package is installed."""
    if run is not None:
        return run.used
    packages = sorted(set(foreign_kernels(pair.subject.model).values()))
    return f"{OWN} with {', '.join(packages)}" if packages else OWN


def _prefill(side: Side, ids: Tensor) -> _Call:
    return _Call(side.model, side.prefill(ids[:, :-1]))


def _decode(side: Side, ids: Tensor) -> _Call:
    context = _fast(side).after(ids[:, :-1])
    return _Call(side.model, side.step(ids[:, -1:], context), context.held_bytes)


def _fast(side: Side) -> Side:
    """Return the side as a context is best prepared: the Mamba of transformers takes minutes."""
    return Side(side.model, BackendRun("auto")) if side.is_mamba else side


def _source(pair: _Pair, what: str) -> str:
    mine, theirs = (parameter_count(each) / 1e6 for each in (pair.subject.model, pair.reference))
    return (
        f"{pair.subject.source}; {what}; {mine:.2f} M parameters against a Llama of {theirs:.2f} M "
        "with random weights"
    )
