"""The command line as a process of its own, in surroundings that a test chooses."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

EFFICARCH = (sys.executable, "-m", "efficarch")
SCRIPT = (sys.executable, "-c", "import sys; from efficarch.cli import main; sys.exit(main())")
"""What the installed command does."""

_BLOCK = """
import os, sys
for name in os.environ["BLOCKED"].split():
    sys.modules[name] = None
"""


def run(
    command: Sequence[str | bytes | Path],
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    **streams: Any,
) -> subprocess.CompletedProcess[str]:
    """Run a command with this checkout on the path and return what it said."""
    kept = {name: value for name, value in os.environ.items() if name != "EFFICARCH_REQUIRE_CUDA"}
    if not streams:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.run(
        list(command),
        cwd=folder,
        env={**kept, "PYTHONPATH": str(ROOT), **(environment or {})},
        encoding="utf-8",
        errors="surrogateescape",
        timeout=120,
        check=False,
        **streams,
    )


def without(folder: Path, *modules: str) -> dict[str, str]:
    """Return an environment in which modules cannot be imported; the folder serves it alone."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_BLOCK, encoding="utf-8")
    return {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "BLOCKED": " ".join(modules)}
