"""The ``bench`` fixture: builds the contest a suite test asks for and measures it."""

from typing import TYPE_CHECKING, Any

import pytest
import torch

from efficarch.bench import Result, measure
from efficarch.collection import Line
from efficarch.contests.base import Contest
from efficarch.contests.encoders import Encoders
from efficarch.contests.language import Languages, Stage
from efficarch.contests.scans import scan_contest
from efficarch.errors import EfficarchError, MissingWeightsError
from efficarch.models.vit import torch_dtype
from efficarch.reducers.base import Reducer
from efficarch.scan import ScanInputs, parity
from efficarch.scan.backends import Backend
from efficarch.store import plain
from efficarch.timing import Clock

if TYPE_CHECKING:
    from PIL.Image import Image
    from pytest_benchmark.fixture import BenchmarkFixture

HEAD_DIM = 64
"""Width of an attention head that a scan is compared with, as in CLIP, DINOv2 and most LLMs."""


class Bench:
    """Measures the cell of one suite test, through pytest-benchmark."""

    def __init__(
        self,
        line: Line,
        benchmark: "BenchmarkFixture",
        encoders: Encoders,
        languages: Languages,
        clock: Clock,
    ) -> None:
        self._line = line
        self._benchmark = benchmark
        self._encoders = encoders
        self._languages = languages
        self._clock = clock

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

    def _load(self, model: str, models: Encoders | Languages) -> None:
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

    def scan(self, *, backend: Backend, inputs: ScanInputs) -> Result:
        """Measure a selective-scan backend against causal attention of the same width and length.

        ``inputs.channels`` must be a multiple of ``HEAD_DIM``. A backend whose parity is red is not
        timed.
        """
        heads = inputs.channels // HEAD_DIM
        if heads * HEAD_DIM != inputs.channels:
            raise EfficarchError(
                f"{inputs.channels} channels do not split into heads of {HEAD_DIM}; "
                f"use a multiple of {HEAD_DIM}"
            )
        parity.require(backend, inputs.u.device.type, inputs.u.dtype)
        with torch.inference_mode():
            seed = self._encoders.settings.seed
            return self._run(scan_contest(backend, inputs, heads=heads, seed=seed))

    @property
    def device(self) -> str:
        """Where to put inputs."""
        return self._encoders.settings.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of inputs."""
        return torch_dtype(self._encoders.settings.dtype)

    def _run(self, contest: Contest) -> Result:
        benchmark: Any = self._benchmark
        settings = self._encoders.settings
        benchmark.group = self._line.cell.suite
        measurement = measure(
            contest,
            clock=self._clock,
            settings=settings,
            repeat=lambda one_round: benchmark.pedantic(one_round, rounds=settings.rounds),
            advance=self._line.odometer.advance,
        )
        self._line.measurement = measurement
        benchmark.extra_info["efficarch"] = {
            "cell": self._line.cell.id,
            "measurement": plain(measurement),
        }
        return Result(measurement, self._line.limits)
