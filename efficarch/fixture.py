"""The ``bench`` fixture: builds the contest a suite test asks for and measures it."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from efficarch.bench import Result, measure
from efficarch.collection import Line
from efficarch.conditions import Watch
from efficarch.contests.base import Contest, ScalingContest
from efficarch.contests.encoders import Encoders
from efficarch.contests.language import Languages, Stage
from efficarch.contests.mrss import Deferral, model_saving_contest, scan_saving_contest
from efficarch.contests.scans import scan_contest, scan_scaling_contest, ssd_contest
from efficarch.contests.sequences import Sequences
from efficarch.errors import EfficarchError, MissingWeightsError
from efficarch.gate import unmeasured
from efficarch.models.vit import torch_dtype
from efficarch.record import Measurement
from efficarch.reducers.base import Reducer
from efficarch.scan import ScanInputs, parity
from efficarch.scan.backends import Backend, refusal
from efficarch.scan.mrss import Planner, chosen_backend
from efficarch.scan.ssd import SsdBackend, SsdInputs
from efficarch.scan.ssd import parity as ssd_parity
from efficarch.store import plain
from efficarch.sweeping import measure_scaling
from efficarch.timing import Clock
from efficarch.turns import Turns

if TYPE_CHECKING:
    from PIL.Image import Image
    from pytest_benchmark.fixture import BenchmarkFixture

HEAD_DIM = 64
"""Width of an attention head that a scan is compared with, as in CLIP, DINOv2 and most LLMs."""


@dataclass(frozen=True)
class Models:
    """What a session has loaded of each kind, under the same settings."""

    encoders: Encoders
    languages: Languages
    sequences: Sequences


class Bench:
    """Measures the cell of one suite test, through pytest-benchmark."""

    def __init__(
        self,
        line: Line,
        benchmark: "BenchmarkFixture",
        models: Models,
        clock: Clock,
        turns: Turns | None = None,
    ) -> None:
        self._line = line
        self._benchmark = benchmark
        self._encoders = models.encoders
        self._languages = models.languages
        self._sequences = models.sequences
        self._clock = clock
        self._watch = Watch(models.encoders.settings.device)
        self._turns = turns
        self._entered = False
        self._turn: int | None = None

    def __call__(
        self, *, model: str, reducer: Reducer, inputs: "list[Image]", batch: int
    ) -> Result:
        """Measure a reduced encoder against itself dense, on square RGB images.

        Latency is that of the first ``batch`` images; CosSim of the embeddings is over all images.
        Without the model's weights on this machine the test is skipped; weights that were named
        and cannot be loaded are an error.
        """
        self._load(model, self._encoders)
        with torch.inference_mode():
            return self._run(
                self._encoders.contest(model=model, reducer=reducer, images=inputs, batch=batch)
            )

    def generate(
        self,
        *,
        model: str,
        reducer: Reducer,
        inputs: "list[tuple[Image, str]]",
        px: int,
        stage: Stage,
    ) -> Result:
        """Measure a reduced vision-language model against itself dense, on images with prompts.

        ``stage`` is ``prefill`` (the time to the first token) or ``decode`` (one step after it).
        Latency is that of the first image, scaled to ``px`` x ``px``, with its prompt; CosSim of
        the final hidden state is over all. Without weights: as for an encoder.
        """
        self._load(model, self._languages)
        with torch.inference_mode():
            return self._run(
                self._languages.contest(
                    model=model, reducer=reducer, prompts=inputs, px=px, stage=stage
                )
            )

    def sequence(self, *, model: str, backend: str, length: int, stage: Stage) -> Result:
        """Measure a Mamba language model against a Transformer of matched size.

        ``stage`` is ``prefill`` (``length`` tokens to the next one) or ``decode`` (one step after
        ``length`` tokens). ``backend`` is a scan of the table, ``auto``, or ``transformers`` for
        the model's own code, the only one in ``decode``. Without weights: as for an encoder.
        """
        self._load(model, self._sequences)
        with torch.inference_mode():
            return self._run(
                self._sequences.contest(model=model, backend=backend, length=length, stage=stage)
            )

    def layer_scaling(
        self,
        *,
        model: str,
        backend: str,
        lengths: tuple[int, ...],
        reference_lengths: tuple[int, ...],
    ) -> Result:
        """Measure how a whole Mamba layer and one of its reference grow with length.

        Projections, convolution and MLP included, without a cache; ``backend`` is as in
        ``sequence``, ratio and latency as in ``scan_scaling``.
        """
        self._load(model, self._sequences)
        with torch.inference_mode():
            return self.scaling(
                self._sequences.layer_scaling(
                    model=model, backend=backend, lengths=(lengths, reference_lengths)
                )
            )

    def mrss(
        self, *, planner: Planner, inputs: ScanInputs, signal: str, emission: str = "readout"
    ) -> Result:
        """Measure a multi-resolution scan against the plain one on the same inputs and backend.

        ``signal`` says in a word what the inputs are. Planning and emission are timed too; CosSim
        is that of the SSM term, without skip term and gate.
        """
        self._enter()
        row = chosen_backend(inputs, "auto", emission)
        parity.require(row, inputs.u.device.type, inputs.u.dtype)
        with torch.inference_mode():
            deferral = Deferral(planner, row.name, emission)
            return self._run(scan_saving_contest(deferral, inputs, signal=signal))

    def mrss_model(
        self, *, model: str, planner: Planner, segments: Tensor, emission: str = "readout"
    ) -> Result:
        """Measure a byte-level model that defers updates in every layer against itself.

        ``segments`` [S, L] are held-out bytes. Latency is that of a prefill of the first; bits per
        byte are of each, CosSim is that of the final hidden states, by position, over all.
        """
        self._load(model, self._sequences)
        subject, deferral = self._sequences.subject(model), Deferral(planner, "auto", emission)
        with torch.inference_mode():
            return self._run(
                model_saving_contest(
                    subject,
                    deferral,
                    segments.to(self.device),
                    timing_only=self._encoders.settings.timing_only,
                )
            )

    def _load(self, model: str, models: Encoders | Languages | Sequences) -> None:
        """Load outside inference mode, where parameters can still change device and dtype."""
        if model != self._line.cell.model:
            raise EfficarchError(
                f"the test measures {model!r}, its cell is {self._line.cell.id!r}; "
                "parametrize it over model"
            )
        try:
            models.subject(model)
        except MissingWeightsError as error:
            if models.settings.locations.get(model) is not None:
                raise
            pytest.skip(str(error))
        self._enter()

    def _enter(self) -> None:
        """Wait until the other process of a gate's pair has come here too, then for the turn.

        Models are loaded before that, by both at once: nothing is measured meanwhile.
        """
        if self._turns is not None and not self._entered:
            self._turns.enter(self._line.cell.id)
            self._entered = True

    def scan(self, *, backend: Backend, inputs: ScanInputs) -> Result:
        """Measure a selective-scan backend against causal attention of the same width and length.

        ``inputs.channels`` must be a multiple of ``HEAD_DIM``. A backend whose parity is red is not
        timed; one that cannot run these inputs here is skipped, with the reason in the report.
        """
        heads = _heads(inputs)
        self._enter()
        _require(backend, inputs)
        with torch.inference_mode():
            seed = self._encoders.settings.seed
            return self._run(scan_contest(backend, inputs, heads=heads, seed=seed))

    def ssd(self, *, backend: SsdBackend, inputs: SsdInputs) -> Result:
        """Measure a backend of Mamba-2's scan against causal attention of as many, as wide heads.

        What is not timed and what is skipped: as in ``scan``.
        """
        self._enter()
        _skip_unless_able(refusal(backend, inputs) or backend.missing(), backend.name)
        ssd_parity.require(backend, inputs.x.device.type, inputs.x.dtype)
        with torch.inference_mode():
            seed = self._encoders.settings.seed
            return self._run(ssd_contest(backend, inputs, seed=seed))

    def scan_scaling(
        self,
        *,
        backend: Backend,
        inputs: Callable[[int], ScanInputs],
        lengths: tuple[int, ...],
        reference_lengths: tuple[int, ...],
        fitted_from: tuple[int, int] = (1, 1),
    ) -> Result:
        """Measure how a backend and causal attention of the same width grow with length.

        ``inputs`` returns the scan's inputs of a length. Latency and ratio are those at the
        longest length that is in both lists. Slopes are fitted to lengths of ``fitted_from`` (the
        scan's, attention's) and more. What is not timed and what is skipped: as in ``scan``.
        """
        self._enter()
        _require(backend, inputs(1))
        with torch.inference_mode():
            return self.scaling(
                scan_scaling_contest(
                    backend,
                    inputs,
                    lengths=(lengths, reference_lengths),
                    fitted_from=fitted_from,
                    heads=_heads(inputs(1)),
                    seed=self._encoders.settings.seed,
                )
            )

    def scaling(self, contest: ScalingContest) -> Result:
        """Measure how two sides grow with sequence length, in one interleaved sweep."""
        self._enter()
        with torch.inference_mode():
            return self._finish(
                measure_scaling(
                    contest,
                    clock=self._clock,
                    settings=self._encoders.settings,
                    repeat=self._repeat,
                    advance=self._line.odometer.advance,
                )
            )

    @property
    def device(self) -> str:
        """Where to put inputs."""
        return self._encoders.settings.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of inputs."""
        return torch_dtype(self._encoders.settings.dtype)

    def _run(self, contest: Contest) -> Result:
        return self._finish(
            measure(
                contest,
                clock=self._clock,
                settings=self._encoders.settings,
                repeat=self._repeat,
                advance=self._line.odometer.advance,
            )
        )

    def _repeat(self, one_round: Callable[[], None], rounds: int) -> None:
        benchmark: Any = self._benchmark
        benchmark.group = self._line.cell.suite
        turns = self._turns
        meeting = None if turns is None else turns.meet(self._line.cell.id, rounds)

        def watched_round() -> None:
            turn = nullcontext() if turns is None or meeting is None else turns.turn()
            with turn, self._watch:
                one_round()

        benchmark.pedantic(watched_round, rounds=rounds if meeting is None else meeting.rounds)
        if turns is not None and meeting is not None:
            turns.leave()
            self._turn = meeting.turn

    def _finish(self, measurement: Measurement) -> Result:
        line = self._line
        for sentence in unmeasured(measurement, line.limits):
            raise EfficarchError(f"{line.cell.id}: {sentence}")
        partners = 0 if self._turn is None else 1
        line.measurement = measurement = replace(
            measurement, conditions=self._watch.conditions(partners), turn=self._turn
        )
        self._benchmark.extra_info["efficarch"] = {
            "cell": line.cell.id,
            "measurement": plain(measurement),
        }
        return Result(measurement, line.limits)


def _require(backend: Backend, inputs: ScanInputs) -> None:
    _skip_unless_able(refusal(backend, inputs) or backend.missing(), backend.name)
    parity.require(backend, inputs.u.device.type, inputs.u.dtype)


def _skip_unless_able(reason: str | None, name: str) -> None:
    if reason is not None:
        pytest.skip(f"backend {name!r} cannot run: {reason}")


def _heads(inputs: ScanInputs) -> int:
    heads = inputs.channels // HEAD_DIM
    if heads * HEAD_DIM != inputs.channels:
        raise EfficarchError(
            f"{inputs.channels} channels do not split into heads of {HEAD_DIM}; "
            f"use a multiple of {HEAD_DIM}"
        )
    return heads
