"""Claims about what a parameter's value is called: the same in every process, or nothing."""

import subprocess
import sys
from collections import OrderedDict, namedtuple
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, Flag, StrEnum
from fractions import Fraction
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch

from efficarch.cells import build_cell
from efficarch.errors import EfficarchError
from efficarch.parameter_names import is_text_of, name_of, unnamed


@dataclass(frozen=True)
class Named:
    """A row of some table, which holds a function."""

    name: str
    function: Any = len


@dataclass(frozen=True)
class Shape:
    """Plain data."""

    height: int
    width: int = 2
    seen: int = field(default=0, repr=False)


@dataclass(frozen=True)
class Holder:
    """Data that holds something else."""

    held: Any


Point = namedtuple("Point", "x y")
Colour = Enum("Colour", "RED GREEN")
Word = StrEnum("Word", "FIRST")
Bits = Flag("Bits", "A B")


class Plain:
    """It prints with its address."""


class Misnamed:
    """Its name is no text."""

    name = 7


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("tome", "tome"),
        ("", ""),
        (8, "8"),
        (0.5, "0.5"),
        (True, "True"),
        (None, "None"),
        (1j, "1j"),
        (b"x", "b'x'"),
        (Decimal("0.50"), "0.50"),
        (Fraction(1, 3), "1/3"),
        (np.float64(0.5), "0.5"),
        (np.int64(5), "5"),
        (range(3), "range(0, 3)"),
        (int, "<class 'int'>"),
        (torch.float32, "torch.float32"),
        (torch.device("cpu"), "cpu"),
        (Named("tome"), "tome"),
        (PurePosixPath("a/b"), "b"),
        (Colour.RED, "RED"),
        (Word.FIRST, "FIRST"),
        (Bits.A, "A"),
        (Bits(0), "0"),
        ((), "()"),
        ((1,), "(1,)"),
        ((1, "a", None), "(1, 'a', None)"),
        ([[1], (2.0, True)], "[[1], (2.0, True)]"),
        ({"a": 1, 2: [3]}, "{'a': 1, 2: [3]}"),
        ((Named("tome"), Colour.RED, "tome"), "(tome, RED, 'tome')"),
        (Shape(1), "Shape(height=1, width=2)"),
        (Point(1, "a"), "Point(x=1, y='a')"),
        (Holder((Shape(1), Named("x"))), "Holder(held=(Shape(height=1, width=2), x))"),
        ("50 % of it", "50 % of it"),
        (["100%s"], "['100%s']"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_value_is_called_by_its_name_or_text(value: object, expected: str) -> None:
    """By its name if it has one, within others too; else as it prints."""
    assert name_of(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        len,
        lambda: 1,
        partial(print, 1),
        "text".upper,
        Plain(),
        Misnamed(),
        {"a", "b"},
        frozenset("a"),
        object(),
        np.zeros(3),
        torch.zeros(3),
        OrderedDict(a=1),
        (1, {"a"}),
        [lambda: 1],
        {"a": len},
        {len: 1},
        Holder(Plain()),
        Holder({"a"}),
        Point(1, len),
        "<function f at 0x7f3a2c1d0e50>",
        (repr(Plain()),),
        Named("<bound method at 0xBEEF>"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_may_print_otherwise_elsewhere_is_called_nothing(value: object) -> None:
    """Functions, sets, objects that print with their address, and what holds any of them."""
    assert name_of(value) is None


def test_a_text_that_only_looks_like_an_address_is_kept() -> None:
    """A number in hexadecimal is somebody's parameter."""
    assert name_of("0x7f3a2c1d0e50") == "0x7f3a2c1d0e50"


def test_names_are_the_same_whatever_the_seed_of_hashes() -> None:
    """In processes whose sets have other orders."""
    code = (
        "from tests.test_parameter_names import *\n"
        "print([name_of(each) for each in (Holder(({1: 'a'}, Named('x'))), {'a', 'b'}, Shape(1))])"
    )

    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert said == {str(["Holder(held=({1: 'a'}, x))", None, "Shape(height=1, width=2)"]) + "\n"}


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (len, "parameter 'p' is a builtin_function_or_method without a name of its own"),
        (lambda: 1, "parameter 'p' is a function without a name of its own"),
        ({1}, "parameter 'p' is a set without a name of its own"),
        (object(), "parameter 'p' is an object without a name of its own"),
        ("x at 0x7f", "parameter 'p' is a str whose text holds an address"),
    ],
)
def test_the_refusal_names_parameter_kind_and_mend(value: object, sentence: str) -> None:
    """In one sentence."""
    assert unnamed("p", value) == f"{sentence}; give it one: ids=[...]"


@pytest.mark.parametrize("parameter", ["model", "reducer", "backend", "planner", "factory"])
def test_a_cell_of_what_is_called_nothing_is_refused(parameter: str) -> None:
    """Whatever the parameter stands for."""
    with pytest.raises(EfficarchError, match=f"^s: parameter '{parameter}' is a function without"):
        build_cell("s", {parameter: lambda: 1}, dtype="float32", device="cpu")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("one", len, False),
        ("abc", {"a"}, False),
        (repr(Plain()), Plain(), True),
        ("{'a'}", {"a"}, True),
        ("Holder(held={'a'})", Holder({"a"}), True),
        ("<function <lambda> at 0x7f>", lambda: 1, True),
    ],
    ids=[
        "of a function",
        "of a set",
        "address",
        "text of a set",
        "text of data",
        "text of a lambda",
    ],
)
def test_an_id_that_is_only_the_text_of_the_value(name: str, value: object, expected: bool) -> None:
    """As ids=str would give it."""
    assert is_text_of(name, value) is expected
