"""Claims about patterns over cell ids."""

import pytest

from efficarch.patterns import matches


@pytest.mark.parametrize(
    ("pattern", "cell_id", "named"),
    [
        ("t.py::a[cuda-float16]", "t.py::a[cuda-float16]", True),
        ("t.py::a[*]", "t.py::a[cuda-float16]", True),
        ("t.py::a[cd]", "t.py::ac", False),
        ("dinov2/*/keep=0.5/*", "dinov2/dinov2-small/norm/keep=0.5/batch=1/float32/cpu", True),
        ("dinov2/*", "clip/dinov2/x", False),
        ("ssd/?pp", "ssd/cpp", True),
        ("ssd/?pp", "ssd/ccpp", False),
        ("a.b", "axb", False),
        ("*", "two\nlines", True),
        ("", "a", False),
        ("a*b*c", "abbcc", True),
        ("a*b?*c", "abc", False),
        ("a*b?*c", "abbc", True),
        ("*ab*b", "ab", False),
        ("**a**", "xay", True),
        ("a*a", "a", False),
    ],
)
def test_only_the_star_and_the_question_mark_are_wild(
    pattern: str, cell_id: str, named: bool
) -> None:
    """An exact id names itself, whatever characters it holds."""
    assert matches(pattern, cell_id) is named


def test_many_stars_are_no_more_work_than_one() -> None:
    """The head names its own tests, and a pattern must not stop the judge."""
    text = "a" * 20_000

    assert not matches("*a" * 40 + "z", text)
    assert matches("*a" * 40 + "*", text)
