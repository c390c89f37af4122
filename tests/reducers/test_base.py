"""Claims about the table, compositions and the arithmetic that methods share."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from inspect import isabstract
from pkgutil import iter_modules
from types import ModuleType
from typing import ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from efficarch.errors import EfficarchError, UnknownNameError
from efficarch.models.base import Subject
from efficarch.models.vit import recorded_tokens
from efficarch.reducers import REDUCERS, Method
from efficarch.reducers.base import (
    Composite,
    Reducer,
    kept_patches,
    parts,
    replaced_forward,
    top_patches,
)
from efficarch.reducers.evit import EViT
from efficarch.reducers.exact_tail import ExactTail
from efficarch.reducers.norm import NormPrune
from efficarch.reducers.pruning import check_stages
from efficarch.reducers.random import RandomPrune
from efficarch.reducers.tome import ToMe
from tests.models.samples import WITH_CLS, leaving, noise, tiny
from tests.reducers.samples import encoders, reduced, traces


@dataclass(frozen=True)
class Diary(Reducer):
    """A method that only notes when it is attached and detached."""

    name: str
    lines: list[str] = field(default_factory=list)
    site: ClassVar[str | None] = None

    @contextmanager
    def attach(self, model: nn.Module) -> Iterator[None]:
        """Note both ends."""
        self.lines.append(f"+{self.name}")
        try:
            yield
        finally:
            self.lines.append(f"-{self.name}")


WRONG_ORDER = r"ExactTail \(tail\) cannot be followed by ToMe \(patches\); .* in the order input"


@dataclass(frozen=True)
class Refusing(Reducer):
    """A method that no model suits."""

    site: ClassVar[str | None] = "tail"

    @contextmanager
    def attach(self, model: nn.Module) -> Iterator[None]:
        """Refuse."""
        raise EfficarchError(f"{type(model).__name__} does not suit")
        yield


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tomee", "unknown method 'tomee'; did you mean 'tome'"),
        ("tome+exact-tale", "unknown method 'exact-tale'; did you mean 'exact-tail'"),
        ("zzz", "unknown method 'zzz'; known: none, random, grid, downsample, .*, exact-tail"),
    ],
    ids=["near", "near in a composition", "far from all"],
)
def test_an_unknown_method_gets_a_hint(name: str, said: str) -> None:
    """A typing mistake names the method that was meant, or all there are."""
    with pytest.raises(UnknownNameError, match=said):
        REDUCERS[name]


@pytest.mark.parametrize(
    ("name", "reducer"),
    [
        ("random", RandomPrune(0.5)),
        ("norm", NormPrune(0.5)),
        ("tome", ToMe(0.5)),
        ("tome+exact-tail", Composite((ToMe(0.5), ExactTail()))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_name_builds_the_method(name: str, reducer: Reducer) -> None:
    """A row, called with a keep, is the method with its defaults; ``+`` composes."""
    assert REDUCERS[name](0.5) == reducer
    assert str(REDUCERS[name]) == name


def test_cases_cover_every_row() -> None:
    """Each method comes at each keep; one without a keep comes once."""
    cases = REDUCERS.cases("dinov2-small", keeps=[1.0, 0.5])

    without = [(name, None) for name in ("none", "exact-tail")]
    assert [(str(method), keep) for method, keep in cases if not method.takes_keep] == without
    assert [(str(method), keep) for method, keep in cases if method.takes_keep] == [
        (row.name, keep)
        for row in REDUCERS
        if row.takes_keep and "dinov2-small" in row.models
        for keep in (1.0, 0.5)
    ]


@pytest.mark.parametrize("row", list(REDUCERS), ids=str)
def test_every_row_says_what_a_reader_asks(row: Method) -> None:
    """Each row names a source, a place, a cost and what is kept, and builds what it names."""
    assert all((row.paper, row.where, row.cost, row.keeps, row.models))
    assert row.control == row.paper.startswith("control:")
    assert isinstance(row(0.5), row.parts[0].kind())


def test_controls_come_first() -> None:
    """A reader meets what every claim has to beat before the claims."""
    assert [row.control for row in REDUCERS] == sorted(
        (row.control for row in REDUCERS), reverse=True
    )


def concrete(module: ModuleType) -> set[str]:
    """Return the finished methods that a module defines, as a row would name them."""
    short = module.__name__.removeprefix("efficarch.reducers.")
    return {
        f"{short}:{name}"
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, Reducer) and not isabstract(kind)
        if kind.__module__ == module.__name__
    }


def test_every_file_has_its_row() -> None:
    """Every method of the package, found by looking into its files, is reached by a row."""
    import efficarch.reducers as package

    modules = [
        import_module(f"efficarch.reducers.{info.name}") for info in iter_modules(package.__path__)
    ]
    found = set().union(*(concrete(module) for module in modules)) - {"base:Composite"}

    assert found == {part.target for row in REDUCERS for part in row.parts}


@pytest.mark.parametrize("row", list(REDUCERS), ids=str)
def test_every_choice_can_be_built(row: Method) -> None:
    """Each value that a search may try is a valid setting, and the default is not the only one."""
    reducer = row(0.5)
    for name, values in reducer.choices.items():
        assert len(set(values)) == len(values) > 1
        for value in values:
            assert getattr(replace(reducer, **{name: value}), name) == value


def test_cases_of_an_unknown_model_are_none() -> None:
    """A method is measured only on the models its row names."""
    assert REDUCERS.cases("resnet50", keeps=[0.5]) == []


@pytest.mark.parametrize("encoder", encoders(WITH_CLS), indirect=True)
@pytest.mark.parametrize("keep", [0.3, 0.7])
def test_tome_then_exact_tail_is_tome(encoder: Subject, keep: float) -> None:
    """The composition gives ToMe's embedding, for less work."""
    pixels = noise(encoder.model.config.image_size)

    both = reduced(encoder, ToMe(keep) | ExactTail(), pixels)
    alone = reduced(encoder, ToMe(keep), pixels)

    assert (both - alone).norm() <= 1e-5 * alone.norm()


def test_nothing_follows_exact_tail() -> None:
    """The wrong order is refused with the reason, in code and by name."""
    with pytest.raises(EfficarchError, match=WRONG_ORDER):
        ExactTail() | ToMe(0.5)
    with pytest.raises(EfficarchError, match=WRONG_ORDER):
        REDUCERS["exact-tail+tome"](0.5)


def test_compositions_attach_in_order() -> None:
    """The first method is attached first and detached last."""
    lines: list[str] = []

    with (Diary("a", lines) | Diary("b", lines) | Diary("c", lines)).attach(nn.Identity()):
        lines.append("body")

    assert lines == ["+a", "+b", "+c", "body", "-c", "-b", "-a"]


def test_compositions_are_flat() -> None:
    """However they are nested, the parts are the methods in order."""
    a, b, c = Diary("a"), Diary("b"), Diary("c")

    assert parts((a | b) | c) == parts(a | (b | c)) == (a, b, c)
    assert parts(a) == (a,)


def test_a_composition_that_cannot_attach_detaches_what_it_attached(encoder: Subject) -> None:
    """If the second method refuses the model, the first one leaves no trace."""
    before = traces(encoder.model)

    with (
        pytest.raises(EfficarchError),
        (RandomPrune(0.5) | Refusing()).attach(encoder.model),
    ):
        pass

    assert traces(encoder.model) == before


@pytest.mark.parametrize("method", [RandomPrune, NormPrune])
@pytest.mark.parametrize("after", [-1, 3, 4])
def test_after_has_to_leave_a_block(
    encoder: Subject, method: type[RandomPrune] | type[NormPrune], after: int
) -> None:
    """Of four blocks, pruning after the last spares nothing; the error names the range."""
    reducer = method(0.5, after=(after,))

    with (
        pytest.raises(EfficarchError, match=f"after is {after}; with 4 blocks .* in 0 to 2"),
        reducer.attach(encoder.model),
    ):
        pass


def test_stages_that_do_not_fit_get_some_that_do() -> None:
    """EViT's stages are those of twelve blocks; of four the error names the nearest, which work."""
    model = tiny("dinov2").model

    with (
        pytest.raises(EfficarchError, match=r"after is 3; .* in 0 to 2: use after=\(2,\)"),
        REDUCERS["evit"](0.5).attach(model),
    ):
        pass
    with EViT(0.5, after=(2,)).attach(model):
        assert leaving(tiny("dinov2"), 3, noise()).shape[1] == 9


def test_a_single_block_cannot_be_pruned() -> None:
    """There is nothing after it that fewer tokens would spare."""
    with pytest.raises(EfficarchError, match="the model has 1 block and none after it to spare"):
        check_stages((0,), depth=1)


@pytest.mark.parametrize("method", [RandomPrune, NormPrune])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_after_says_where(
    encoder: Subject, method: type[RandomPrune] | type[NormPrune], after: int
) -> None:
    """Blocks up to the named one see every token, those after it fewer."""
    with (
        method(0.5, after=(after,)).attach(encoder.model),
        recorded_tokens(encoder.model) as tokens,
    ):
        encoder.embed(noise(encoder.model.config.image_size))

    full = tokens[0]
    assert [count == full for count in tokens] == [index <= after for index in range(4)]


@pytest.mark.parametrize(
    ("keep", "patches", "kept"),
    [(0.7, 10, 7), (0.1, 10, 1), (0.5, 25, 13), (1e-9, 256, 1), (1.0, 256, 256), (0.25, 256, 64)],
)
def test_kept_patches_rounds_up(keep: float, patches: int, kept: int) -> None:
    """Rounding errors of the product do not count, and one patch always stays."""
    assert kept_patches(keep, patches) == kept


@settings(deadline=None)
@given(keep=st.floats(0, 1, exclude_min=True), patches=st.integers(1, 2000))
def test_kept_patches_is_the_next_whole_number(keep: float, patches: int) -> None:
    """What is kept is at least keep * patches, less than one more, and never none."""
    kept = kept_patches(keep, patches)

    assert 1 <= kept <= patches
    assert kept >= keep * patches - 1e-6
    assert kept == 1 or kept - 1 < keep * patches


@settings(deadline=None)
@given(patches=st.integers(1, 2000), data=st.data())
def test_kept_patches_inverts_a_division(patches: int, data: st.DataObject) -> None:
    """Asked for k of n as the fraction k / n, exactly k stay."""
    count = data.draw(st.integers(1, patches))

    assert kept_patches(count / patches, patches) == count


def test_top_patches_keeps_their_order() -> None:
    """The highest scores of each row, by index."""
    score = torch.tensor([[3.0, 1.0, 9.0, 5.0], [0.0, -1.0, -3.0, -2.0]])

    assert top_patches(score, 2).tolist() == [[2, 3], [0, 1]]


def test_replaced_forwards_nest() -> None:
    """An inner replacement gives way to the outer one, and that one to the class's own."""
    module = nn.Identity()
    x = torch.ones(1)

    with replaced_forward(module, lambda x: x + 1):
        with replaced_forward(module, lambda x: x + 2):
            assert module(x) == 3
        assert module(x) == 2

    assert module(x) == 1
    assert "forward" not in vars(module)
