"""Pairs of processes that gates recorded, of cells in which the two commits did not differ."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from efficarch.experiment.ledger import finished_pairs, run_file
from efficarch.patterns import matches


@dataclass(frozen=True)
class Recordings:
    """Folders that gates wrote on one machine, and what to take of them."""

    folders: tuple[Path, ...]
    first: int | None
    """So many pairs of each folder, where later ones measured fewer cells; ``None`` for all."""
    without: tuple[str, ...]
    """Patterns of cells to leave out."""

    def files(self) -> list[tuple[Path, Path]]:
        """Return the run files of base and head, pair by pair."""
        return [
            (run_file(folder, pair, "base"), run_file(folder, pair, "head"))
            for folder in self.folders
            for pair in range(finished_pairs(folder))[: self.first]
        ]

    def has(self, cell_id: str) -> bool:
        """Whether a cell is not left out."""
        return not any(matches(each, cell_id) for each in self.without)

    def __str__(self) -> str:
        return " ".join(map(str, self.folders))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what names the recordings."""
    parser.add_argument("runs", type=Path, nargs="+", help="folders of gates")
    parser.add_argument("--first", type=int, metavar="PAIRS", help="so many pairs of each folder")
    parser.add_argument(
        "--without", nargs="+", default=[], metavar="CELL", help="patterns of cells to leave"
    )


def asked_for(options: argparse.Namespace) -> Recordings:
    """Return the recordings that the arguments name."""
    return Recordings(tuple(options.runs), options.first, tuple(options.without))
