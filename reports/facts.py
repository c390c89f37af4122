"""The end of the page: why each limit is what it is, the machine, the weights and the run."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from efficarch.record import CellRun, Limits, Machine, Run

from .formats import budget, cossim, count, number

READING = (
    "A latency is the median of the rounds of one process. The figures in square brackets are its "
    "exact 95 % interval over those rounds; another process, even of the same commit, may land "
    "outside it.",
    "A round times both sides in turns: once each, or where the calls are quick, so often that a "
    "round fills 0.1 s, and then keeps the median of each side. The ratio is the median over the "
    "rounds, so a drift of the whole machine cancels; it is not the quotient of the two medians.",
    "A latency budget is broken when the whole interval lies above it, a CosSim floor when the "
    "mean lies below it.",
    "CosSim compares the output with that of the reference: 1 is the same direction. It says "
    "nothing on random weights, where only an unchanged output is checked. A cell without weights "
    "is an operator, compared with its own oracle in double precision.",
    "Beside CosSim stand figures that no limit judges. Centred: mean CosSim after the mean of the "
    "dense embeddings was taken off both sides. Unrelated: mean CosSim of dense embeddings of "
    "different images, the floor that a useless method would reach. R@1: share of images whose "
    "reduced embedding finds its own dense one first. Zero-shot same and KL: share of equal first "
    "labels, and the divergence from the dense model's labels in nats. Accuracy kept: zero-shot "
    "accuracy over the dense model's, on labelled images. Next token and answer: the same "
    "comparisons for the token after the prompt and along the dense model's answer.",
    "At equal latency: each image's CosSim under random pruning is read off, on straight lines "
    "between the random cells and the dense model, at the latency ratio of the method. The "
    "difference is the mean over the images, its interval a seeded bootstrap over them that also "
    "covers both latencies' intervals. Crops of the same picture are not independent, so the true "
    "interval is wider; and each interval stands for itself, so among many cells some will seem "
    "to differ by chance.",
    "Growth with length: all lengths of both sides are timed in a new random order each round. "
    "The slope is fitted by least squares to the logarithms of latency and length, where a call "
    "takes at least ten times what it takes at length 1 and from the length on that the suite "
    "stated; its interval is that of the fit. A range is kept when the whole interval lies within "
    "it. Two curves cross where the ratio of a round passes 1 for good, with a bootstrap interval "
    "over the rounds.",
    "Updates saved: the share of state updates that a multi-resolution scan deferred. CosSim is "
    "that of the SSM term by token, without skip term and gate, or of a model's final hidden "
    "states. Bits per byte are paired by segment of held-out text, with a seeded bootstrap over "
    "the segments. Time saved is 1 less the latency ratio, planning included.",
    "1 MB is 1,000,000 bytes. \N{MULTIPLICATION SIGN} 0.68 means 0.68 of the reference.",
)


@dataclass(frozen=True)
class Fact:
    """A name with its value."""

    name: str
    value: str


@dataclass(frozen=True)
class LimitGroup:
    """Limits that several cells share."""

    limits: str
    reasons: tuple[str, ...]
    cells: tuple[str, ...]


def limit_groups(lines: Sequence[CellRun]) -> tuple[LimitGroup, ...]:
    """Collect the cells under each distinct set of limits, in the order of the run."""
    groups: dict[Limits, list[str]] = {}
    for line in lines:
        groups.setdefault(line.limits, []).append(line.cell.id)
    return tuple(
        LimitGroup(_limits(limits), limits.reasons, tuple(cells))
        for limits, cells in groups.items()
    )


def _limits(limits: Limits) -> str:
    parts = []
    if limits.latency_ratio is not None:
        parts.append(f"latency ratio ≤ {budget(limits.latency_ratio)}")
    if limits.latency_ms is not None:
        parts.append(f"latency ≤ {number(limits.latency_ms)} ms")
    parts.append(f"CosSim ≥ {cossim(limits.cossim)}")
    if limits.cossim_p5 is not None:
        parts.append(f"5th percentile of CosSim ≥ {cossim(limits.cossim_p5)}")
    if limits.bits_lost is not None:
        parts.append(f"bits per byte lost ≤ {limits.bits_lost:.4f}")
    for name, bounds in (("slope", limits.slope), ("reference slope", limits.reference_slope)):
        if bounds is not None:
            parts.append(f"{name} within {bounds[0]:.2f} to {bounds[1]:.2f}")
    return ", ".join(parts)


_MACHINE_NAMES = {
    "gpu_name": "GPU",
    "gpu_uuid": "GPU UUID",
    "cuda": "CUDA",
    "power_limit_w": "power limit, W",
    "sm_clock_mhz": "SM clock, MHz",
    "memory_clock_mhz": "memory clock, MHz",
    "cpu_model": "CPU",
    "cpu_cores": "CPU cores",
}


def machine_facts(machine: Machine) -> tuple[Fact, ...]:
    """List the fingerprint; what the machine does not have is left out."""
    values = [(field.name, getattr(machine, field.name)) for field in fields(Machine)]
    return tuple(
        Fact(_MACHINE_NAMES.get(name, name), str(value))
        for name, value in values
        if value is not None
    )


def run_facts(run: Run) -> tuple[Fact, ...]:
    """List what else a reader needs to repeat the run."""
    measured = [line.measurement for line in run.cells if line.measurement is not None]
    rounds = _spread([len(item.rounds_ms) for item in measured], "round")
    pairs = _spread([item.pairs_per_round for item in measured], "pair")
    edited = " with uncommitted changes" if run.dirty else ""
    return (
        Fact("commit", f"{run.commit}{edited}"),
        Fact("measured", run.created),
        Fact("cells", f"{len(run.cells)}, of which {len(measured)} measured"),
        Fact("rounds per cell", f"{rounds} of {pairs}" if measured else "none"),
        Fact("dtype", ", ".join(sorted({line.cell.dtype for line in run.cells})) or "none"),
        Fact("autocast", count(sum(item.autocast for item in measured), "cell")),
        Fact("clock overhead", f"{run.clock_overhead_ms:.4f} ms per timing of an empty call"),
    )


def _spread(amounts: Sequence[int], noun: str) -> str:
    """Write the least and the greatest of some amounts."""
    low, high = min(amounts, default=0), max(amounts, default=0)
    return count(high, noun) if low == high else f"{low:,} to {count(high, noun)}"


def source_facts(run: Run) -> tuple[Fact, ...]:
    """List every origin of weights and inputs with the number of cells that used it."""
    used: dict[tuple[str, str, int], int] = {}
    for line in run.cells:
        if line.measurement is not None:
            item = line.measurement
            key = (item.weights.value, item.source, item.seed)
            used[key] = used.get(key, 0) + 1
    return tuple(
        Fact(f"{weights} weights", f"{source}; seed {seed} ({count(cells, 'cell')})")
        for (weights, source, seed), cells in used.items()
    )
