"""What a row of the table of methods is, and how the table is asked.

Importing it imports no torch; a row loads its file when asked.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from efficarch.errors import UnknownNameError

if TYPE_CHECKING:
    from efficarch.reducers.base import Reducer

WITH_CLS = ("clip-vit-b16", "dinov2-small", "vit-b16")
ENCODERS = (*WITH_CLS, "siglip-base-p16")
LANGUAGE_MODELS = ("qwen2.5-vl-3b", "qwen2.5-vl-7b", "qwen2.5-vl-reduced")
EVERY_MODEL = (*ENCODERS, *LANGUAGE_MODELS)


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
    """One row: a method, or several joined with ``|``; calling it builds the reducer.

    Where several of the joined ones take a keep ratio, each keeps the same fraction of what reaches
    it, so that ``keep`` stays what it is for a single one: the fraction left at the end.
    """

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
        sharing = sum(part.takes_keep for part in self.parts)
        share = keep  # an impossible one goes to the parts as it is: they refuse it
        if keep is not None and 0 < keep <= 1 and sharing > 1:
            share = keep ** (1 / sharing)
        first, *others = (part.build(share) for part in self.parts)
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
            # a control stays one where an exact method joins it
            control=self.control and (other.control or not other.takes_keep),
        )

    def __str__(self) -> str:
        return self.name


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
