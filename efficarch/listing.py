"""The tables of methods, models and backends as Markdown; the README holds the same text."""

from collections.abc import Sequence

from efficarch.models import MODELS
from efficarch.reducers import REDUCERS


def markdown_tables() -> str:
    """Return one Markdown table each of methods, models and scan backends."""
    from efficarch.scan import BACKENDS

    methods = [
        (f"`{row.name}`", row.paper, row.where, row.cost, row.keeps, ", ".join(row.models))
        for row in REDUCERS
    ]
    models = [
        (f"`{row.name}`", row.summary, f"`{row.option}`" if row.option else row.without_option)
        for row in MODELS.values()
    ]
    backends = [
        (
            f"`{row.name}`",
            row.summary,
            " and ".join(device.upper() for device in row.devices),
            "yes" if row.differentiable else "no",
            row.source,
        )
        for row in BACKENDS.values()
    ]
    return "\n\n".join(
        (
            _table(("method", "source", "where", "cost", "keeps", "models"), methods),
            _table(("model", "what", "weights"), models),
            _table(("scan backend", "what", "runs on", "gradients", "source"), backends),
        )
    )


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
