"""The exit code of verdicts, and that they do not vary."""

from collections.abc import Iterator

import pytest

from efficarch.gate import Outcome, Verdict, check_limits, compare, exit_code
from efficarch.record import Status
from tests import samples


@pytest.mark.parametrize(
    ("judged", "compared", "code"),
    [
        pytest.param("", "", 4, id="no cell at all"),
        pytest.param("p", "", 0, id="pass"),
        pytest.param("f", "", 1, id="fail"),
        pytest.param("n", "", 4, id="nothing judged"),
        pytest.param("nn", "pp", 4, id="nothing judged, however it compares"),
        pytest.param("i", "", 3, id="inconclusive only"),
        pytest.param("in", "", 3, id="inconclusive and not measured"),
        pytest.param("pi", "", 0, id="pass and inconclusive"),
        pytest.param("fi", "", 1, id="fail and inconclusive"),
        pytest.param("pn", "", 0, id="pass and not comparable"),
        pytest.param("pf", "", 1, id="one of two fails"),
        pytest.param("nf", "", 1, id="fail and not comparable"),
        pytest.param("pp", "pp", 0, id="pass on both counts"),
        pytest.param("pp", "pf", 1, id="slower than the baseline"),
        pytest.param("pp", "pi", 0, id="inconclusive against the baseline"),
        pytest.param("pp", "nn", 0, id="another machine's baseline"),
        pytest.param("n", "f", 1, id="only the baseline fails"),
    ],
)
def test_exit_code(judged: str, compared: str, code: int) -> None:
    """A failure outweighs everything, and without a pass there is no success."""
    assert exit_code(verdicts_of(judged), verdicts_of(compared)) == code


def verdicts_of(letters: str) -> Iterator[Verdict]:
    """Yield one verdict per first letter of its outcome."""
    by_letter = {outcome.value[0]: outcome for outcome in Outcome}
    return (Verdict(f"cell {n}", by_letter[letter]) for n, letter in enumerate(letters))


def test_same_input_gives_same_verdicts() -> None:
    """Judging leaves no trace: the second time says what the first time said."""
    now = samples.run(
        samples.line(measured=samples.measurement(ratio=0.9)),
        samples.line(samples.cell("norm"), status=Status.SKIPPED, message="no weights"),
    )
    base = samples.run()

    assert check_limits(now) == check_limits(now)
    assert compare(now, base) == compare(now, base)
