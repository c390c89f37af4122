"""Claims about the gate's temporary folder: ours goes, everybody else's stays."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from efficarch.errors import EfficarchError
from efficarch.experiment.lock import only_gate
from efficarch.experiment.temporary import MARKER, PREFIX, temporary_folder


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which temporary ones are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def left_behind(parent: Path) -> Path:
    """Return the folder of a gate that was killed."""
    program = (
        "import os, tempfile\n"
        f"tempfile.tempdir = {str(parent)!r}\n"
        "from efficarch.experiment.temporary import temporary_folder\n"
        "with temporary_folder() as folder:\n"
        "    (folder / 'base').mkdir()\n"
        "    print(folder, flush=True)\n"
        "    os._exit(1)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    return Path(done.stdout.strip())


def test_a_folder_goes_with_its_gate_whatever_is_in_it(parent: Path) -> None:
    """What cannot be read or written included, and nothing that a link in it names."""
    (parent / "mine").mkdir()
    (parent / "mine" / "kept").write_text("x")
    with temporary_folder() as folder:
        (folder / "base" / "deep").mkdir(parents=True)
        (folder / "base" / "deep" / "file").write_text("x")
        (folder / "link").symlink_to(parent / "mine")
        (folder / "base" / "deep").chmod(0)
        (folder / "base").chmod(0o500)

    assert [path.name for path in parent.iterdir()] == ["mine"]
    assert (parent / "mine" / "kept").read_text() == "x"


def test_what_a_killed_gate_left_goes_with_the_next(parent: Path) -> None:
    """As its lock is free."""
    stale = left_behind(parent)
    assert stale.is_dir()

    with temporary_folder() as folder:
        assert not stale.exists()
        assert folder.is_dir()


def test_the_folder_of_a_gate_at_work_stays(parent: Path) -> None:
    """Its lock is held."""
    with temporary_folder() as first:
        with temporary_folder():
            assert first.is_dir()
        assert first.is_dir()


def moved(path: Path) -> Path:
    """Return the folder under another name, as a copy that somebody made would be."""
    return path.rename(path.with_name(f"{PREFIX}moved"))


def with_more(path: Path) -> Path:
    """Return the folder with something in it that no gate puts there."""
    (path / "checkout").mkdir()
    return path


def without_marker(path: Path) -> Path:
    """Return the folder as one that only has the name."""
    (path / MARKER).unlink()
    return path


def with_a_linked_marker(path: Path) -> Path:
    """Return the folder with a link to a marker."""
    (path / MARKER).rename(path.parent / "marker")
    (path / MARKER).symlink_to(path.parent / "marker")
    return path


def as_a_link(path: Path) -> Path:
    """Return a link by the right name to a folder that is elsewhere."""
    target = path.rename(path.parent / "elsewhere")
    path.symlink_to(target)
    return target


@pytest.mark.parametrize(
    "change", [moved, with_more, without_marker, with_a_linked_marker, as_a_link]
)
def test_what_is_not_exactly_what_a_gate_leaves_stays(
    parent: Path, change: Callable[[Path], Path]
) -> None:
    """It is somebody else's, whatever it is called."""
    kept = change(left_behind(parent))

    with temporary_folder():
        pass

    assert kept.is_dir()
    shutil.rmtree(kept)


def test_no_room_for_a_folder_is_one_sentence(parent: Path) -> None:
    """With what to do."""
    (parent / "file").write_text("")
    tempfile.tempdir = str(parent / "file")

    with (
        pytest.raises(EfficarchError, match=r"no temporary folder in .*set TMPDIR to another"),
        temporary_folder(),
    ):
        pass


def test_one_gate_at_a_time_on_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """In whichever repository; gates of other devices may run beside it."""
    monkeypatch.setattr("efficarch.experiment.lock.PATIENCE_S", 0.1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"test-{os.getpid()}-0")
    with only_gate():
        with (
            pytest.raises(EfficarchError, match="another gate is at work on this machine"),
            only_gate(),
        ):
            pass
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"test-{os.getpid()}-1")
        with only_gate():
            pass
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"test-{os.getpid()}-0")
    with only_gate():
        pass


@pytest.mark.parametrize(
    ("name", "words"),
    [("a:b", "Python's search path takes ':'"), ("$HOME", "pytest takes '$'")],
)
def test_a_path_that_others_read_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    """It is said at once, and nothing is made."""
    parent = tmp_path / name
    parent.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(parent))

    with pytest.raises(EfficarchError) as caught, temporary_folder():
        pass

    assert words in str(caught.value)
    assert str(caught.value).endswith("set TMPDIR to another")
    assert list(parent.iterdir()) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names of any bytes")
def test_bytes_that_are_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the name of the folder, and of the devices by which gates are told apart."""
    parent = tmp_path / os.fsdecode(b"\xff")
    parent.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(parent))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", os.fsdecode(b"\xff"))

    with only_gate(), temporary_folder() as folder:
        assert folder.is_dir()

    assert list(parent.iterdir()) == []
