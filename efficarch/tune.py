"""Equal latency: for each method, the schedule of highest CosSim that meets one latency.

A keep ratio means another amount of work to every method, so methods are compared at one measured
latency. The search runs on half of the images; the figures it reports come from the other half.

For every choice of hyper-parameters, ``keep`` is solved for so that the method costs a given share
of the dense model's FLOPs; CosSim on the tuning half decides between the choices. The latency of
the best is measured in rounds paired with the dense model, and its share corrected until it meets
the goal: what a method spends on selecting shows in its latency, not in its FLOPs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, prod
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.storages.journal import JournalFileBackend
from PIL.Image import Image

from efficarch.bench import measure
from efficarch.contests.encoders import Encoders
from efficarch.errors import EfficarchError
from efficarch.record import Measurement
from efficarch.reducers import REDUCERS, Method
from efficarch.timing import Clock
from efficarch.tuned import Tuned

STEPS = 1000
"""Keep ratios are solved for in thousandths."""
LOWEST = 20
CORRECTIONS = 8
STRIDE = 1.1
"""Most that one correction may change the share of FLOPs by."""
TOLERANCE = 0.03
"""How far below the goal a measured ratio may lie and still count as meeting it."""
OVERHEAD = 1.13
"""Ratio of latency to FLOPs, both relative to dense, that a search begins with."""


@dataclass(frozen=True)
class Goal:
    """What to tune for.

    ``latency_ratio`` is relative to the dense model; ``trials`` is the number of choices of
    hyper-parameters tried per method.
    """

    model: str
    latency_ratio: float
    batch: int
    trials: int
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.latency_ratio < 1:
            raise EfficarchError(
                f"latency ratio is {self.latency_ratio}; it must lie between 0 and 1, for "
                "instance 0.5 for half the dense model's latency"
            )
        for name in ("trials", "batch"):
            if getattr(self, name) < 1:
                raise EfficarchError(f"{name} is {getattr(self, name)}; it must be at least 1")


@dataclass(frozen=True)
class Found:
    """A configuration whose measured latency met the goal."""

    tuned: Tuned
    measurement: Measurement


@dataclass(frozen=True)
class Outcome:
    """What became of one method: what was found, with held-out figures, or why nothing was."""

    method: str
    found: Found | None
    reason: str = ""


def candidates(model: str, names: Sequence[str]) -> list[Method]:
    """Return the methods to tune: those named, or every row with a keep ratio that suits a model.

    The exact tail costs no quality, so every method is joined with it where the model has CLS.

    Raises:
        EfficarchError: a method that is unknown, has no keep ratio or does not suit the model.
    """
    fitting = [row for row in REDUCERS if row.takes_keep and model in row.models]
    tail = REDUCERS["exact-tail"]
    chosen = [REDUCERS[name] for name in names] if names else fitting
    for row in chosen:
        if not row.takes_keep or model not in row.models:
            known = ", ".join(row.name for row in fitting)
            raise EfficarchError(
                f"{row.name} cannot be tuned on {model}; choose among: {known or 'none'}"
            )
    joins = model in tail.models
    return [row | tail if joins and "exact-tail" not in row.name else row for row in chosen]


@dataclass(frozen=True)
class Search:
    """The model, the images and the clock that methods are tuned with."""

    goal: Goal
    encoders: Encoders
    clock: Clock
    tuning: list[Image]
    held_out: list[Image]
    journal: Path
    """Of trials: a search that was cut short goes on where it stopped."""

    def run(self, methods: Sequence[Method]) -> Iterator[Outcome]:
        """Tune one method after the other."""
        self.encoders.subject(self.goal.model)
        for method in methods:
            try:
                with torch.inference_mode():
                    yield self._tune(method)
            except EfficarchError as error:
                yield Outcome(method.name, None, str(error))

    def _tune(self, method: Method) -> Outcome:
        share = self.goal.latency_ratio / OVERHEAD
        options = self._best_options(method, share)
        found = self._meet(method, options, share)
        return Outcome(found.tuned.name, found)

    def _meet(self, method: Method, options: Mapping[str, Any], share: float) -> Found:
        """Correct the share of FLOPs until the measured latency meets the goal.

        Raises:
            EfficarchError: it did not within ``CORRECTIONS`` attempts; names the last ratio.
        """
        goal, built = self.goal, method.variant(method.name, options)
        too_fast, too_slow = 0.0, inf
        ratio = keep = 0.0
        for _ in range(CORRECTIONS):
            keep = self._solve_keep(built, share)
            measured = self._measure(built, keep)
            ratio = measured.ratio.value
            if goal.latency_ratio - TOLERANCE <= ratio <= goal.latency_ratio:
                tuned = Tuned(goal.model, method.name, goal.latency_ratio, keep, dict(options))
                return Found(tuned, measured)
            if ratio > goal.latency_ratio:
                too_slow = min(too_slow, share)
            else:
                too_fast = max(too_fast, share)
            share = _next_share(share, too_fast, too_slow, aim=self._aim() / ratio)
        raise EfficarchError(
            f"{method.name} met no latency ratio of {goal.latency_ratio - TOLERANCE:.3f} to "
            f"{goal.latency_ratio:g} in {CORRECTIONS} attempts; the last, keep {keep:g}, gave "
            f"{ratio:.3f}: choose a ratio nearer to 1 or a quieter machine"
        )

    def _aim(self) -> float:
        """Return the middle of the latency ratios that meet the goal."""
        return self.goal.latency_ratio - TOLERANCE / 2

    def _best_options(self, method: Method, share: float) -> dict[str, Any]:
        """Return the hyper-parameters of highest mean CosSim on the tuning half."""
        choices = method.parts[0].kind().choices
        fixed = method.parts[0].options
        free = {name: values for name, values in choices.items() if name not in fixed}
        study = self._study(method.name, free)
        left = min(self.goal.trials, _size(free)) - len(study.get_trials(states=_FINISHED))
        if left > 0:
            study.optimize(
                lambda trial: self._try(method, free, share, trial),
                n_trials=left,
                catch=(EfficarchError,),
                show_progress_bar=True,
            )
        done = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
        if not done:
            raise EfficarchError(
                f"no schedule of {method.name} costs as little as {share:.2f} of the dense FLOPs; "
                "choose a latency ratio nearer to 1"
            )
        return _options(study.best_params, free)

    def _study(self, method: str, choices: Mapping[str, tuple[Any, ...]]) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        seed = self.goal.seed
        backend = JournalFileBackend(str(self.journal))
        return optuna.create_study(
            direction="maximize",
            study_name=f"{method}@{self.goal.latency_ratio:g} on {self.goal.model}, "
            f"batch {self.goal.batch}, seed {seed}",
            # where there are trials for every choice, none is tried twice
            sampler=optuna.samplers.GridSampler(_labels(choices), seed)
            if choices and _size(choices) <= self.goal.trials
            else optuna.samplers.TPESampler(seed=seed),
            storage=optuna.storages.JournalStorage(backend),
            load_if_exists=True,
        )

    def _try(
        self,
        method: Method,
        choices: Mapping[str, tuple[Any, ...]],
        share: float,
        trial: optuna.Trial,
    ) -> float:
        picked = {
            name: trial.suggest_categorical(name, labels)
            for name, labels in _labels(choices).items()
        }
        built = method.variant(method.name, _options(picked, choices))
        reducer = built(self._solve_keep(built, share))
        goal = self.goal
        similarity = self.encoders.similarity(
            model=goal.model, reducer=reducer, images=self.tuning, batch=goal.batch
        )
        return float(similarity.mean())

    def _solve_keep(self, method: Method, share: float) -> float:
        """Return the largest keep ratio, to a thousandth, that costs at most a share of FLOPs.

        Raises:
            EfficarchError: even the lowest costs more.
        """

        def affordable(step: int) -> bool:
            reducer, image = method(step / STEPS), self.tuning[0]
            model = self.goal.model
            return self.encoders.flops_share(model=model, reducer=reducer, image=image) <= share

        low, high = LOWEST, STEPS
        if not affordable(low):
            raise EfficarchError(
                f"{method.name} costs more than {share:.2f} of the dense FLOPs even at keep "
                f"{LOWEST / STEPS:g}; choose a latency ratio nearer to 1"
            )
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if affordable(middle) else (low, middle)
        return low / STEPS

    def _measure(self, method: Method, keep: float) -> Measurement:
        """Measure on the held-out half; latency is that of its first images."""
        goal, settings = self.goal, self.encoders.settings
        return measure(
            self.encoders.contest(
                model=goal.model, reducer=method(keep), images=self.held_out, batch=goal.batch
            ),
            clock=self.clock,
            settings=settings,
            repeat=_repeat,
            advance=lambda _latency_ms: None,
        )


_FINISHED = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.FAIL)


def _next_share(share: float, too_fast: float, too_slow: float, *, aim: float) -> float:
    """Return the share of FLOPs to try next: between what was too fast and too slow, if both are.

    Until then, by the factor ``aim``, but not far: one disturbed measurement must not lead astray.
    """
    if 0 < too_fast < too_slow < inf:
        return (too_fast + too_slow) / 2
    return share * min(max(aim, 1 / STRIDE), STRIDE)


def _size(choices: Mapping[str, tuple[Any, ...]]) -> int:
    return prod(len(values) for values in choices.values())


def _labels(choices: Mapping[str, tuple[Any, ...]]) -> dict[str, list[str]]:
    """Return what an optimiser can store in place of the values."""
    return {name: [repr(value) for value in values] for name, values in choices.items()}


def _repeat(one_round: Callable[[], None], rounds: int) -> None:
    for _ in range(rounds):
        one_round()


def _options(picked: Mapping[str, Any], choices: Mapping[str, tuple[Any, ...]]) -> dict[str, Any]:
    """Turn the labels that an optimiser stores back into the values they stand for."""
    return {
        name: next(value for value in choices[name] if repr(value) == label)
        for name, label in picked.items()
    }
