"""The table of selective-scan backends; a new one is one module and one row here."""

from collections.abc import Mapping
from dataclasses import dataclass

from efficarch.errors import UnknownNameError
from efficarch.scan import chunked, naive
from efficarch.scan.base import ScanFunction


@dataclass(frozen=True)
class Backend:
    """One implementation: how it is called, what it is in a few words, where it comes from."""

    name: str
    run: ScanFunction
    summary: str
    source: str


_ROWS = (
    Backend(
        name="naive",
        run=naive.scan,
        summary="one step at a time; the oracle",
        source="arXiv 2312.00752, section 3.2",
    ),
    Backend(
        name="chunked",
        run=chunked.scan,
        summary="pure PyTorch, all chunks step at once, then join",
        source="arXiv 2312.00752, section 3.2; chunking our own",
    ),
)

BACKENDS: Mapping[str, Backend] = {row.name: row for row in _ROWS}


def backend(name: str) -> Backend:
    """Return the row called ``name``.

    Raises:
        UnknownNameError: no backend has this name.
    """
    if name not in BACKENDS:
        raise UnknownNameError.of("backend", name, list(BACKENDS))
    return BACKENDS[name]
