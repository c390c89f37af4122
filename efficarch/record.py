"""The plain data of a run: what was measured, on which machine, under which limits.

Everything is frozen and knows nothing of files, torch or pytest. ``SCHEMA`` is the version of the
JSON these records are stored as:

1: first version (cells, measurements with raw rounds, limits, machine).
2: a measurement also has ``cossim_items``, ``quality`` and ``pairs_per_round``. A file of version 1
   reads as if no image and no companion had been recorded; its rounds are one pair each.
3: a measurement also has ``backend``, ``scaling`` and ``saving``; limits also have ``cossim_p5``,
   ``bits_lost``, ``slope`` and ``reference_slope``. In older files all of them are ``None``.
4: a measurement also has ``conditions`` and ``turn``; a machine ``persistence`` and ``mig``. In
   older files all of them are ``None``.
5: a measurement's ``reference_ms`` and ``ratio`` are called ``timed_reference_ms`` and
   ``timed_ratio`` and may be ``None``: the later pairs of a gate time the subject alone.
"""

from dataclasses import dataclass
from enum import Enum

from efficarch.errors import EfficarchError

SCHEMA = 5

DTYPES = ("float32", "bfloat16", "float16")
DEVICES = ("cpu", "cuda")


class Weights(Enum):
    """Where a cell's parameters come from; every row of every report says which."""

    PRETRAINED = "pretrained"
    RANDOM = "random"
    """Seeded: right for latency, memory and FLOPs, meaningless for quality."""
    NONE = "none"
    """The cell has no parameters (an operator on synthetic input)."""


class Status(Enum):
    """What became of a collected cell."""

    PASSED = "passed"
    FAILED = "failed"
    """Measured, and an assertion of the suite test did not hold."""
    ERROR = "error"
    """Raised, ran out of memory or lacked its input: no measurement."""
    SKIPPED = "skipped"
    NOT_RUN = "not run"
    """The run ended before this cell's turn."""


@dataclass(frozen=True)
class Cell:
    """One parametrized case. ``id`` is stable, readable and unique within a run."""

    id: str
    suite: str
    model: str
    method: str
    keep: float | None
    length: int | None
    batch: int
    dtype: str
    device: str


@dataclass(frozen=True)
class Estimate:
    """A median, or where it says so a mean, with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class CosSim:
    """Cosine similarity to the reference over the evaluated items (images or tokens)."""

    mean: float
    p5: float
    minimum: float
    items: int


@dataclass(frozen=True)
class Quality:
    """Companions of CosSim, shown beside it and never gated; ``None`` where not measured.

    Of encoders: ``centred`` is the mean CosSim after the reference embeddings' mean was taken off
    both sides; ``unrelated`` the mean CosSim of dense embeddings of different images, the floor a
    useless method would reach; ``retrieval`` the share of images whose reduced embedding finds its
    own dense one first (R@1); ``agreement`` and ``divergence_nats`` compare zero-shot predictions
    with the dense model's (share of equal top-1, mean KL(dense || reduced)); ``accuracy_kept`` is
    zero-shot accuracy on labelled images over the dense model's.

    Of language models: ``next_token_agreement`` (share of prompts with the same first token),
    ``next_token_nats`` and ``answer_nats``: KL(dense || reduced) of the next token after the
    prompt, and its mean along the dense model's greedy answer.
    """

    centred: float | None = None
    unrelated: float | None = None
    retrieval: float | None = None
    agreement: float | None = None
    divergence_nats: float | None = None
    accuracy_kept: float | None = None
    next_token_agreement: float | None = None
    next_token_nats: float | None = None
    answer_nats: float | None = None


@dataclass(frozen=True)
class Sweep:
    """Latencies over sequence length; ``rounds_ms[i]`` are the rounds at ``lengths[i]``.

    The lengths of both sides of a cell were measured interleaved, in a new random order each round.
    """

    lengths: tuple[int, ...]
    rounds_ms: tuple[tuple[float, ...], ...]
    floor_ms: float
    """Latency at length 1: what a call costs before it computes anything."""
    fitted_from: int = 1
    """Shortest length a slope may be fitted to, as the suite stated before it ran."""


@dataclass(frozen=True)
class Scaling:
    """How latency grows with sequence length, raw; slopes are fitted by ``efficarch.scaling``."""

    subject: Sweep
    reference: Sweep


@dataclass(frozen=True)
class LayerSaving:
    """What deferring updates did to one layer: CosSim is that of its SSM term, by token."""

    layer: int
    updates_saved: float
    cossim: CosSim


@dataclass(frozen=True)
class Saving:
    """What a multi-resolution scan saved and what it cost in exactness.

    ``updates_saved`` is 1 - executed / all state updates; ``relative_l2`` and ``state_error`` are
    relative errors of the SSM term (without skip term and gate) and of the final state.
    ``bits`` are bits per byte of each held-out segment, ``reference_bits`` the exact model's on the
    same ones; empty where no language model was measured.
    """

    updates_saved: float
    relative_l2: float | None
    state_error: float | None
    layers: tuple[LayerSaving, ...]
    bits: tuple[float, ...]
    reference_bits: tuple[float, ...]

    @property
    def bits_lost(self) -> float | None:
        """Mean bits per byte lost over the segments; ``None`` where there are none."""
        if not self.bits:
            return None
        return (sum(self.bits) - sum(self.reference_bits)) / len(self.bits)


@dataclass(frozen=True)
class Conditions:
    """What else went on while a cell was measured; ``None`` where the machine does not tell."""

    foreign_cpu_share: float | None
    """Share of the machine's CPU time that went to others than the process."""
    sm_clock_mhz: int | None
    """The GPU's, right after the last round."""
    throttling: tuple[str, ...]
    """What lowered the GPU's clocks then, in words."""
    foreign_gpu_processes: int | None
    """Other processes that computed on the GPU then."""


@dataclass(frozen=True)
class Measurement:
    """Everything measured of one cell; ``rounds_ms[i]`` and ``reference_rounds_ms[i]`` are a pair.

    Each is the median of ``pairs_per_round`` calls, those of both sides in turns. The later pairs
    of a gate time the subject alone.
    The reference is the dense model for token reduction and causal attention for a scan. ``tokens``
    are those entering each layer, CLS included; ``items`` are the images or sequence positions one
    call processes. ``flops`` and ``peak_bytes`` are of one call.
    """

    rounds_ms: tuple[float, ...]
    reference_rounds_ms: tuple[float, ...]
    pairs_per_round: int
    latency_ms: Estimate
    timed_reference_ms: Estimate | None
    timed_ratio: Estimate | None
    throughput_per_s: float
    cossim: CosSim
    cossim_items: tuple[float, ...]
    """One per image or prompt, in their order; empty for a scan, whose positions are too many."""
    quality: Quality
    tokens: tuple[int, ...]
    reference_tokens: int
    items: int
    flops: int
    reference_flops: int
    peak_bytes: int
    reference_peak_bytes: int
    weights: Weights
    source: str
    """Weights and inputs in words: package and version, hub id, folder, or seed."""
    seed: int
    autocast: bool
    backend: str | None = None
    """The scan that ran, by its name in the table of backends; never ``auto``."""
    scaling: Scaling | None = None
    saving: Saving | None = None
    conditions: Conditions | None = None
    turn: int | None = None
    """0 or 1 where the rounds took turns, one by one, with those of another process, in which 0
    began; ``None`` where the process measured alone."""

    @property
    def reference_ms(self) -> Estimate:
        """Latency of the reference.

        Raises:
            EfficarchError: it was not timed.
        """
        return _timed(self.timed_reference_ms)

    @property
    def ratio(self) -> Estimate:
        """Latency relative to the reference's; raises as ``reference_ms`` does."""
        return _timed(self.timed_ratio)

    @property
    def tokens_mean(self) -> float:
        """Tokens per layer, averaged over the layers."""
        return sum(self.tokens) / len(self.tokens)

    @property
    def tokens_final(self) -> int:
        """Tokens in the last layer."""
        return self.tokens[-1]


def _timed(estimate: Estimate | None) -> Estimate:
    if estimate is None:
        raise EfficarchError(
            "this run timed no references: it is of a later pair of a gate, which only the gate "
            "can judge; pass a bench run"
        )
    return estimate


@dataclass(frozen=True)
class Limits:
    """What a cell must hold: at least one latency budget, always a CosSim floor."""

    cossim: float
    latency_ratio: float | None
    latency_ms: float | None
    """Absolute budget of the device of this run, when the budgets file names that device."""
    reasons: tuple[str, ...]
    cossim_p5: float | None = None
    """Floor of the 5th percentile of CosSim."""
    bits_lost: float | None = None
    """Most bits per byte a saving may cost on held-out text."""
    slope: tuple[float, ...] | None = None
    """Lowest and highest log-log slope of latency over length, of the subject."""
    reference_slope: tuple[float, ...] | None = None
    """The same, of the reference."""


@dataclass(frozen=True)
class CellRun:
    """One line of a run: a collected cell, what became of it and what was measured."""

    cell: Cell
    status: Status
    message: str
    limits: Limits
    measurement: Measurement | None


@dataclass(frozen=True)
class Machine:
    """The fingerprint: timings from two different ones are never compared."""

    device: str
    gpu_name: str | None
    gpu_uuid: str | None
    driver: str | None
    cuda: str | None
    power_limit_w: float | None
    sm_clock_mhz: int | None
    memory_clock_mhz: int | None
    cpu_model: str
    cpu_cores: int
    threads: int
    python: str
    torch: str
    transformers: str
    persistence: bool | None = None
    """Whether the driver keeps the GPU initialised between processes."""
    mig: bool | None = None
    """Whether the GPU is divided into instances."""

    @property
    def name(self) -> str:
        """The device in words, as budgets name it."""
        return self.gpu_name or self.cpu_model


@dataclass(frozen=True)
class Run:
    """One fresh process that measured cells."""

    machine: Machine
    created: str
    commit: str
    dirty: bool
    interrupted: bool
    clock_overhead_ms: float
    """Median of timing an empty call: the floor under every latency of the run."""
    cells: tuple[CellRun, ...]
