"""What one process of a gate is told: which cells, in which order, and how much of each.

The plan reaches the process as a file named by an environment variable, not by options: an
efficarch that does not know it measures every cell in full, which costs time and is right.
"""

import json
import os
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from efficarch.errors import EfficarchError
from efficarch.patterns import matches
from efficarch.store import write_text

VARIABLE = "EFFICARCH_GATE_PLAN"

LEAST_MS = 1_000.0
MOST_MS = 3_000.0
SHARED_MS = 12_000.0
"""How long a process measures each cell: what is shared by few cells goes further, since starting a
process and its models costs as long."""


@dataclass(frozen=True)
class ProcessPlan:
    """The plan of one process."""

    cells: tuple[str, ...] | None
    """Cell ids or globs of them; ``None`` for all that were selected."""
    seed: int
    """Of the order of the cells."""
    timing_only: bool
    """Whether CosSim is needed of no more than is timed."""
    subject_alone: bool = False
    """Whether the reference is not timed."""

    def write(self, path: Path) -> None:
        """Write the plan as JSON."""
        write_text(path, json.dumps(asdict(self)))

    def selects(self, cell_id: str) -> bool:
        """Whether a cell is to be measured."""
        return self.cells is None or any(matches(each, cell_id) for each in self.cells)

    def place(self, cell_id: str) -> tuple[str, str]:
        """Return what to sort cells by: an order that depends on the seed and nothing else.

        Cells of one model stay together, so that it is loaded once.
        """
        suite_and_model = "/".join(cell_id.split("/")[:2])
        model, cell = (
            sha256(f"{self.seed} {each}".encode()).hexdigest()
            for each in (suite_and_model, cell_id)
        )
        return model, cell


def measured_ms(cells: int) -> float:
    """Return how long to measure each of so many cells."""
    return min(MOST_MS, max(LEAST_MS, SHARED_MS / max(1, cells)))


def current() -> ProcessPlan | None:
    """Return the plan of this process, once; ``None`` where no gate started it.

    Raises:
        EfficarchError: the variable names something that is no plan.
    """
    # taken: a process that this one starts measures what it is asked to, not what the gate wants
    path = os.environ.pop(VARIABLE, None)
    if path is None:
        return None
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        cells = data["cells"]
        return ProcessPlan(
            cells=None if cells is None else tuple(cells),
            seed=int(data["seed"]),
            timing_only=bool(data["timing_only"]),
            subject_alone=bool(data.get("subject_alone")),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EfficarchError(
            f"{VARIABLE} names {path!r}, which is no plan of a gate; unset it"
        ) from error
