"""The folder that a command writes into: others' files there stay, and git does not see ours."""

import re
from collections.abc import Sequence
from pathlib import Path

from efficarch.errors import EfficarchError

IGNORED = "# written by efficarch: what is here is made again by the command that made it\n*\n"

WRITTEN_BY_TUNE = "# written by efficarch tune\n"
"""First line of the TOML files of a search, whose like people write by hand too."""

_TELLS = {
    "index.html": r"""<meta name="generator" content="efficarch">|<title>[^<]*\befficarch\b""",
    "summary.md": r"\A## [✓✕?○] (PASS|FAIL|INCONCLUSIVE|NOT COMPARABLE): ",
    "run.json": r'"efficarch"\s*:',
    "verdicts.json": r'\A\{\s*"exit_code"\s*:',
    "experiment.json": r'\A\{\s*"(base|format)"\s*:',
    "trials.log": r'\A\{"op_code"',
    "pareto.csv": r"\Amethod,keep,options,latency_ratio,",
    "tuned.toml": rf"\A{WRITTEN_BY_TUNE}",
    "budgets.toml": rf"\A{WRITTEN_BY_TUNE}",
}
"""What tells a file of ours from anybody else's, by its name."""


def claim(folder: Path, names: Sequence[str]) -> None:
    """Make a folder ready for files of these names; one that is new or empty is hidden from git.

    Raises:
        EfficarchError: a file of one of the names is there and efficarch did not write it, or the
            folder cannot be created.
    """
    for name in names:
        refuse_foreign(folder / name, name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not any(folder.iterdir()):
            (folder / ".gitignore").write_text(IGNORED, encoding="utf-8")
    except OSError as error:
        raise EfficarchError(
            f"cannot write into {folder}: {error.strerror or error}; choose another --out"
        ) from error


def refuse_foreign(file: Path, kind: str) -> None:
    """Refuse to overwrite a file of a kind (``index.html``, ``run.json``...) that is not ours.

    Raises:
        EfficarchError: it is there, not empty, and efficarch did not write it.
    """
    try:
        ours = not file.exists() or _is_ours(file, kind)
    except OSError as error:
        raise EfficarchError(
            f"cannot read {file}: {error.strerror or error}; choose another --out"
        ) from error
    if not ours:
        raise EfficarchError(f"{file} was not written by efficarch; choose another --out")


def _is_ours(file: Path, kind: str) -> bool:
    if not file.is_file():
        return False
    text = file.read_text(encoding="utf-8", errors="replace")
    return not text or re.search(_TELLS[kind], text) is not None
