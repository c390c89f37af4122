"""What deferring updates saved and cost: cells of one model or signal beside each other."""

from collections.abc import Sequence
from dataclasses import dataclass

from efficarch.record import Cell, CellRun, Estimate, Measurement, Saving
from efficarch.stats import MIN_IMAGES, mean_interval

from .badges import settings

CONTROL = "random"
"""The planner that every other one has to beat."""

SAME = 0.005
"""Shares of updates saved that differ by less are equal: a plan defers whole tokens."""

_AMOUNT = "saving"


@dataclass(frozen=True)
class Saver:
    """A measured cell that deferred updates."""

    cell: Cell
    measured: Measurement
    saving: Saving

    @property
    def way(self) -> tuple[str, ...]:
        """What the suite varied besides planner and amount: signal, emission."""
        return tuple(part for part in settings(self.cell) if part.partition("=")[0] != _AMOUNT)

    @property
    def bits_lost(self) -> Estimate | None:
        """Bits per byte lost, paired over the segments; a point alone below eight of them."""
        return _mean(self.saving.bits, self.saving.reference_bits)


@dataclass(frozen=True)
class Against:
    """A planner beside another one that saves as much in the same way.

    ``fewer_bits`` are the bits per byte that it loses less, paired over the segments; ``None``
    where no text was read.
    """

    saver: Saver
    other: Saver
    fewer_bits: Estimate | None

    @property
    def decided(self) -> bool:
        """Whether an interval says which of the two loses less."""
        bits = self.fewer_bits
        return bits is not None and (bits.low > 0 or bits.high < 0)


def savers(lines: Sequence[CellRun]) -> list[Saver]:
    """Return the cells of a run that deferred updates."""
    found = []
    for line in lines:
        measured = line.measurement
        if measured is not None and measured.saving is not None:
            found.append(Saver(line.cell, measured, measured.saving))
    return found


def grouped(found: Sequence[Saver]) -> list[list[Saver]]:
    """Return the savers by what they ran: suite, model, length, batch, dtype and device."""
    groups: dict[tuple[object, ...], list[Saver]] = {}
    for saver in found:
        cell = saver.cell
        key = (cell.suite, cell.model, cell.length, cell.batch, cell.dtype, cell.device)
        groups.setdefault(key, []).append(saver)
    return list(groups.values())


def alike(group: Sequence[Saver]) -> list[list[Saver]]:
    """Return the savers of a group by their inputs: one signal, or one text."""
    inputs: dict[str, list[Saver]] = {}
    for saver in group:
        inputs.setdefault(saver.measured.source, []).append(saver)
    return list(inputs.values())


def against_control(group: Sequence[Saver]) -> list[Against]:
    """Set every planner beside ``CONTROL`` where both save equally much of the same input."""
    controls = [saver for saver in group if saver.cell.method == CONTROL]
    others = [saver for saver in group if saver.cell.method != CONTROL]
    return [
        against(saver, control) for saver in others for control in controls if equal(saver, control)
    ]


def best_against_others(group: Sequence[Saver]) -> list[list[Against]]:
    """For each amount saved, set the planner that loses fewest bits beside each other one."""
    found: list[list[Against]] = []
    done: list[Saver] = []
    for saver in group:
        if saver in done or saver.bits_lost is None:
            continue
        rivals = [other for other in group if other is saver or equal(saver, other)]
        done += rivals
        best = min(rivals, key=lambda rival: rival.saving.bits_lost or 0.0)
        if len(rivals) > 1:
            found.append([against(best, other) for other in rivals if other is not best])
    return found


def equal(first: Saver, second: Saver) -> bool:
    """Whether two savers save equally much of the same input in the same way."""
    same = first.way == second.way and first.measured.source == second.measured.source
    return same and abs(first.saving.updates_saved - second.saving.updates_saved) < SAME


def against(saver: Saver, other: Saver) -> Against:
    """Set one saver beside another, segment by segment."""
    return Against(saver, other, _mean(other.saving.bits, saver.saving.bits))


def _mean(first: Sequence[float], second: Sequence[float]) -> Estimate | None:
    """Return the mean of the paired differences, with an interval where they are enough."""
    if not first or len(first) != len(second):
        return None
    differences = [a - b for a, b in zip(first, second, strict=True)]
    if len(differences) < MIN_IMAGES:
        mean = sum(differences) / len(differences)
        return Estimate(mean, -float("inf"), float("inf"))
    return mean_interval(differences)
