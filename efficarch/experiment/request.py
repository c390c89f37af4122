"""What a gate is asked for, with every path made absolute once, before anything moves."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from efficarch.errors import EfficarchError
from efficarch.experiment.git import Git
from efficarch.experiment.project import project_folder
from efficarch.experiment.repository import Repository, find_repository
from efficarch.files import resolved
from efficarch.output_folder import refuse_git


@dataclass(frozen=True)
class Request:
    """Where a gate works."""

    repository: Repository
    here: Path
    """Where the command was typed."""
    folder: str
    """Of the project, relative to the top; ``.`` for the top itself."""
    out: Path

    @property
    def project(self) -> Path:
        """The project's folder in the checkout."""
        return self.repository.top / self.folder

    def suites(self, named: Path | None) -> str | None:
        """Return a named folder of suites as the sides call it; ``None`` where none was named.

        Raises:
            EfficarchError: it lies outside the project, so that both sides would measure the same.
        """
        if named is None:
            return None
        start = self.project if self.repository.bare else self.here
        path = Path(os.path.normpath(start / named))
        if not path.is_relative_to(self.project):
            raise EfficarchError(
                f"--suites is {str(named)!r}, outside the project in {self.project}; both sides "
                "would measure the same files, so name a folder inside it"
            )
        return path.relative_to(self.project).as_posix()


def requested(out: Path | None) -> Request:
    """Return what is asked for where this process stands.

    Raises:
        EfficarchError: this is no repository, or ``out`` is no folder of its own or git's.
    """
    here = Path.cwd()
    repository = find_repository(here)
    project = here if repository.bare else project_folder(repository.top, here)
    folder = "." if repository.bare else project.relative_to(repository.top).as_posix()
    named = Path(os.path.normpath(here / out if out else project / "reports/out/gate"))
    # of a symbolic link the target: measured code must not find it below another name
    chosen = resolved(named)
    if named.is_relative_to(repository.top) and not chosen.is_relative_to(repository.top):
        raise EfficarchError(
            f"{named} leads out of the repository to {chosen}; choose another --out"
        )
    refuse_git(named)
    _check_out(repository, chosen)
    return Request(repository, here, folder, chosen)


def _check_out(repository: Repository, out: Path) -> None:
    if repository.top.is_relative_to(out):
        raise EfficarchError(
            f"--out is {out}, which holds the repository; choose a folder of its own"
        )
    if repository.bare or not out.is_relative_to(repository.top):
        return
    # submodules, of which the repository itself knows no file
    inner = [each for each in (out, *out.parents) if each.is_relative_to(repository.top)]
    for top in (each for each in inner if (each / ".git").exists()):
        name = out.relative_to(top).as_posix()
        tracked = Git(top)("ls-files", "-z", "--", f":(top,literal){name}")
        if tracked:
            first = tracked.split("\0")[0]
            raise EfficarchError(
                f"--out is {out}, which holds files that git tracks ({first}); a gate neither "
                "mixes its files with them nor takes them for its own, so choose another folder"
            )


def existing(project: Path, suites: Sequence[str], side: str) -> None:
    """Refuse suites that a side does not have.

    Raises:
        EfficarchError: there is one.
    """
    for name in suites:
        if not (project / name).exists():
            raise EfficarchError(
                f"the {side} has no {name!r}, so there is nothing to compare; name the folder of "
                "the benchmarks with --suites"
            )
