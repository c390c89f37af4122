"""Where a project keeps its benchmarks."""

import time
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
        ({"pytest__ini": "[pytest]\ntestpaths = gone ../gone /gone/* ../gone/*\n"}, ("tests",)),
        ({"pytest__ini": "[pytest]\ntestpaths = checks/../more gone/../checks\n"}, ("more",)),
        ({"pytest__ini": "[pytest]\ntestpaths = .\n"}, (".",)),
        ({"pytest__ini": "[pytest]\ntestpaths = 'checks more\n"}, ("more",)),
        ({"pyproject__toml": "[tool.pytest]\ntestpaths = 3\n"}, ("tests",)),
    ],
)  # fmt: skip
def test_testpaths(tmp_path: Path, settings: dict[str, str], found: tuple[str, ...]) -> None:
    """Those of the file that pytest would read, as far as they exist inside the project."""
    project(tmp_path, "checks/test_a.py", "more/test_b.py", "tests/test_c.py", **settings)

    assert suites_in(tmp_path) == found


@pytest.mark.parametrize(
    "entry", ["../common", "../*", "/", "/*", "checks/../..", "*/../../common", "../common/*"]
)
def test_what_lies_outside_is_not_left_out_silently(tmp_path: Path, entry: str) -> None:
    """It would be measured by pytest, and neither by bench nor by a gate."""
    (tmp_path / "common").mkdir()
    folder = project(tmp_path / "a", "checks/test_a.py")
    (folder / "pytest.ini").write_text(f"[pytest]\ntestpaths = checks {entry}\n")

    with pytest.raises(
        EfficarchError, match=r"outside the project.*inside it with --suites"
    ) as error:
        suites_in(folder)
    assert repr(entry) in str(error.value)


def test_an_absolute_path_inside_is_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever one stands, and by whichever name of the folder."""
    folder = project(tmp_path / "a", "checks/test_a.py", "more/test_b.py")
    (tmp_path / "link").symlink_to("a")
    settings = f"[pytest]\ntestpaths = {folder}/che* {folder}/more\n"
    (folder / "pytest.ini").write_text(settings)
    monkeypatch.chdir(folder)

    for here in (Path(), folder, tmp_path / "link"):
        assert suites_in(here) == ("checks", "more")


def test_settings_of_a_head_do_not_keep_the_judge_busy(tmp_path: Path) -> None:
    """Neither by patterns of paths nor by patterns of names."""
    project(tmp_path, *(f"tests/a/b/c/d/e/f/{n}.py" for n in range(300)), "/".join("d" * 26) + "/x")
    globs = f"testpaths = {'**/' * 8}nothing\n"
    names = " ".join(f"{n}_*x" for n in range(2000))
    start = time.monotonic()

    (tmp_path / "pytest.ini").write_text(f"[pytest]\n{globs}")
    assert suites_in(tmp_path) == ()
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npython_files = {names}\n")
    with pytest.raises(EfficarchError, match="testpaths, python_files"):
        suites_in(tmp_path)

    assert time.monotonic() - start < 20


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
