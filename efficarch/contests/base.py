"""Contests: what is measured, against which reference, with the figures no clock is needed for."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from efficarch.record import CosSim, Quality, Saving, Weights

Call = Callable[[], object]


@dataclass(frozen=True)
class Settings:
    """How a whole session measures."""

    device: str
    dtype: str
    weights: Weights
    locations: dict[str, str | None]
    """Hub id or folder per model name, where the user named one."""
    rounds: int
    """At least so many per cell."""
    seed: int = 0
    timing_only: bool = False
    """Whether CosSim is needed of no more than is timed, as in all but the first pair of a gate."""
    measured_ms: float = 0.0
    """A cell that ``rounds`` do not keep busy for so long gets more of them."""
    subject_alone: bool = False
    """Whether the reference is not timed, as in all but the first pair of a gate in turns."""


@dataclass(frozen=True)
class Arm:
    """One side of a contest: a call, and the context it runs in (entered outside the timing)."""

    call: Call
    context: Callable[[], AbstractContextManager[None]] = nullcontext


@dataclass(frozen=True)
class Costs:
    """What one call costs besides time."""

    tokens: tuple[int, ...]
    flops: int
    peak_bytes: int


@dataclass(frozen=True)
class Contest:
    """A subject against its reference; only the latencies are still open."""

    subject: Arm
    reference: Arm
    costs: Costs
    reference_costs: Costs
    cossim: CosSim
    cossim_items: tuple[float, ...]
    quality: Quality
    items: int
    weights: Weights
    source: str
    backend: str | None = None
    saving: Saving | None = None


@dataclass(frozen=True)
class LengthArm:
    """One side of a scaling contest: what is called at a sequence length, and at which lengths.

    ``build`` prepares the inputs of one length, outside the timing, and returns the call; it is
    also asked for length 1, where the floor is measured. ``flops`` are those of a call at a length.
    A slope is fitted to lengths of ``fitted_from`` and more; shorter ones show where sides cross.
    """

    build: Callable[[int], Call]
    lengths: tuple[int, ...]
    flops: Callable[[int], int]
    fitted_from: int = 1


@dataclass(frozen=True)
class ScalingContest:
    """A subject against its reference over sequence length; the two must share one length.

    ``cossim`` is asked for after the timing; it is that of the subject with its exact twin, at a
    length where that is affordable.
    """

    subject: LengthArm
    reference: LengthArm
    cossim: Callable[[], CosSim]
    batch: int
    weights: Weights
    source: str
    backend: str | None = None
