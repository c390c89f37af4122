"""What can be measured, as Markdown tables; the README holds the same text."""

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from efficarch.extras import not_installed
from efficarch.models import MODELS
from efficarch.reducers import REDUCERS

if TYPE_CHECKING:
    from efficarch.scan import Backend
    from efficarch.scan.ssd import SsdBackend


def markdown_tables() -> str:
    """Return one Markdown table each of methods, models, scan backends and planners.

    The last two need torch; without it a sentence stands in their place.
    """
    methods = [
        (f"`{row.name}`", row.paper, row.where, row.cost, row.keeps, ", ".join(row.models))
        for row in REDUCERS
    ]
    models = [
        (f"`{row.name}`", row.summary, f"`{row.option}`" if row.option else row.without_option)
        for row in MODELS.values()
    ]
    return "\n\n".join(
        (
            _table(("method", "source", "where", "cost", "keeps", "models"), methods),
            _table(("model", "what", "weights"), models),
            *(_scans() if find_spec("torch") else (f"Scans: {not_installed('torch')}",)),
        )
    )


def _scans() -> tuple[str, ...]:
    from efficarch.scan import BACKENDS
    from efficarch.scan.mrss import PLANNERS
    from efficarch.scan.ssd import SSD_BACKENDS

    planners = [(f"`{row.name}`", row.summary, row.source) for row in PLANNERS.values()]
    return (
        _backends("scan backend", BACKENDS.values()),
        _backends("Mamba-2 scan backend", SSD_BACKENDS.values()),
        _table(("planner of the multi-resolution scan", "defers", "source"), planners),
    )


def _backends(what: str, rows: "Iterable[Backend | SsdBackend]") -> str:
    lines = [
        (
            f"`{row.name}`",
            row.summary,
            " and ".join(device.upper() for device in row.devices),
            "yes" if row.differentiable else "no",
            row.source,
        )
        for row in rows
    ]
    return _table((what, "what", "runs on", "gradients", "source"), lines)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *(map(_escaped, row) for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _escaped(cell: str) -> str:
    """Keep a bar inside a cell from ending it."""
    return cell.replace("|", r"\|")
