"""The bytes of a run file: what an editor or a shell makes of good JSON is read, else named."""

import json
from pathlib import Path

import pytest

from efficarch import files
from efficarch.errors import EfficarchError, RunFileError
from efficarch.store import load_run, load_sample, save_baseline
from tests import samples
from tests.gate.paired_cases import plain_file
from tests.store.cases import written

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"]


def why(path: Path) -> str:
    """Return why a file is refused, after its name, and that both readers say the same."""
    sentences = set()
    for read in (load_run, load_sample):
        with pytest.raises(RunFileError) as caught:
            read(path)
        sentences.add(str(caught.value))
    (sentence,) = sentences
    assert sentence.startswith(f"{path}: ")
    return sentence.removeprefix(f"{path}: ")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_of_json_is_read(tmp_path: Path, encoding: str) -> None:
    """With a byte order mark or without, as PowerShell's ``>`` and an editor write them."""
    path = tmp_path / "run.json"
    path.write_bytes(json.dumps(samples.run_json(), ensure_ascii=False).encode(encoding))

    assert load_run(path) == samples.run()
    assert list(load_sample(path).cells) == [samples.cell().id]


def test_a_baseline_is_kept_in_utf_8(tmp_path: Path) -> None:
    """Whatever the run file was saved in."""
    path = tmp_path / "run.json"
    path.write_bytes(json.dumps(samples.run_json()).encode("utf-16"))

    kept = save_baseline(path, tmp_path / "baselines")

    assert json.loads(kept.read_text(encoding="utf-8")) == samples.run_json()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty; the run that wrote it did not finish, run again"),
        (b" \r\n\t", "is empty; the run that wrote it did not finish, run again"),
        (
            '{"datetime": "Mü"}'.encode("latin-1"),
            "not text in UTF-8, UTF-16 or UTF-32 (invalid start byte at byte 15); save it in UTF-8",
        ),
        (b"\xff\xfe{", "not text in UTF-8, UTF-16 or UTF-32 (truncated data at byte 2)"),
        (b"\x1f\x8b\x08\x08archive", "not text in UTF-8, UTF-16 or UTF-32 (invalid start byte"),
        (b'{"a": "\xed\xa0\x80"}', "not text in UTF-8, UTF-16 or UTF-32 (invalid continuation"),
    ],
    ids=["empty", "blank", "latin-1", "half a character", "archive", "surrogate"],
)
def test_bytes_that_are_no_text_are_named(tmp_path: Path, content: bytes, sentence: str) -> None:
    """An encoding is not a run that did not finish, and what to do differs."""
    path = tmp_path / "run.json"
    path.write_bytes(content)

    assert why(path).startswith(sentence)


def test_a_file_of_absurd_size_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that names a disk image by mistake takes no memory."""
    monkeypatch.setattr(files, "LARGEST_BYTES", 2**20)
    path = tmp_path / "run.json"
    path.write_bytes(b" " * (2**20 + 1))

    assert why(path) == "is larger than 1 MB, more than such a file holds; name another"


@pytest.mark.parametrize(
    "place",
    ['"efficarch": {"schema": 5, "schema": 4}', '"a": [{"b": {"schema": 1, "c": 2, "schema": 1}}]'],
    ids=["section", "deep"],
)
def test_a_key_that_stands_twice_is_refused(tmp_path: Path, place: str) -> None:
    """Which of the two counts is nobody's to guess, also where nothing else is read."""
    path = tmp_path / "run.json"
    path.write_text('{"benchmarks": [], ' + place + "}")

    assert why(path) == "the key 'schema' stands twice in one object; the file was edited"


@pytest.mark.parametrize(
    "place",
    [("message",), ("limits", "reasons", 0), ("cell", "\ud800")],
    ids=["text", "list", "key"],
)
def test_text_that_is_no_unicode_is_refused(tmp_path: Path, place: tuple[str | int, ...]) -> None:
    """A lone surrogate passes JSON, and no report with it could be written."""
    data = samples.run_json()
    line = data["efficarch"]["cells"][0]
    for key in place[:-1]:
        line = line[key]
    line[place[-1]] = "a\udcffb"
    path = written(tmp_path / "run.json", data)

    assert why(path).startswith("holds text that is no Unicode (surrogates not allowed)")


def test_paired_surrogates_are_one_character(tmp_path: Path) -> None:
    """As JSON writes what lies beyond the first 65,536 characters."""
    path = plain_file(tmp_path / "run.json", {"a[\U0001f600]": 1.0}, created=0)

    assert "\\ud83d\\ude00" in path.read_text()
    assert list(load_sample(path).cells) == ["a[\U0001f600]"]


def test_a_number_too_long_to_read_is_no_run_cut_short(tmp_path: Path) -> None:
    """The sentence says what it is, and not that a run did not finish."""
    path = tmp_path / "run.json"
    path.write_text('{"benchmarks": [], "a": ' + "9" * 5000 + "}")

    assert "4300 digits" in why(path)
    assert "did not finish" not in why(path)


def test_a_baseline_that_cannot_be_read_is_not_copied(tmp_path: Path) -> None:
    """Nothing is written for a file that is no text."""
    path = tmp_path / "run.json"
    path.write_bytes(b"\xff")

    with pytest.raises(EfficarchError, match="not text in UTF-8"):
        save_baseline(path, tmp_path / "baselines")
    assert not (tmp_path / "baselines").exists()
