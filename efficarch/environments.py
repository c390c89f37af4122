"""An environment of its own for each side of a gate, where they may need different packages."""

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from efficarch.errors import EfficarchError, last_line
from efficarch.worktree import Tree, dependencies

COMPLETE = "complete"
"""Name of the file that a finished environment holds."""


def environment(tree: Tree, folder: Path, install: Sequence[str]) -> Path:
    """Return the Python of an environment with what a side needs; build it on first use.

    ``install`` are the arguments of ``pip install``, a string per call, run in the side's folder.
    Sides that need the same share an environment, as does a gate that goes on.

    Raises:
        EfficarchError: it cannot be built; what there was of it is removed.
    """
    wanted = json.dumps([sys.version, list(install), dependencies(tree.path)], sort_keys=True)
    path = folder.absolute() / sha256(wanted.encode()).hexdigest()[:16]
    python = path / "bin" / "python"
    if (path / COMPLETE).is_file():
        return python
    shutil.rmtree(path, ignore_errors=True)
    try:
        _run([sys.executable, "-m", "venv", str(path)], tree.path)
        for arguments in install:
            pip = [str(python), "-m", "pip", "install", "--quiet"]
            _run([*pip, *shlex.split(arguments)], tree.path)
        (path / COMPLETE).touch()
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
    return python


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise EfficarchError(
            f"the environment of a side cannot be built: {shlex.join(command[1:])} failed: "
            f"{last_line(done.stderr)}"
        )
