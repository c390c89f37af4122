"""Who decides which tokens are deferred: by a score, by chance, by place, or as the tokens come.

Scores say what deferring a token costs (`scores`); the planners here turn that into a plan that
keeps the rules of `Plan`. A new score is one row of `scores`, a new kind of planner one class here.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from efficarch.errors import EfficarchError, UnknownNameError
from efficarch.scan.base import ScanInputs
from efficarch.scan.mrss.plan import MAX_RUN, Plan, check_saving
from efficarch.scan.mrss.scores import SCORES, Score

# B batch, L length


class Planner(Protocol):
    """Decides which updates of a scan wait. ``causal`` plans look at no token of the future."""

    @property
    def name(self) -> str:
        """What tables and files call it."""
        ...

    @property
    def causal(self) -> bool:
        """Whether the plan up to a token depends on nothing behind it."""
        ...

    @property
    def saving(self) -> float:
        """The share of the state updates it is to save."""
        ...

    def plan(self, inputs: ScanInputs) -> Plan:
        """Return the plan for these inputs."""
        ...


@dataclass(frozen=True)
class Lowest:
    """Defers the tokens of lowest score in each row: exactly ``floor(saving * L)`` of them.

    Fewer only where the rules of a plan leave no more. Sees the whole sequence.
    """

    score: Score
    saving: float
    causal: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_saving(self.saving)

    @property
    def name(self) -> str:
        """The name of its score."""
        return self.score.name

    def plan(self, inputs: ScanInputs) -> Plan:
        """Return the plan for these inputs."""
        return Plan(defer_lowest(self.score.of(inputs), self.saving))


@dataclass(frozen=True)
class Random:
    """Defers tokens by chance: the same ones for every input of a length, whatever is in it."""

    saving: float
    seed: int = 0
    name: ClassVar[str] = "random"
    causal: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_saving(self.saving)

    def plan(self, inputs: ScanInputs) -> Plan:
        """Return the plan for these inputs."""
        rng = torch.Generator().manual_seed(self.seed)
        scores = torch.rand(inputs.u.shape[0], inputs.length, generator=rng)
        return Plan(defer_lowest(scores, self.saving).to(inputs.u.device))


@dataclass(frozen=True)
class Stride:
    """Defers tokens evenly: the t-th when ``floor(t * saving)`` steps up."""

    saving: float
    name: ClassVar[str] = "stride"
    causal: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_saving(self.saving)

    def plan(self, inputs: ScanInputs) -> Plan:
        """Return the plan for these inputs."""
        return _evenly(self.saving, inputs.u.shape[0], inputs.length, inputs.u.device)


@dataclass(frozen=True)
class Nothing:
    """Defers nothing: the plain scan, by way of a plan."""

    saving: float = 0.0
    name: ClassVar[str] = "none"
    causal: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.saving:
            raise ValueError(f"saving is {self.saving}, planner 'none' defers nothing; use 0")

    def plan(self, inputs: ScanInputs) -> Plan:
        """Return the plan for these inputs."""
        shape = (inputs.u.shape[0], inputs.length)
        return Plan(torch.zeros(shape, dtype=torch.bool, device=inputs.u.device))


@dataclass(frozen=True)
class Threshold:
    """Defers as the tokens come: those whose score is below a threshold known beforehand.

    Looks at a token and the one before it. How much it saves depends on the tokens; ``saving`` is
    what it saved on those it was calibrated with.
    """

    score: Score
    below: float
    saving: float
    causal: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_saving(self.saving)
        if not self.score.causal:
            causal = ", ".join(row.name for row in SCORES.values() if row.causal)
            raise ValueError(
                f"score {self.score.name!r} looks at later tokens, which a threshold must not; "
                f"use one of {causal}"
            )

    @classmethod
    def calibrated(
        cls, score: Score, inputs: Iterable[ScanInputs], *, saving: float
    ) -> "Threshold":
        """Return the threshold that saves about ``saving`` of the updates on some inputs.

        The planner's own ``saving`` is what the threshold really saves on them, which differs from
        the one asked for where many tokens have the same score.

        Raises:
            ValueError: a saving that no plan reaches, no inputs, or a score that is not causal.
        """
        check_saving(saving)
        scores = [score.of(each).detach() for each in inputs]  # [B, L] each
        if not scores:
            raise ValueError("no inputs to calibrate a threshold with; give at least one")
        values = torch.cat([each.flatten() for each in scores]).sort().values
        low, high = 0, len(values)
        while low < high:  # the lowest place whose score, as a threshold, saves enough
            middle = (low + high) // 2
            if _share(scores, float(values[middle])) < saving:
                low = middle + 1
            else:
                high = middle
        below = float(values[min(low, len(values) - 1)])
        return cls(score, below, _share(scores, below))

    @property
    def name(self) -> str:
        """The name of its score, and that it is a threshold."""
        return f"{self.score.name}-threshold"

    def plan(self, inputs: ScanInputs) -> Plan:
        """Return the plan for these inputs."""
        return Plan(_below(self.score.of(inputs), self.below))


@dataclass(frozen=True)
class PlannerRow:
    """A planner as tables name it; ``build`` takes the saving."""

    name: str
    build: Callable[[float], Planner]
    summary: str
    source: str


_ROWS = (
    PlannerRow("none", Nothing, "defers nothing", "control"),
    PlannerRow("random", Random, "a seeded random choice", "control"),
    PlannerRow("stride", Stride, "evenly spaced tokens", "control"),
    *(
        PlannerRow(score.name, partial(Lowest, score), score.summary, score.source)
        for score in SCORES.values()
    ),
)

PLANNERS: Mapping[str, PlannerRow] = {row.name: row for row in _ROWS}


def planner(name: str, saving: float) -> Planner:
    """Return the planner called ``name`` for a saving.

    Raises:
        UnknownNameError: no planner has this name.
        ValueError: a saving that no plan reaches.
    """
    if name not in PLANNERS:
        raise UnknownNameError.of("planner", name, list(PLANNERS))
    return PLANNERS[name].build(saving)


def defer_lowest(scores: Tensor, saving: float) -> Tensor:  # [B, L] -> [B, L]
    """Return which tokens of each row are deferred, boolean: ``floor(saving * L)`` of low score.

    The lowest-scored tokens are candidates, as many of them as leave that number when every
    ``MAX_RUN``-th of a chain is committed. One candidate more never defers fewer and at most one
    more, so a bisection finds the exact number.

    Raises:
        EfficarchError: a score that is not a number.
    """
    if bool(scores.isnan().any()):
        raise EfficarchError(
            f"scores of shape {tuple(scores.shape)} contain NaN; look for NaN in the inputs"
        )
    rows, length = scores.shape
    inner = max(length - 2, 0)
    wanted = min(int(saving * length), inner - inner // MAX_RUN)
    rank = torch.full((rows, length), length, device=scores.device)
    order = scores[:, 1:-1].argsort(dim=-1, stable=True)
    rank[:, 1:-1].scatter_(1, order, torch.arange(inner, device=scores.device).expand(rows, -1))
    low = torch.full((rows, 1), wanted, device=scores.device)
    # no more than one in MAX_RUN of the candidates is committed
    high = low + -(-wanted // (MAX_RUN - 1))
    while bool((low < high).any()):
        middle = (low + high) // 2
        enough = _broken(rank < middle).sum(-1, keepdim=True) >= wanted
        low, high = torch.where(enough, low, middle + 1), torch.where(enough, middle, high)
    return _broken(rank < low)


# kept plans outlive the context they were made in, so they must not be inference tensors
@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _evenly(saving: float, rows: int, length: int, device: torch.device) -> Plan:
    places = torch.arange(length + 1, dtype=torch.float64, device=device)
    deferred = (places * saving).floor().diff() > 0  # [L]
    deferred[[0, -1]] = False
    return Plan(deferred.repeat(rows, 1))


def _below(scores: Tensor, threshold: float) -> Tensor:  # [B, L] -> [B, L]
    candidates = scores < threshold
    candidates[:, (0, -1)] = False
    return _broken(candidates)


def _share(scores: list[Tensor], threshold: float) -> float:
    """Return the share of all tokens that a threshold defers."""
    deferred = sum(int(_below(each, threshold).sum()) for each in scores)
    return deferred / sum(each.numel() for each in scores)


def _broken(candidates: Tensor) -> Tensor:  # [B, L] -> [B, L]
    """Commit every ``MAX_RUN``-th token of a chain of candidates, looking back only."""
    places = torch.arange(candidates.shape[1], device=candidates.device)
    committed = torch.where(candidates, -1, places).cummax(dim=-1).values
    return candidates & ((places - committed) % MAX_RUN != 0)
