"""Claims about what is said of a process that measured nothing."""

from pathlib import Path

import pytest

from efficarch.experiment.complaint import complaint, shorten


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("", "it said nothing"),
        ("one\n\ntwo\n\n", "two"),
        ("E   ValueError: no\nERROR suites/test_a.py\n", "ValueError: no"),
        ("x" * 201, "x" * 197 + "..."),
    ],
)
def test_the_last_words_of_a_process(tmp_path: Path, log: str, said: str) -> None:
    """pytest's own error, where there is one, and never a page of it."""
    (tmp_path / "log").write_text(log)

    assert complaint(tmp_path / "log") == said


@pytest.mark.parametrize(
    ("log", "way_on"),
    [
        ("E   ModuleNotFoundError: No module named 'acclib._version'", "builds or generates it"),
        ("/x/bin/python: No module named pytest", "name pytest and pytest-benchmark in install"),
    ],
)
def test_a_missing_module_has_a_way_on(tmp_path: Path, log: str, way_on: str) -> None:
    """A checkout lacks what is built; an environment, what nobody asked for."""
    (tmp_path / "log").write_text(log)

    assert way_on in complaint(tmp_path / "log")


def test_a_flood_is_cut_to_its_end(tmp_path: Path) -> None:
    """What is read of a log, and what is kept of it, has a bound."""
    log = tmp_path / "log"
    log.write_text("line of a flood\n" * 100_000 + "the last\n")

    assert complaint(log) == "the last"
    shorten(log)
    assert log.stat().st_size < 1_100_000
    assert log.read_text().startswith("[what stood before is left out]")
    assert complaint(log) == "the last"


def test_the_folders_of_a_usage_error_are_not_its_words(tmp_path: Path) -> None:
    """pytest names them last."""
    (tmp_path / "log").write_text("ERROR: no such option\n  inifile: None\n  rootdir: /x\n")

    assert complaint(tmp_path / "log") == "ERROR: no such option"
