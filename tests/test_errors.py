"""Errors a user can meet: what a mistyped name is answered with."""

import pytest

from efficarch.errors import EfficarchError, UnknownNameError

KNOWN = ["tome", "norm", "exact-tail"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        pytest.param("tomee", "unknown method 'tomee'; did you mean 'tome'?", id="near"),
        pytest.param(
            "exact_tail", "unknown method 'exact_tail'; did you mean 'exact-tail'?", id="underscore"
        ),
        pytest.param(
            "fastv", "unknown method 'fastv'; known: tome, norm, exact-tail", id="none near"
        ),
        pytest.param("", "unknown method ''; known: tome, norm, exact-tail", id="empty"),
    ],
)
def test_unknown_name_is_answered_with_known_ones(name: str, sentence: str) -> None:
    """A near name is proposed alone; where none is near, all are listed in their order."""
    error = UnknownNameError.of("method", name, KNOWN)

    way_on = "efficarch list shows all, and CONTRIBUTING.md says how to add a method of your own"
    assert str(error) == f"{sentence}; {way_on}"
    assert type(error) is UnknownNameError


def test_a_name_nobody_can_add_gets_no_way_on() -> None:
    """The tables of some kinds are closed, and no command lists them."""
    error = UnknownNameError.of("signal", "sinus", ["ar1", "piecewise"])

    assert str(error) == "unknown signal 'sinus'; known: ar1, piecewise"


def test_unknown_name_is_an_error_of_the_project() -> None:
    """The command line turns errors of the project into exit code 2, so this has to be one."""
    assert issubclass(UnknownNameError, EfficarchError)
