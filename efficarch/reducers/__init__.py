"""The table of token-reduction methods: a new method is one file here and one row below.

Suites, tests, the README table and the report read this table. Importing it imports no torch; a row
loads its file when asked.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from efficarch.errors import UnknownNameError

if TYPE_CHECKING:
    from efficarch.reducers.base import Reducer

WITH_CLS = ("clip-vit-b16", "dinov2-small", "vit-b16")
ENCODERS = (*WITH_CLS, "siglip-base-p16")


@dataclass(frozen=True)
class Part:
    """One reducer of a method.

    ``target`` is a ``module:class`` pair inside this package; a part that does not take a keep
    ratio is built without one. ``options`` are fixed hyper-parameters.
    """

    target: str
    takes_keep: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)

    def kind(self) -> "type[Reducer]":
        """Import the reducer's class."""
        module, name = self.target.split(":")
        found: type[Reducer] = getattr(import_module(f"efficarch.reducers.{module}"), name)
        return found

    def build(self, keep: float | None) -> "Reducer":
        """Build the reducer."""
        arguments = (keep,) if self.takes_keep else ()
        return self.kind()(*arguments, **self.options)


@dataclass(frozen=True)
class Method:
    """One row: a method, or several joined with ``|``; calling it builds the reducer."""

    name: str
    parts: tuple[Part, ...]
    paper: str
    where: str
    cost: str
    keeps: str
    models: tuple[str, ...] = ENCODERS
    control: bool = False

    @property
    def takes_keep(self) -> bool:
        """Whether any part has a keep ratio."""
        return any(part.takes_keep for part in self.parts)

    def __call__(self, keep: float | None = None) -> "Reducer":
        """Build the reducer for a keep ratio in (0, 1]; ``None`` for a method without one."""
        first, *others = (part.build(keep) for part in self.parts)
        for other in others:
            first = first | other
        return first

    def variant(self, name: str, options: Mapping[str, Any]) -> "Method":
        """Return the method under another name, with hyper-parameters of its first part fixed."""
        first, *others = self.parts
        fixed = replace(first, options={**first.options, **options})
        return replace(self, name=name, parts=(fixed, *others))

    def __or__(self, other: "Method") -> "Method":
        return Method(
            name=f"{self.name}+{other.name}",
            parts=self.parts + other.parts,
            paper=f"{self.paper}; {other.paper}",
            where=f"{self.where}; {other.where}",
            cost=f"{self.cost}; {other.cost}",
            keeps=f"{self.keeps}; {other.keeps}",
            models=tuple(model for model in self.models if model in other.models),
        )

    def __str__(self) -> str:
        return self.name


def _norm_control(of: str, sign: str) -> Method:
    rank = {"high": "highest", "low": "lowest"}[sign]
    plural = {"key": "keys", "query": "queries"}[of]
    return Method(
        name=f"{of}-norm-{sign}",
        parts=(Part("norm:NormPrune", options={"of": of, "sign": sign}),),
        paper=f"control: L2 norms of {plural} alone",
        where=f"{plural} of block 1, output of block 1",
        cost="one norm, one top-k, one gather",
        keeps=f"CLS and the keep * patches of {rank} norm from block 2 on",
        control=True,
    )


_ROWS = (
    Method(
        name="none",
        parts=(Part("base:Dense", takes_keep=False),),
        paper="control: the dense model against itself",
        where="nowhere",
        cost="nothing",
        keeps="all tokens",
        control=True,
    ),
    Method(
        name="random",
        parts=(Part("random:RandomPrune"),),
        paper="control: a seeded random subset",
        where="output of block 1",
        cost="one gather",
        keeps="CLS and keep * patches from block 2 on",
        control=True,
    ),
    Method(
        name="grid",
        parts=(Part("grid:GridPrune"),),
        paper="control: an evenly spaced subset",
        where="output of block 1",
        cost="one gather",
        keeps="CLS and keep * patches on evenly spaced rows and columns from block 2 on",
        control=True,
    ),
    Method(
        name="downsample",
        parts=(Part("downsample:Downsample"),),
        paper="control: a smaller image (bicubic)",
        where="pixels",
        cost="one resize",
        keeps="CLS and at most keep * patches, a smaller grid of whole ones, in every block",
        control=True,
    ),
    *(_norm_control(of, sign) for of in ("key", "query") for sign in ("high", "low")),
    Method(
        name="norm",
        parts=(Part("norm:NormPrune"),),
        paper="the original rule: L2 norms of keys and queries",
        where="keys and queries of block 1, output of block 1",
        cost="two norms, one top-k, one gather",
        keeps="CLS and the keep * patches of highest norm from block 2 on",
    ),
    Method(
        name="tome",
        parts=(Part("tome:ToMe"),),
        paper="Token Merging, arXiv 2210.09461",
        where="between attention and MLP of every block",
        cost="one half-by-half similarity matrix, one sort and one scatter per block",
        keeps="CLS and keep * patches after the last block; decreasing schedule",
    ),
    Method(
        name="pitome",
        parts=(Part("pitome:PiToMe"),),
        paper="PiToMe, arXiv 2405.16148",
        where="between attention and MLP of every block",
        cost="one similarity matrix, one sort and one scatter per block",
        keeps="CLS and keep * patches after the last block; decreasing schedule",
    ),
    Method(
        name="reciprocal",
        parts=(Part("reciprocal:Reciprocal"),),
        paper="our own: reciprocal nearest neighbours, after arXiv 2210.09461 and 2409.11923",
        where="between attention and MLP of every block",
        cost="one similarity matrix over all heads, two row maxima and two scatters per block",
        keeps="CLS and keep * patches after the last block; parabolic schedule",
    ),
    Method(
        name="evit",
        parts=(Part("evit:EViT"),),
        paper="EViT, arXiv 2202.07800",
        where="between attention and MLP of blocks 3, 6 and 9",
        cost="one row of attention, one top-k and one gather per stage",
        keeps="CLS and the patches it attends to most, keep * patches after the last stage",
    ),
    Method(
        name="divprune",
        parts=(Part("divprune:DivPrune"),),
        paper="DivPrune, arXiv 2503.02175",
        where="output of block 1",
        cost="one similarity matrix, then one step per patch kept",
        keeps="CLS and keep * patches far apart from each other from block 2 on",
    ),
    Method(
        name="mmr",
        parts=(Part("mmr:MMR"),),
        paper="maximal marginal relevance, Carbonell and Goldstein, SIGIR 1998",
        where="queries and keys of block 1, output of block 1",
        cost="one row of attention, one similarity matrix, then one step per patch kept",
        keeps="CLS and keep * patches attended to and unlike each other from block 2 on",
    ),
    Method(
        name="scope",
        parts=(Part("scope:SCOPE"),),
        paper="SCOPE, arXiv 2510.24214",
        where="queries and keys of block 1, output of block 1",
        cost="one row of attention, one similarity matrix, then one pass over it per patch kept",
        keeps="CLS and keep * patches that are attended to and cover the others from block 2 on",
    ),
    Method(
        name="visionzip",
        parts=(Part("visionzip:VisionZip"),),
        paper="VisionZip, arXiv 2412.04467",
        where="queries and keys of block 1, output of block 1",
        cost="one row of attention, one sort, one similarity matrix of averages and others",
        keeps="CLS and keep * patches from block 2 on, 10 of 64 as averages of the others",
    ),
    Method(
        name="exact-tail",
        parts=(Part("exact_tail:ExactTail", takes_keep=False),),
        paper="exact: the last block computes CLS only",
        where="last block",
        cost="nothing",
        keeps="all tokens up to the last block, then CLS",
        models=WITH_CLS,
    ),
)


class MethodTable:
    """The methods by name, in the order of the README."""

    def __init__(self, rows: Sequence[Method]) -> None:
        self._rows = {row.name: row for row in rows}

    def __getitem__(self, name: str) -> Method:
        """Return a method, or a composition written ``a+b``; what follows ``@`` names a variant.

        Raises:
            UnknownNameError: no such method; names the nearest one.
        """
        first, *others = (self._row(part) for part in name.partition("@")[0].split("+"))
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
        return [(row, keep) for row in rows for keep in (keeps if row.takes_keep else [None])]


REDUCERS = MethodTable(_ROWS)
