"""What a run must hold beyond the types of its fields: a file that breaks it was spoiled or edited.

``store`` calls these on every file it reads; each refusal is one sentence that names the cell.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from efficarch.decoding import shown
from efficarch.errors import RunFileError
from efficarch.record import CosSim, Limits, Measurement, Run, Saving, Scaling, Status, Sweep
from efficarch.stats import MIN_ROUNDS

SHORTEST_MS, LONGEST_MS = 1e-9, 1e10
"""No clock resolves less, no run lasts longer (four months). What lies beyond would overflow where
figures are divided or added."""

MOST_LENGTHS = 1_000
"""Of a sweep: every one is a call a round, on both sides."""

LONGEST_LENGTH = 10**12
"""Beyond it, the logarithms of two lengths that differ may not."""

MOST_BITS = 1e6
"""Per byte, of a model that is no use at all."""

ROUNDING = 1e-6
"""By which the mean of shares may leave their range."""


def check_cells(run: Run, measured: Mapping[str, Measurement]) -> None:
    """Check that cells are unique, limited, and measured exactly where their status says so.

    Raises:
        RunFileError: the first cell that is not.
    """
    ids = set()
    for line in run.cells:
        if line.cell.id in ids:
            raise RunFileError(f"cell {line.cell.id!r} is listed twice; cell ids must be unique")
        ids.add(line.cell.id)
    for cell_id in measured:
        if cell_id not in ids:
            raise RunFileError(f"cell {cell_id!r} is measured but not listed; the file was edited")
    for line in run.cells:
        _check_limits(f"cell {line.cell.id!r}", line.limits)
        judged = line.status in (Status.PASSED, Status.FAILED)
        if judged != (line.measurement is not None):
            how = "without" if judged else "with"
            raise RunFileError(
                f"cell {line.cell.id!r} is {line.status.value} {how} a measurement; "
                "the file was edited"
            )


def _check_limits(where: str, limits: Limits) -> None:
    if limits.latency_ratio is None and limits.latency_ms is None:
        raise RunFileError(f"{where} has no latency budget; the file was edited")
    for name in ("slope", "reference_slope"):
        bounds = getattr(limits, name)
        if bounds is not None and (len(bounds) != 2 or not bounds[0] < bounds[1]):
            raise RunFileError(
                f"{where}: the limit {name} is {list(bounds)}, not a lowest and a highest value; "
                "the file was edited"
            )


def check_measurement(cell_id: str, measurement: Measurement) -> None:
    """Check the rounds, intervals, sweep and saving of one measurement.

    Raises:
        RunFileError: the first thing that cannot have been measured.
    """
    where = f"cell {cell_id!r}"
    _check_rounds(f"{where}: rounds_ms", measurement.rounds_ms)
    _check_reference(where, measurement)
    for name in ("latency_ms", "timed_reference_ms", "timed_ratio"):
        estimate = getattr(measurement, name)
        if estimate and not 0 < estimate.low <= estimate.value <= estimate.high:
            raise RunFileError(f"{where}: {name} is outside its own interval")
    _check_cossim(f"{where}: cossim", measurement.cossim)
    for index, item in enumerate(measurement.cossim_items):
        _check_between(f"{where}: cossim_items[{index}]", item, -1, 1)
    for name in ("pairs_per_round", "items"):
        if getattr(measurement, name) < 1:
            raise RunFileError(f"{where}: {name} is 0, nothing was measured; run it again")
    if not measurement.tokens:
        raise RunFileError(f"{where}: tokens is empty; run it again")
    if measurement.scaling is not None:
        _check_scaling(f"{where}: scaling", measurement.scaling)
    if measurement.saving is not None:
        _check_saving(f"{where}: saving", measurement.saving)


def _check_reference(where: str, measurement: Measurement) -> None:
    rounds = measurement.reference_rounds_ms
    estimates = measurement.timed_reference_ms, measurement.timed_ratio
    if estimates == (None, None) and not rounds:
        return
    if None in estimates:
        raise RunFileError(f"{where}: its reference is timed in part; the file was edited")
    _check_rounds(f"{where}: reference_rounds_ms", rounds)
    if len(measurement.rounds_ms) < len(rounds):
        raise RunFileError(f"{where}: more reference rounds than rounds; the file was edited")


def _check_rounds(where: str, rounds: Sequence[float]) -> None:
    if not rounds:
        raise RunFileError(f"{where} holds zero rounds; run it again")
    for index, value in enumerate(rounds):
        _check_latency(f"{where}[{index}]", value)
    if len(rounds) < MIN_ROUNDS:
        raise RunFileError(
            f"{where} holds {len(rounds)} rounds; a 95 % interval needs at least {MIN_ROUNDS}"
        )


def _check_latency(where: str, value: float) -> None:
    if value <= 0:
        raise RunFileError(f"{where} is {value}, not positive")
    if not SHORTEST_MS <= value <= LONGEST_MS:
        raise RunFileError(f"{where} is {value}, no latency in milliseconds")


def _check_cossim(where: str, cossim: CosSim) -> None:
    for name in ("mean", "p5", "minimum"):
        _check_between(f"{where}.{name}", getattr(cossim, name), -1, 1)
    if cossim.minimum > min(cossim.mean, cossim.p5) + ROUNDING:
        raise RunFileError(f"{where}.minimum is {cossim.minimum}, above the mean or p5")
    if cossim.items < 1:
        raise RunFileError(f"{where}.items is 0, nothing was compared; run it again")


def _check_between(where: str, value: float, low: float, high: float) -> None:
    if not low - ROUNDING <= value <= high + ROUNDING:
        raise RunFileError(f"{where} is {value}, outside [{low}, {high:g}]")


def _check_scaling(where: str, scaling: Scaling) -> None:
    for name in ("subject", "reference"):
        _check_sweep(f"{where}.{name}", getattr(scaling, name))
    if len(scaling.subject.rounds_ms[0]) != len(scaling.reference.rounds_ms[0]):
        raise RunFileError(f"{where}: subject and reference have unequal numbers of rounds")


def _check_sweep(where: str, sweep: Sweep) -> None:
    lengths = sweep.lengths
    if len(lengths) > MOST_LENGTHS:
        raise RunFileError(f"{where} has {len(lengths):,} lengths, more than {MOST_LENGTHS:,}")
    if lengths and lengths[-1] > LONGEST_LENGTH:
        raise RunFileError(f"{where}.lengths holds {lengths[-1]:,}, no sequence length")
    if not lengths or lengths[0] < 1 or any(a >= b for a, b in pairwise(lengths)):
        raise RunFileError(f"{where}.lengths is {shown(lengths)}, not positive and increasing")
    if len(sweep.rounds_ms) != len(lengths):
        raise RunFileError(
            f"{where} has {len(lengths)} lengths and rounds of {len(sweep.rounds_ms)}"
        )
    for index, rounds in enumerate(sweep.rounds_ms):
        _check_rounds(f"{where}.rounds_ms[{index}]", rounds)
        if len(rounds) != len(sweep.rounds_ms[0]):
            raise RunFileError(f"{where}.rounds_ms[{index}]: every length needs equally many")
    _check_latency(f"{where}.floor_ms", sweep.floor_ms)
    if not 1 <= sweep.fitted_from <= LONGEST_LENGTH:
        raise RunFileError(f"{where}.fitted_from is {sweep.fitted_from}, not a length")


def _check_saving(where: str, saving: Saving) -> None:
    _check_share(f"{where}.updates_saved", saving.updates_saved)
    for index, layer in enumerate(saving.layers):
        _check_share(f"{where}.layers[{index}].updates_saved", layer.updates_saved)
        _check_cossim(f"{where}.layers[{index}].cossim", layer.cossim)
    for name in ("relative_l2", "state_error"):
        error = getattr(saving, name)
        if error is not None and error < 0:
            raise RunFileError(f"{where}.{name} is {error}, below zero")
    if len(saving.bits) != len(saving.reference_bits):
        raise RunFileError(
            f"{where} has bits of {len(saving.bits)} segments and reference_bits of "
            f"{len(saving.reference_bits)}; they must be of the same ones"
        )
    for name in ("bits", "reference_bits"):
        for index, bits in enumerate(getattr(saving, name)):
            _check_between(f"{where}.{name}[{index}]", bits, 0, MOST_BITS)


def _check_share(where: str, share: float) -> None:
    if not 0 <= share < 1:
        raise RunFileError(f"{where} is {share}, outside [0, 1)")
