"""What patterns name: as ``glob`` has it, and never without end."""

import time
from glob import glob
from pathlib import Path

import pytest

from efficarch import tree_match
from efficarch.errors import EfficarchError
from efficarch.tree_match import TreeMatch

FILES = [
    "a/test_a.py",
    "a/b/test_b.py",
    "a/b/c/test_c.py",
    "a/.hidden/test_d.py",
    ".dot/test_e.py",
    "a-b/test_f.py",
    "benchmarks/x/benchmarks/test_g.py",
    "[odd]/t.py",
    "benchmarks/test_h.py",
    "z.txt",
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with files of many names, and links to a file, a folder, nothing and itself."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "linked").symlink_to("benchmarks")
    (tmp_path / "file").symlink_to("z.txt")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "circle").symlink_to("circle")
    return tmp_path


PATTERNS = [
    ".",
    "./",
    "a",
    "a/",
    "./a",
    "gone",
    "a/gone",
    "a/../a",
    "a/b/..",
    "z.txt",
    "z.txt/",
    "file",
    "dangling",
    "circle",
    "*",
    "*/",
    "./*",
    "*.txt",
    "a*",
    "a*/",
    "*/b",
    "a/*/c",
    "*/*.py",
    "*/*/*.py",
    "**",
    "**/",
    "./**",
    "./**/",
    "**/*",
    "**/*/",
    "a/**",
    "a/**/",
    "**/benchmarks",
    "**/test_*.py",
    "**/**/test_*.py",
    "**/**/**/test_b.py",
    "a/**/c/**/*.py",
    "**/b/**",
    "**/*/c",
    ".*",
    ".dot/*",
    "a/.*",
    "**/.*",
    "**/.hidden",
    "[[]odd]/*",
    "[ab]/**",
    "?/b",
    "a//b",
    "linked/**",
    "**/x",
    "**/../z.txt",
    "*/../z.txt",
    "a**",
    "**a",
    "*/**/test_c.py",
    "***/x",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_same_as_before(tree: Path, pattern: str) -> None:
    """By pytest's own function, whatever the pattern."""
    expected = {
        Path(name).as_posix()
        for name in glob(pattern, root_dir=tree, recursive=True)  # noqa: PTH207
    }

    found = TreeMatch(tree).named(pattern)

    assert {Path(name).as_posix() for name in found} == expected
    assert len(found) == len(expected)


def test_the_order_is_that_of_names(tree: Path) -> None:
    """As it is sorted where pytest is told, a slash at the end included."""
    for pattern in ("*", "*/", "**/*.py", "a/**/"):
        expected = sorted(set(glob(pattern, root_dir=tree, recursive=True)))  # noqa: PTH207
        assert TreeMatch(tree).named(pattern) == expected


@pytest.mark.parametrize(
    "pattern",
    [
        "/".join(["**"] * 8 + ["nothing"]),
        "/".join(["**", "*"] * 8 + ["nothing"]),
        "/".join(["**", "d"] * 8 + ["nothing"]),
    ],
)
def test_many_wildcards_take_no_more_than_a_walk(tmp_path: Path, pattern: str) -> None:
    """Not one for each way to read them."""
    tmp_path.joinpath(*"d" * 30).mkdir(parents=True)
    start = time.monotonic()

    assert TreeMatch(tmp_path).named(pattern) == []
    assert time.monotonic() - start < 5


def test_links_to_a_folder_above_are_not_followed(tmp_path: Path) -> None:
    """They would lead to the same again, forty levels deep, and to each by every other."""
    (tmp_path / "d" / "benchmarks").mkdir(parents=True)
    for name in "abc":
        (tmp_path / name).symlink_to(".")
        (tmp_path / "d" / name).symlink_to("..")

    assert TreeMatch(tmp_path).named("**/benchmarks") == ["d/benchmarks"]


def test_there_is_an_end_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders that link to each other make more paths than anybody can walk."""
    for name in "abcdefghijkl":
        (tmp_path / name).mkdir()
        for other in "abcdefghijkl".replace(name, ""):
            (tmp_path / name / f"to-{other}").symlink_to(f"../{other}")
    monkeypatch.setattr(tree_match, "MOST", 20_000)

    with pytest.raises(EfficarchError, match=r"more than 20,000 files and folders in .*--suites"):
        TreeMatch(tmp_path).named("**/nothing")
    with pytest.raises(EfficarchError, match="more than 20,000"):
        TreeMatch(tmp_path).named("/".join(["*"] * 9))
