"""The user's repository: found, asked, and never written to."""

from dataclasses import dataclass
from pathlib import Path

from efficarch.errors import EfficarchError, last_line
from efficarch.experiment.git import Git
from efficarch.files import resolved

CONTENT_SETTINGS = (
    "core.attributesfile",
    "core.autocrlf",
    "core.bigfilethreshold",
    "core.eol",
    "core.excludesfile",
    "core.filemode",
    "core.ignorecase",
    "core.precomposeunicode",
    "core.safecrlf",
    "core.symlinks",
    "extensions.partialclone",
)
CONTENT_SECTIONS = ("filter.", "lfs.", "remote.")
"""Settings of a repository that decide what a checkout of it holds."""


NONE_ABOVE = "not a git repository (or any"


@dataclass(frozen=True)
class Repository:
    """A git repository; ``top`` is the top of its working tree, or the folder of a bare one."""

    top: Path
    bare: bool

    @property
    def git(self) -> Git:
        """Git in this repository."""
        return Git(self.top)

    @property
    def objects(self) -> Path:
        """Where its objects lie; a linked working tree has those of its main one.

        Raises:
            EfficarchError: git could not borrow them from there.
        """
        found = self.path("objects")
        if "\n" in str(found):
            raise EfficarchError(
                f"the repository lies in {str(found)!r}, and git borrows from no folder with a "
                "line break in its name; rename it"
            )
        return found

    def path(self, name: str) -> Path:
        """Return where git keeps something of this repository."""
        return resolved(self.top / self.git("rev-parse", "--git-path", name))

    def resolve(self, name: str) -> str:
        """Return the commit that a branch, tag or hash names.

        Raises:
            EfficarchError: there is none by this name.
        """
        # git would take what begins with a dash for an option
        wanted = f"{name}^{{commit}}"
        found = None if name.startswith("-") else self.git.ask("rev-parse", "--verify", wanted)
        # of what is excluded by a "^" git gives the name with it
        if found and not found.startswith("^"):
            return found
        shallow = self.git("rev-parse", "--is-shallow-repository") == "true"
        remedy = (
            "this clone is shallow, so fetch more: git fetch --unshallow"
            if shallow
            else "name a branch, tag or commit of this repository"
        )
        raise EfficarchError(f"no commit {name!r}; {remedy}")

    def checkouts(self) -> list[Path]:
        """Return all working trees of this repository, this one first."""
        lines = self.git("worktree", "list", "--porcelain").splitlines()
        listed = [line.removeprefix("worktree ") for line in lines if line.startswith("worktree ")]
        return list(dict.fromkeys([self.top, *map(Path, listed)]))

    def content_settings(self) -> list[tuple[str, str]]:
        """Return its own settings that decide what a checkout holds."""
        listed = self.git("config", "--null", "--list", "--show-scope").split("\0")
        scopes, entries = listed[::2], listed[1::2]
        found = []
        for scope, entry in zip(scopes, entries, strict=False):
            key, given, value = entry.partition("\n")
            if scope in ("local", "worktree") and (
                key in CONTENT_SETTINGS or key.startswith(CONTENT_SECTIONS)
            ):
                # a name alone means true
                found.append((key, value if given else "true"))
        return found


def find_repository(folder: Path) -> Repository:
    """Return the repository that a folder lies in.

    Raises:
        EfficarchError: there is none, or git refuses it, as one that belongs to another user.
    """
    git = Git(folder)
    inside = git.ask("rev-parse", "--is-inside-work-tree")
    if inside is None:
        complaint = git.complaint("rev-parse", "--is-inside-work-tree")
        if "dubious ownership" in complaint:
            raise EfficarchError(
                f"git does not trust {folder}, which belongs to another user; if you do: "
                f"{last_line(complaint).strip()}"
            )
        if NONE_ABOVE in complaint:
            raise EfficarchError(f"{folder} is no git repository; run the gate in one")
        raise EfficarchError(f"git does not work in {folder}: {last_line(complaint).strip()}")
    if inside == "true":
        return Repository(Path(git("rev-parse", "--show-toplevel")), bare=False)
    return Repository(Path(git("rev-parse", "--absolute-git-dir")), bare=True)
