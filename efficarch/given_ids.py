"""The ids that a user gave to the values of a test's parameters.

pytest's own ids are no help: `factory0` is an index, and says something else once the list changes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from efficarch.errors import EfficarchError
from efficarch.parameter_names import is_text_of, name_of, unnamed

_SET = type(pytest.param())


def named_parameters(item: pytest.Item) -> dict[str, Any]:
    """Return the parameters of a test; one that is called nothing has its id in place of its value.

    Raises:
        EfficarchError: one is called nothing and has no id that every process would give it.
    """
    callspec = getattr(item, "callspec", None)
    if callspec is None:
        return {}
    where = getattr(item, "originalname", None) or item.name
    return {
        name: value if name_of(value) is not None else _given(item, name, where)
        for name, value in callspec.params.items()
        if not _is_of_plugin(name)
    }


def repetition(item: Any) -> tuple[tuple[str, Any], ...]:
    """Return which turn of a plugin that runs tests several times a test is; empty without one."""
    callspec = getattr(item, "callspec", None)
    params = {} if callspec is None else callspec.params
    return tuple((name, value) for name, value in params.items() if _is_of_plugin(name))


def repeats(item: Any, other: Any) -> bool:
    """Whether two tests are turns of one and the same."""
    return bool(item.parent is other.parent and item.originalname == other.originalname)


def _is_of_plugin(name: str) -> bool:
    # pytest-repeat has __pytest_repeat_step_number; no argument of a test is called so
    return name.startswith("__")


def _given(item: Any, name: str, where: str) -> str:
    params = item.callspec.params
    for parametrized in _parametrizations(item, name):
        given = parametrized.id_of(name, params)
        if given is not None and is_text_of(given, params[name]):
            raise EfficarchError(
                f"{where}: the id {given!r} of parameter {name!r} may differ between processes; "
                "give it another: ids=[...]"
            )
        if given:
            return given
    raise EfficarchError(f"{where}: {unnamed(name, params[name])}")


@dataclass(frozen=True)
class _Parametrization:
    """A mark ``parametrize`` or a fixture with parameters."""

    names: Sequence[str]
    sets: Iterable[Any]
    """Values in the order of the names, or the value of the only one."""
    ids: Any

    def id_of(self, name: str, params: Mapping[str, Any]) -> str | None:
        """Return the id of the set that a test runs with, or what a function calls its value."""
        for index, values in enumerate(self.sets):
            if self._holds(values, params):
                own = values.id if isinstance(values, _SET) else None
                return _text(own) or _text(self._listed(index, params[name]))
        return None

    def _holds(self, values: Any, params: Mapping[str, Any]) -> bool:
        # the very same objects: pytest keeps no index, and equal values may have other ids
        values = values.values if isinstance(values, _SET) else values
        wanted = [params[name] for name in self.names]
        if len(wanted) == 1 and values is wanted[0]:
            return True
        several = isinstance(values, Sequence) and len(values) == len(wanted)
        return several and all(one is other for one, other in zip(values, wanted, strict=True))

    def _listed(self, index: int, value: Any) -> Any:
        if callable(self.ids):
            return self.ids(value)
        # a generator has given its ids to pytest and has none left
        listed = self.ids if isinstance(self.ids, list | tuple) else ()
        return listed[index] if index < len(listed) else None


def _text(given: Any) -> str | None:
    return str(given) if isinstance(given, str | int | float) else None


def _parametrizations(item: Any, name: str) -> Iterator[_Parametrization]:
    """Find what gave a parameter its values, nearest first."""
    for mark in item.iter_markers("parametrize"):
        argnames = mark.kwargs.get("argnames", mark.args[0] if mark.args else "")
        named = argnames.split(",") if isinstance(argnames, str) else argnames
        names = [each.strip() for each in named if each.strip()]
        if name in names:
            values = mark.kwargs.get("argvalues", mark.args[1] if len(mark.args) > 1 else ())
            ids = mark.kwargs.get("ids", mark.args[3] if len(mark.args) > 3 else None)
            yield _Parametrization(names, values, ids)
    for fixture in reversed(item._fixtureinfo.name2fixturedefs.get(name, ())):
        if fixture.params is not None:
            yield _Parametrization([name], fixture.params, fixture.ids)
