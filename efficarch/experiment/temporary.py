"""The temporary folder of a gate: marked as ours, locked while in use, and the only one removed."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from efficarch.errors import EfficarchError
from efficarch.experiment.interrupts import held_back
from efficarch.files import resolved

PREFIX = "efficarch-gate-"
MARKER = "efficarch-gate.lock"
CONTENTS = frozenset({MARKER, "agent", "base", "base-home", "base-python"}) | frozenset(
    {"build.log", "control", "head", "head-home", "head-python", "index", "pytest.ini"}
)
"""What a gate puts there; a folder that holds anything else is not removed for being stale."""

SIGNS = {os.pathsep: "Python's search path", "$": "pytest"}
"""What may not be in its path, and who reads it otherwise."""


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder for one gate and remove it afterwards; those that killed gates left go too.

    Raises:
        EfficarchError: there is no room for it, or nobody could name what is in it.
    """
    parent = resolved(Path(tempfile.gettempdir()))
    for sign, reader in SIGNS.items():
        if sign in str(parent):
            raise EfficarchError(
                f"the temporary folder is {parent}, and {reader} takes {sign!r} in a path for "
                "something else; set TMPDIR to another"
            )
    with held_back():
        for path in parent.glob(f"{PREFIX}*"):
            if _is_stale(path):
                remove(path)
        try:
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
            lock = _mark(folder)
        except OSError as error:
            raise EfficarchError(
                f"no temporary folder in {parent}: {error.strerror}; set TMPDIR to another"
            ) from error
    try:
        yield folder
    finally:
        with held_back():
            remove(folder)
            os.close(lock)


def remove(folder: Path) -> None:
    """Remove a folder of ours, what measured code made unreadable in it included.

    What cannot be removed stays for the next gate to try.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.is_dir():
        return
    folder.chmod(0o700)
    for root, names, _files in os.walk(folder):
        for path in (Path(root, name) for name in names):
            if not path.is_symlink():
                path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _mark(folder: Path) -> int:
    """Write the marker and hold its lock; the lock goes with the process, whatever ends it."""
    descriptor = os.open(folder / MARKER, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.write(descriptor, _signature(folder))
    return descriptor


def _signature(folder: Path) -> bytes:
    """Say which folder a marker was made for, so that one that was copied marks nothing."""
    found = folder.stat()
    text = f"temporary folder of efficarch gate\n{folder}\n{found.st_dev} {found.st_ino}\n"
    return os.fsencode(text)


def _is_stale(path: Path) -> bool:
    """Whether a folder was made by a gate that is gone.

    Anything that is not exactly what a gate leaves is somebody else's, whatever it is called.
    """
    try:
        if path.is_symlink() or path.stat().st_uid != os.getuid():
            return False
        if not {entry.name for entry in path.iterdir()} <= CONTENTS:
            return False
        descriptor = os.open(path / MARKER, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.read(descriptor, 10_000) == _signature(path)
    except OSError:
        return False
    finally:
        os.close(descriptor)
