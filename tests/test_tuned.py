"""Claims about files of tuned configurations: what is written is read, and typos are named."""

from pathlib import Path

import pytest

from efficarch.errors import EfficarchError
from efficarch.tuned import Tuned, load_tuned, tuned_text

ENTRIES = [
    Tuned("dinov2-small", "tome+exact-tail", 0.57, 0.31, {"schedule": "constant"}),
    Tuned("dinov2-small", "random+exact-tail", 0.5, 0.25, {"after": (1, 4), "seed": 3}),
    Tuned("clip-vit-b16", "pitome", 0.57, 0.4, {"weighted": False}),
    Tuned("clip-vit-b16", "downsample", 0.57, 0.5),
]

GOOD = tuned_text(ENTRIES[:1])


def test_a_file_holds_what_was_written(tmp_path: Path) -> None:
    """Numbers, words, booleans and tuples survive; options may be empty."""
    path = tmp_path / "tuned.toml"
    path.write_text(tuned_text(ENTRIES))

    assert load_tuned(path) == ENTRIES


def test_an_empty_file_has_no_entries(tmp_path: Path) -> None:
    """Suites may have no tuned configuration."""
    path = tmp_path / "tuned.toml"
    path.write_text("")

    assert load_tuned(path) == []


def test_a_name_tells_the_latency() -> None:
    """Cells are called by method and goal, without trailing zeros."""
    assert ENTRIES[1].name == "random+exact-tail@0.5"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[tuned", "mend it or write it anew"),
        (GOOD.replace("keep = 0.31", "kept = 0.31"), "kept is 0.31; an entry has exactly model"),
        (GOOD.replace("keep = 0.31", ""), "keep is None; an entry has exactly model"),
        (GOOD.replace("0.31", '"0.31"'), "keep is '0.31'; an entry has exactly"),
        (GOOD.replace("0.57", "1"), "latency_ratio is 1; an entry has exactly"),
        ("tuned = 5", r"write entries as \[\[tuned\]\]"),
        ("tuned = [5]", r"write entries as \[\[tuned\]\]"),
        ("[tuned]", r"write entries as \[\[tuned\]\]"),
        ("x = " + "[" * 100_000, "mend it or write it anew"),
        (GOOD.replace("0.31", f"0x1{'0' * 5000}"), "keep is int of absurd size; an entry has"),
        (GOOD.replace("0.31", "nan"), "keep is nan; give more than 0, at most 1.0"),
        (GOOD.replace("0.31", "1.5"), "keep is 1.5; give more than 0, at most 1.0"),
        (GOOD.replace("0.57", "-0.5"), "latency_ratio is -0.5; give more than 0"),
        (GOOD.replace("0.57", "inf"), "latency_ratio is inf; give more than 0"),
        (GOOD + GOOD, "tome.exact-tail@0.57 on dinov2-small is there twice; remove one"),
    ],
    ids=[
        *("no TOML", "unknown field", "missing field", "text", "whole number", "number of them"),
        *("list of numbers", "single brackets", "deep", "absurd", "NaN", "more than all"),
        *("negative", "infinite", "twice"),
    ],
)
def test_a_file_with_a_mistake_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """The sentence names the file, the field and what belongs there."""
    path = tmp_path / "tuned.toml"
    path.write_text(text)

    with pytest.raises(EfficarchError, match=f"tuned.toml: .*{said}"):
        load_tuned(path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path, encoding: str) -> None:
    """As some editors, and PowerShell's ``>``, write it."""
    path = tmp_path / "tuned.toml"
    path.write_bytes(GOOD.encode(encoding))

    assert load_tuned(path) == ENTRIES[:1]


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """The sentence says which command writes it."""
    with pytest.raises(EfficarchError, match="write it with efficarch tune"):
        load_tuned(tmp_path / "tuned.toml")
