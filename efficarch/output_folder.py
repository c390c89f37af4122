"""The folder that a command writes into: others' files there stay, and git does not see ours."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from efficarch.errors import EfficarchError
from efficarch.files import content

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

OTHER = "choose another --out"

DEFAULT = "reports"
"""The first part of all default folders."""


def claim(folder: Path, names: Sequence[str]) -> None:
    """Make a folder ready for files of these names; one that is new or empty is hidden from git.

    Raises:
        EfficarchError: a file of one of the names is there and efficarch did not write it, git
            keeps a repository there, or the folder cannot be created.
    """
    refuse_git(folder)
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


def refuse_git(path: Path, remedy: str = OTHER) -> None:
    """Refuse to write where git keeps a repository: what lies there is its own, by its name.

    Git is not asked, as it need not be installed: what it takes for a repository is known by what
    is in it.

    Raises:
        EfficarchError: the path, or what it leads to, is such a place or lies below one.
    """
    named = Path(os.path.abspath(path))  # noqa: PTH100
    # Path.resolve raises an error where links lead in a circle
    real = Path(os.path.realpath(path))
    found = [each for each in (named, real) if ".git" in map(str.lower, each.parts)]
    found += [each for each in (named, real) if _in_repository(each)]
    if found:
        raise EfficarchError(
            f"{path} lies where git keeps a repository, which is git's own; {remedy}"
        )


def _in_repository(path: Path) -> bool:
    """Whether a path is in a repository's own folder: a bare one's, or of a tree elsewhere.

    Git has nothing called ``reports``, which is where a command in a bare repository writes.
    """
    for folder in (path, *path.parents):
        if os.path.lexists(folder / ".git"):
            # a working tree, which may itself lie in a bare repository
            return False
        head, below = folder / "HEAD", (folder / "objects", folder / "refs")
        if os.path.lexists(head) and all(map(os.path.isdir, below)):
            return path.relative_to(folder).parts[:1] != (DEFAULT,)
    return False


def refuse_foreign(file: Path, kind: str, *, remedy: str = OTHER) -> None:
    """Refuse to overwrite a file of a kind (``index.html``, ``run.json``...) that is not ours.

    Raises:
        EfficarchError: it is there, not empty, and efficarch did not write it, or git keeps a
            repository there.
    """
    refuse_git(file, remedy)
    try:
        # efficarch makes no links: what one is there for would be lost
        ours = not os.path.lexists(file) or (not file.is_symlink() and _is_ours(file, kind))
    except OSError as error:
        raise EfficarchError(f"cannot read {file}: {error.strerror or error}; {remedy}") from error
    if not ours:
        raise EfficarchError(f"{file} was not written by efficarch; {remedy}")


def _is_ours(file: Path, kind: str) -> bool:
    if not file.is_file():
        return False
    try:
        text = content(file).decode("utf-8", errors="replace")
    except ValueError:  # larger than all of ours
        return False
    return not text or re.search(_TELLS[kind], text) is not None
