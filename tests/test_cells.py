"""Cell ids: their layout, what they refuse, and that no two cells share one."""

from dataclasses import dataclass
from decimal import Decimal
from math import inf, nan
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from efficarch.cells import build_cell, name_of
from efficarch.errors import EfficarchError
from efficarch.record import Cell


@dataclass(frozen=True)
class Named:
    """A row of some table: it is called by its name."""

    name: str
    detail: int = 7


ENCODER = {"model": "dinov2-small", "reducer": Named("tome"), "keep": 0.5, "batch": 8}
SCAN = {"backend": Named("chunked"), "length": 1024, "batch": 2}


def build(suite: str, params: dict[str, Any]) -> Cell:
    """Return the cell of parameters on the CPU, in float32."""
    return build_cell(suite, params, dtype="float32", device="cpu")


def test_cell_of_an_encoder() -> None:
    """A reduced encoder reads suite, model, method, keep, batch, dtype, device."""
    assert build("dinov2", ENCODER) == Cell(
        id="dinov2/dinov2-small/tome/keep=0.5/batch=8/float32/cpu",
        suite="dinov2",
        model="dinov2-small",
        method="tome",
        keep=0.5,
        length=None,
        batch=8,
        dtype="float32",
        device="cpu",
    )


def test_cell_of_a_scan() -> None:
    """A scan has no model: the suite stands in for it, and is not written twice."""
    assert build("selective_scan", SCAN) == Cell(
        id="selective_scan/chunked/length=1024/batch=2/float32/cpu",
        suite="selective_scan",
        model="selective_scan",
        method="chunked",
        keep=None,
        length=1024,
        batch=2,
        dtype="float32",
        device="cpu",
    )


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        pytest.param({}, "s/none", id="no parameter"),
        pytest.param({"model": "m"}, "s/m/none", id="model only"),
        pytest.param({"model": Named("m")}, "s/m/none", id="model with a name"),
        pytest.param({"reducer": "r", "model": "m"}, "s/m/r", id="order of parameters"),
        pytest.param({"model": "m", "keep": None}, "s/m/none", id="keep is None"),
        pytest.param({"keep": 1.0}, "s/none/keep=1.0", id="keep of one"),
        pytest.param({"batch": 1}, "s/none/batch=1", id="batch of one"),
        pytest.param(
            {"batch": 2, "length": 64, "keep": 0.25},
            "s/none/keep=0.25/length=64/batch=2",
            id="fixed order of numbers",
        ),
        pytest.param(
            {"resolution": 224, "batch": 1}, "s/none/batch=1/resolution=224", id="extra at the end"
        ),
        pytest.param({"b": 1, "a": Named("x")}, "s/none/a=x/b=1", id="extras by name"),
        pytest.param({"flag": False}, "s/none/flag=False", id="false is a value"),
    ],
)
def test_id(params: dict[str, Any], expected: str) -> None:
    """Parts stand in a fixed order; what the test lacks is left out, extras follow."""
    assert build("s", params).id == f"{expected}/float32/cpu"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_dtype_and_device_end_the_id(dtype: str, device: str) -> None:
    """The last two parts are dtype and device, extras or not: budgets rely on it."""
    cell = build_cell("s", {"resolution": 224}, dtype=dtype, device=device)

    assert cell.id.split("/")[-2:] == [cell.dtype, cell.device] == [dtype, device]


def test_batch_is_one_unless_given() -> None:
    """A test without a batch measures one item per call, and its id does not say so."""
    cell = build("s", {})

    assert cell.batch == 1
    assert "batch" not in cell.id


@pytest.mark.parametrize(
    ("value", "expected"),
    [(Named("tome"), "tome"), ("tome", "tome"), (0.5, "0.5"), (8, "8"), (None, "None")],
    ids=["object with a name", "string", "float", "int", "none"],
)
def test_name_of(value: object, expected: str) -> None:
    """A value with a name is called by it, any other as it prints."""
    assert name_of(value) == expected


@pytest.mark.parametrize(
    "keep",
    [1, 2, True, 0, 0.0, -1, -0.5, 1.5, nan, inf, "x", "0.5", [0.5], Decimal("0.5")],
    ids=repr,
)
def test_bad_keep_is_refused(keep: object) -> None:
    """A keep ratio is a float in (0, 1]; the message names suite, value and a good one.

    An integer 1 is refused too: beside 1.0 it would give one cell two ids.
    """
    with pytest.raises(EfficarchError) as caught:
        build("dinov2", {**ENCODER, "keep": keep})

    assert str(caught.value) == (
        f"dinov2: keep is {keep!r}; it must be a float in (0, 1], for instance 0.5"
    )


@pytest.mark.parametrize("name", ["batch", "length"])
@pytest.mark.parametrize("value", [0, -1, 1.5, 8.0, nan, "8", True, False], ids=repr)
def test_bad_count_is_refused(name: str, value: object) -> None:
    """Batch and length are whole numbers from 1; the message names suite, parameter and value."""
    with pytest.raises(EfficarchError) as caught:
        build("scan", {name: value})

    assert str(caught.value) == f"scan: {name} is {value!r}; it must be a whole number >= 1"


@pytest.mark.parametrize("value", [Named("tome"), None], ids=["named", "none"])
@pytest.mark.parametrize(("one", "other"), [("reducer", "backend"), ("backend", "planner")])
def test_two_methods_are_refused(one: str, other: str, value: object) -> None:
    """A cell has one method, so a test that names two is refused and not called by the first."""
    with pytest.raises(EfficarchError) as caught:
        build("s", {one: value, other: Named("chunked")})

    assert str(caught.value) == f"s: a test has one of {one} and {other}, not both"


def test_cell_of_a_multi_resolution_scan() -> None:
    """A planner is a method like any other; what it saves and on which signal follow."""
    cell = build("mrss", {"planner": Named("stride"), "length": 64, "saving": 0.35, "signal": "x"})

    assert (cell.method, cell.id) == (
        "stride",
        "mrss/stride/length=64/saving=0.35/signal=x/float32/cpu",
    )


# few values each, so that two drawn sets often differ in one parameter only
PARAMETERS = st.fixed_dictionaries(
    {"reducer": st.sampled_from([Named("tome"), Named("norm"), Named("tome-norm")])},
    optional={
        "model": st.sampled_from(["clip", "clip-small", "dinov2"]),
        "keep": st.sampled_from([0.1, 0.11, 0.5, 1.0]),
        "length": st.sampled_from([1, 8, 18]),
        "batch": st.sampled_from([1, 8, 18]),
        "resolution": st.sampled_from([1, 18, 224]),
        "stride": st.sampled_from(["1", "8", "a", "a b"]),
    },
)


@settings(deadline=None, derandomize=True)
@given(PARAMETERS, PARAMETERS)
def test_different_parameters_give_different_ids(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    """Two tests of a suite share a cell only if they have the same parameters."""
    assume(one != other)

    assert build("s", one).id != build("s", other).id


@settings(deadline=None, derandomize=True)
@given(PARAMETERS, st.randoms(use_true_random=False))
def test_order_of_parameters_does_not_matter(params: dict[str, Any], random: Any) -> None:
    """The same parameters in another order are the same cell: baselines survive a rewrite."""
    items = list(params.items())
    random.shuffle(items)

    assert build("s", dict(items)) == build("s", params)
