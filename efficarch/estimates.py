"""Figures of a measurement beside the raw values they were made of: the two have to agree.

A figure is what verdicts are made of, and can be edited by hand where the rounds are hardly looked
at. Whoever edits the rounds as well has made up a measurement, which no reader can tell.
"""

from collections.abc import Sequence
from dataclasses import astuple
from math import floor, fsum, isclose

from efficarch.errors import RunFileError
from efficarch.record import CosSim, Estimate, Measurement, Scaling
from efficarch.stats import median_interval, paired_ratio

TOLERANCE = 1e-6
"""Relative; of CosSim absolute. Far above rounding, far below what a verdict could turn on."""

WHOLLY_SINCE = 5
"""Schema from which every figure is held to its raw values. The files that were kept of older ones
are partly made by hand: their rounds and intervals are real, the rest does not always add up."""

EDITED = "the file was edited"


def check_estimates(cell_id: str, measurement: Measurement, schema: int) -> None:
    """Check that intervals, CosSim, throughput and sweep are what the raw values give.

    Raises:
        RunFileError: the first figure that is not.
    """
    where = f"cell {cell_id!r}"
    rounds, reference = measurement.rounds_ms, measurement.reference_rounds_ms
    _check(f"{where}: latency_ms", measurement.latency_ms, median_interval(rounds))
    if measurement.timed_reference_ms is not None and measurement.timed_ratio is not None:
        _check(
            f"{where}: timed_reference_ms",
            measurement.timed_reference_ms,
            median_interval(reference),
        )
        # later pairs of a gate of schema 4 timed the reference in their first rounds only
        ratio = paired_ratio(rounds[: len(reference)], reference)
        _check(f"{where}: timed_ratio", measurement.timed_ratio, ratio)
    wholly = schema >= WHOLLY_SINCE
    if measurement.cossim_items:
        _check_cossim(where, measurement.cossim, measurement.cossim_items, wholly=wholly)
    if wholly:
        _check_throughput(where, measurement)
    if wholly and measurement.scaling is not None:
        _check_shared_length(where, measurement, measurement.scaling)


def _check(where: str, said: Estimate, given: Estimate) -> None:
    pairs = zip(astuple(said), astuple(given), strict=True)
    if not all(isclose(a, b, rel_tol=TOLERANCE) for a, b in pairs):
        raise RunFileError(f"{where} is {_words(said)}, its rounds give {_words(given)}; {EDITED}")


def _words(estimate: Estimate) -> str:
    return f"{estimate.value:.6g} [{estimate.low:.6g}, {estimate.high:.6g}]"


def _check_cossim(where: str, said: CosSim, items: Sequence[float], *, wholly: bool) -> None:
    if wholly and said.items != len(items):
        raise RunFileError(
            f"{where}: cossim is over {said.items} items, cossim_items holds {len(items)}; {EDITED}"
        )
    given = {"mean": fsum(items) / len(items), "minimum": min(items)}
    if said.items == len(items):
        given["p5"] = _quantile(items, 0.05)
    for name, value in given.items():
        if abs(getattr(said, name) - value) > TOLERANCE:
            raise RunFileError(
                f"{where}: cossim.{name} is {getattr(said, name):.6g}, its items give {value:.6g}; "
                f"{EDITED}"
            )


def _quantile(values: Sequence[float], share: float) -> float:
    """Return a quantile, interpolated between two values as torch does."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def _check_throughput(where: str, measurement: Measurement) -> None:
    given = 1e3 * measurement.items / measurement.latency_ms.value
    if not isclose(measurement.throughput_per_s, given, rel_tol=TOLERANCE):
        raise RunFileError(
            f"{where}: throughput_per_s is {measurement.throughput_per_s:.6g}, {measurement.items} "
            f"items in its latency are {given:.6g}; {EDITED}"
        )


def _check_shared_length(where: str, measurement: Measurement, scaling: Scaling) -> None:
    """Check that the rounds of the cell are those of the longest length both sides swept."""
    both = set(scaling.subject.lengths) & set(scaling.reference.lengths)
    if not both:
        raise RunFileError(f"{where}: scaling: subject and reference share no length; {EDITED}")
    shared = max(both)
    for name, rounds, sweep in (
        ("rounds_ms", measurement.rounds_ms, scaling.subject),
        ("reference_rounds_ms", measurement.reference_rounds_ms, scaling.reference),
    ):
        swept = sweep.rounds_ms[sweep.lengths.index(shared)]
        if len(rounds) != len(swept) or not all(
            isclose(a, b, rel_tol=TOLERANCE) for a, b in zip(rounds, swept, strict=True)
        ):
            raise RunFileError(
                f"{where}: {name} are not those of its sweep at length {shared:,}; {EDITED}"
            )
