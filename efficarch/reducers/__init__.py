"""The table of token-reduction methods: a new method is one file here and one row below.

Suites, tests, the README table and the report read this table. Importing it imports no torch; a row
loads its file when asked.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from efficarch.errors import UnknownNameError

if TYPE_CHECKING:
    from efficarch.reducers.base import Reducer

ENCODERS = ("clip-vit-b16", "dinov2-small")


@dataclass(frozen=True)
class Method:
    """One row: a method, or several joined with ``|``; calling it builds the reducer.

    ``targets`` are ``module:class`` pairs inside this package. Where ``takes_keep`` is false the
    method has no keep ratio and is called with ``None``.
    """

    name: str
    targets: tuple[str, ...]
    takes_keep: tuple[bool, ...]
    paper: str
    where: str
    cost: str
    keeps: str
    models: tuple[str, ...] = ENCODERS
    control: bool = False

    def __call__(self, keep: float | None = None) -> "Reducer":
        """Build the reducer for a keep ratio in (0, 1]; ``None`` for a method without one."""
        built = [
            _class(target)(keep) if takes_keep else _class(target)()
            for target, takes_keep in zip(self.targets, self.takes_keep, strict=True)
        ]
        reducer = built[0]
        for other in built[1:]:
            reducer = reducer | other
        return reducer

    def __or__(self, other: "Method") -> "Method":
        return Method(
            name=f"{self.name}+{other.name}",
            targets=self.targets + other.targets,
            takes_keep=self.takes_keep + other.takes_keep,
            paper=f"{self.paper}; {other.paper}",
            where=f"{self.where}; {other.where}",
            cost=f"{self.cost}; {other.cost}",
            keeps=f"{self.keeps}; {other.keeps}",
            models=tuple(model for model in self.models if model in other.models),
        )

    def __str__(self) -> str:
        return self.name


def _class(target: str) -> "Callable[..., Reducer]":
    module, name = target.split(":")
    built: Callable[..., Reducer] = getattr(import_module(f"efficarch.reducers.{module}"), name)
    return built


_ROWS = (
    Method(
        name="none",
        targets=("base:Dense",),
        takes_keep=(False,),
        paper="control: the dense model against itself",
        where="nowhere",
        cost="nothing",
        keeps="all tokens",
        control=True,
    ),
    Method(
        name="random",
        targets=("random:RandomPrune",),
        takes_keep=(True,),
        paper="control: a seeded random subset",
        where="output of block 1",
        cost="one gather",
        keeps="CLS and keep * patches from block 2 on",
        control=True,
    ),
    Method(
        name="norm",
        targets=("norm:NormPrune",),
        takes_keep=(True,),
        paper="the original rule: L2 norms of keys and queries",
        where="keys and queries of block 1, output of block 1",
        cost="two norms, one top-k, one gather",
        keeps="CLS and the keep * patches of highest norm from block 2 on",
    ),
    Method(
        name="tome",
        targets=("tome:ToMe",),
        takes_keep=(True,),
        paper="Token Merging, arXiv 2210.09461",
        where="between attention and MLP of every block",
        cost="one half-by-half similarity matrix, one sort and one scatter per block",
        keeps="CLS and keep * patches after the last block; decreasing schedule",
    ),
    Method(
        name="exact-tail",
        targets=("exact_tail:ExactTail",),
        takes_keep=(False,),
        paper="exact: the last block computes CLS only",
        where="last block",
        cost="nothing",
        keeps="all tokens up to the last block, then CLS",
    ),
)


class MethodTable:
    """The methods by name, in the order of the README."""

    def __init__(self, rows: Sequence[Method]) -> None:
        self._rows = {row.name: row for row in rows}

    def __getitem__(self, name: str) -> Method:
        """Return a method, or a composition written ``a+b``.

        Raises:
            UnknownNameError: no such method; names the nearest one.
        """
        first, *others = (self._row(part) for part in name.split("+"))
        for other in others:
            first = first | other
        return first

    def _row(self, name: str) -> Method:
        if name not in self._rows:
            raise UnknownNameError.of("method", name, list(self._rows))
        return self._rows[name]

    def __iter__(self) -> Iterator[Method]:
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def cases(self, model: str, *, keeps: Sequence[float]) -> list[tuple[Method, float | None]]:
        """Return (method, keep) pairs of every row that suits a model.

        A method without a keep ratio gives one pair with ``None``.
        """
        rows = [row for row in self if model in row.models]
        return [(row, keep) for row in rows for keep in (keeps if any(row.takes_keep) else [None])]


REDUCERS = MethodTable(_ROWS)
