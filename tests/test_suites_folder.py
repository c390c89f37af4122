"""Where a project keeps its benchmarks."""

from pathlib import Path

import pytest

from efficarch.errors import EfficarchError
from efficarch.suites_folder import suites_in


def project(folder: Path, *files: str, **settings: str) -> Path:
    """Write empty files, and settings by the name of their file with __ for a dot."""
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    for name, text in settings.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ([], ()),
        (["suites/test_a.py", "benchmarks/test_b.py", "tests/test_c.py"], ("suites",)),
        (["suites/deep/er/a_test.py"], ("suites",)),
        (["suites/README.md", "benchmarks/test_b.py", "tests/test_c.py"], ("benchmarks",)),
        (["bench/test_a.py", "benchmark/test_b.py", "tests/c.py"], ("benchmark", "bench")),
        (["benchmarks/run.py", "tests/test_c.py", "test/test_d.py"], ("tests", "test")),
        (["benchmarks/run.py", "tests/conftest.py"], ()),
        (["suites", "tests"], ()),
        (["test_a.py"], ()),
    ],
)
def test_usual_names(tmp_path: Path, files: list[str], found: tuple[str, ...]) -> None:
    """The first kind of folder that holds test files, at any depth."""
    assert suites_in(project(tmp_path, *files)) == found


INI = "[pytest]\ntestpaths = checks more\n"
TOML = '[tool.pytest.ini_options]\ntestpaths = ["checks"]\n'


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"pytest__toml": '[pytest]\ntestpaths = ["checks"]\n', "pytest__ini": INI}, ("checks",)),
        ({"_pytest__toml": '[pytest]\ntestpaths = ["more"]\n'}, ("tests",)),
        ({"pytest__ini": INI, "pyproject__toml": TOML}, ("checks", "more")),
        ({"pytest__ini": "", "pyproject__toml": TOML}, ("tests",)),
        ({"pyproject__toml": TOML, "tox__ini": INI}, ("checks",)),
        ({"pyproject__toml": '[tool.pytest]\ntestpaths = ["more"]\n'}, ("more",)),
        ({"pyproject__toml": '[tool.pytest.ini_options]\ntestpaths = "more checks"\n'},
         ("more", "checks")),
        ({"pyproject__toml": "[project]\n", "tox__ini": INI}, ("checks", "more")),
        ({"tox__ini": "[tox]\n", "setup__cfg": "[tool:pytest]\ntestpaths =\n  more\n"}, ("more",)),
        ({"pytest__ini": "[pytest]\ntestpaths = gone checks/*.py\n"}, ("checks/test_a.py",)),
        ({"pytest__ini": "[pytest]\ntestpaths = m*e ./checks/ more 'checks'\n"},
         ("more", "checks")),
        ({"pytest__ini": "[pytest]\ntestpaths = gone ../* /tmp\n"}, ("tests",)),
        ({"pytest__ini": "[pytest]\ntestpaths = .\n"}, (".",)),
        ({"pytest__ini": "[pytest]\ntestpaths = 'checks more\n"}, ("more",)),
        ({"pyproject__toml": "[tool.pytest]\ntestpaths = 3\n"}, ("tests",)),
    ],
)  # fmt: skip
def test_testpaths(tmp_path: Path, settings: dict[str, str], found: tuple[str, ...]) -> None:
    """Those of the file that pytest would read, as far as they exist inside the project."""
    project(tmp_path, "checks/test_a.py", "more/test_b.py", "tests/test_c.py", **settings)

    assert suites_in(tmp_path) == found


def test_dotted_settings_are_read(tmp_path: Path) -> None:
    """pytest looks for .pytest.ini too."""
    project(tmp_path, "checks/test_a.py")
    (tmp_path / ".pytest.ini").write_text(INI, encoding="utf-8")

    assert suites_in(tmp_path) == ("checks",)


def test_suites_come_before_testpaths(tmp_path: Path) -> None:
    """As in the checkout of efficarch, whose testpaths are unit tests."""
    project(tmp_path, "suites/test_a.py", "checks/test_b.py", pytest__ini=INI)

    assert suites_in(tmp_path) == ("suites",)


def test_what_counts_as_a_test_file_is_pytests_to_say(tmp_path: Path) -> None:
    """Benchmarks are often called otherwise."""
    files = "benchmarks/bench_a.py", "tests/test_b.py"
    project(tmp_path, *files, pytest__ini="[pytest]\npython_files = bench_*.py /x/*.py\n")

    assert suites_in(tmp_path) == ("benchmarks",)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", "[tool.pytest\n"),
        ("pytest.ini", "testpaths = x\n"),
        ("tox.ini", "[a]\nb"),
    ],
)
def test_settings_that_nobody_can_read_are_an_error(tmp_path: Path, name: str, text: str) -> None:
    """Nothing is guessed in their place."""
    (tmp_path / name).write_text(text, encoding="utf-8")

    with pytest.raises(EfficarchError, match=name):
        suites_in(tmp_path)
