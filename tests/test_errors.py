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

    assert str(error) == sentence
    assert type(error) is UnknownNameError


def test_unknown_name_is_an_error_of_the_project() -> None:
    """The command line turns errors of the project into exit code 2, so this has to be one."""
    assert issubclass(UnknownNameError, EfficarchError)
