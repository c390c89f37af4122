"""Writing a file: whole or not at all, readable by others, and records as JSON values."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from efficarch.errors import EfficarchError
from efficarch.record import Estimate, Weights
from efficarch.store import plain, write_text


@pytest.fixture(name="umask")
def restored_umask() -> Iterator[Callable[[int], int]]:
    """Return os.umask, and put the process's own back afterwards."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def test_write_creates_folders(tmp_path: Path) -> None:
    """A report can go where nothing is yet; nothing but the file is left there."""
    path = tmp_path / "a" / "b" / "report.html"

    write_text(path, "× – ü\n")

    assert path.read_bytes() == "× – ü\n".encode()
    assert list(path.parent.iterdir()) == [path]


def test_write_replaces(tmp_path: Path) -> None:
    """The old content is gone entirely, also where it was longer."""
    path = tmp_path / "report.html"
    path.write_text("a much longer old report", encoding="utf-8")

    write_text(path, "new")

    assert path.read_text(encoding="utf-8") == "new"


def fail_to_open(descriptor: int, *_args: object, **_kwargs: object) -> None:
    """Stand in for an os.fdopen that fails, without leaking its descriptor."""
    os.close(descriptor)
    raise OSError(28, "No space left on device")


def fail_to_rename(*_args: object) -> None:
    """Stand in for a Path.replace that fails."""
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("name", "failure"),
    [("os.fdopen", fail_to_open), ("Path.replace", fail_to_rename)],
    ids=["opening", "renaming"],
)
def test_failed_write_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, failure: Callable[..., None]
) -> None:
    """A full disk costs the new report, not the old one, and leaves no temporary file."""
    path = tmp_path / "report.html"
    path.write_text("old", encoding="utf-8")
    monkeypatch.setattr(f"efficarch.store.{name}", failure)

    with pytest.raises(EfficarchError) as caught:
        write_text(path, "new")

    assert str(caught.value) == f"cannot write {path}: No space left on device"
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_stopped_write_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the last moment changes nothing, and stays Ctrl-C."""

    def stop(*_args: object) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "report.html"
    path.write_text("old", encoding="utf-8")
    monkeypatch.setattr("efficarch.store.Path.replace", stop)

    with pytest.raises(KeyboardInterrupt):
        write_text(path, "new")

    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("below", ["report.html", "deeper/report.html"])
def test_path_below_a_file_cannot_be_written(tmp_path: Path, below: str) -> None:
    """A file where a folder has to be is a sentence, and is left alone."""
    file = tmp_path / "file"
    file.write_text("old", encoding="utf-8")

    with pytest.raises(EfficarchError) as caught:
        write_text(file / below, "new")

    assert str(caught.value).startswith(f"cannot write {file / below}: ")
    assert str(caught.value).endswith("; choose another folder")
    assert file.read_text(encoding="utf-8") == "old"


def test_folder_is_not_overwritten(tmp_path: Path) -> None:
    """A folder where the file has to be is a sentence, and no temporary file stays behind."""
    folder = tmp_path / "report.html"
    folder.mkdir()

    with pytest.raises(EfficarchError) as caught:
        write_text(folder, "new")

    assert str(caught.value).startswith(f"cannot write {folder}: ")
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o000, 0o666), (0o077, 0o600)], ids=oct
)
def test_written_file_honours_the_umask(
    tmp_path: Path, umask: Callable[[int], int], mask: int, mode: int
) -> None:
    """Others may read a report where they may read any new file, and the umask is as before."""
    umask(mask)

    write_text(tmp_path / "report.html", "new")

    assert (tmp_path / "report.html").stat().st_mode & 0o777 == mode
    assert umask(mask) == mask


def test_plain_turns_records_into_json() -> None:
    """Enums become their values and tuples lists, however deep they lie."""
    value = {"a": (Weights.NONE, Estimate(1.0, 0.5, 2.0)), "b": [None, True, 1, "x"]}

    assert plain(value) == {
        "a": ["none", {"value": 1.0, "low": 0.5, "high": 2.0}],
        "b": [None, True, 1, "x"],
    }
