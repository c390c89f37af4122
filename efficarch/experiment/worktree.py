"""Two commits side by side, each in a repository of its own that borrows the user's objects.

Nothing is written to the user's repository: neither branch, index, working tree nor object. What a
snapshot of the working tree adds lies in the head's own repository and goes with it.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import file_digest
from pathlib import Path

from efficarch.errors import EfficarchError, last_line
from efficarch.experiment.git import Git
from efficarch.experiment.repository import Repository, find_repository

SIDES = ("base", "head")

SNAPSHOT_MB = 100
"""The most that files which git does not track may add to a snapshot of the working tree."""

INERT = (("core.hooksPath", os.devnull), ("core.fsmonitor", "false"), ("gc.auto", "0"))
"""Settings of a side's repository: measured code may ask git something, and nothing else runs."""

MISSING = "Not a valid object name"
UNBORN = "does not have a commit checked out"

LINK = "120000"
GITLINK = "160000"
"""Modes of the entries of a symbolic link and of a submodule in a tree."""


@dataclass(frozen=True)
class Tree:
    """One side: a commit checked out in a folder, and the Python that runs it."""

    path: Path
    commit: str
    """Of a snapshot of the working tree: a commit that nobody else knows."""
    tree: str
    """What is in it, whenever and by whom it was committed."""
    python: Path
    folder: str = "."
    """Of the gated project, from the top."""
    built: bool = False
    """Whether that Python is of an environment into which the side was installed."""
    beginning: Mapping[str, str] = field(default_factory=dict)
    """What was other than in the commit before anything was measured, and what it was."""

    @property
    def project(self) -> Path:
        """The project's folder."""
        return self.path / self.folder


@dataclass(frozen=True)
class Arms:
    """Both sides of an experiment."""

    base: Tree
    head: Tree

    def of(self, side: str) -> Tree:
        """Return a side by its name."""
        return self.base if side == "base" else self.head


def check_out(repository: Repository, commit: str, path: Path, python: Path) -> Tree:
    """Check a commit out, its submodules too.

    Raises:
        EfficarchError: a submodule's commit is not in this clone, or a disk is full.
    """
    _borrow(repository, path)
    return as_it_is(_checked_out(repository, commit, path, python))


def check_out_snapshot(
    repository: Repository, path: Path, python: Path, *, without: Iterable[Path]
) -> Tree:
    """Check the working tree out as it is now, files that are neither tracked nor ignored included.

    ``without`` are folders that are left out, wherever they lie.

    Raises:
        EfficarchError: there is no working tree, or it holds what a snapshot does not take.
    """
    if repository.bare:
        raise EfficarchError(
            f"{repository.top} has no working tree; name the commit to judge: --head REF"
        )
    left_out = [
        _ignored(each, repository.top) for each in without if each.is_relative_to(repository.top)
    ]
    _check_untracked(repository, left_out)
    _borrow(repository, path)
    with (path / ".git" / "info" / "exclude").open("a", encoding="utf-8") as file:
        file.writelines(f"\n{pattern}\n" for pattern in left_out)
    commit = _snapshot(repository, path)
    return as_it_is(_checked_out(repository, commit, path, python, snapshot=True))


def as_it_is(tree: Tree) -> Tree:
    """Return a side whose beginning is what its checkout, or then its build, has left."""
    return replace(tree, beginning=_differing(tree.path))


def changes(tree: Tree) -> list[str]:
    """Return which files of a side are not as its commit has them; new ones if they are code.

    What its checkout and its build left is as it was then: git itself may call a fresh checkout
    changed, by what its attributes say of line ends.
    """
    now, before = _differing(tree.path), tree.beginning
    return [name for name in {**before, **now} if now.get(name) != before.get(name)]


def _differing(path: Path) -> dict[str, str]:
    """Return what differs from the commit in a side or one of its submodules, with what it is."""
    git = _inside(path)
    lines = git("status", "--porcelain", "-z", "--no-renames", "--untracked-files=all").split("\0")
    entries = [(line[:2], line[3:]) for line in lines if line]
    return {
        name: f"{state} {_content(path / name)}"
        for state, name in entries
        if state != "??" or _may_run(name)
    }


def _content(path: Path) -> str:
    """Return what tells a file from what it may become; of a submodule, what differs in it."""
    try:
        if path.is_symlink():
            return str(path.readlink())
        if path.is_file():
            with path.open("rb") as file:
                return f"{path.stat().st_mode:o} {file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        return str(error.strerror)
    return str(_differing(path)) if (path / ".git").exists() else ""


def links_out(tree: Tree) -> list[str]:
    """Return the links of a side that lead to something outside of it, with where they lead."""
    found = []
    for entry in _inside(tree.path)("ls-files", "--stage", "-z").split("\0"):
        facts, _, name = entry.partition("\t")
        target = os.path.realpath(tree.path / name)
        outside = not Path(target).is_relative_to(os.path.realpath(tree.path))
        if facts.startswith(LINK) and outside and os.path.lexists(target):
            found.append(f"{name} -> {target}")
    return found


def changed_files(arms: Arms) -> list[str]:
    """Return the files in which the two sides differ."""
    # the head's repository borrows the same objects, so it knows the base too
    names = _inside(arms.head.path)(
        "diff", "--name-only", "--no-renames", "-z", arms.base.commit, arms.head.commit
    )
    return [name for name in names.split("\0") if name]


def _inside(path: Path) -> Git:
    """Return git in a side; should its repository be gone, git does not look for another above."""
    return Git(path, (("GIT_DIR", str(path / ".git")), ("GIT_WORK_TREE", str(path))))


def _may_run(name: str) -> bool:
    return Path(name).suffix in (".py", ".pth", ".so", ".pyd", ".ini", ".toml", ".cfg")


def _borrow(repository: Repository, path: Path) -> None:
    """Make a repository that holds no object of its own and sees all of another's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    form = repository.git("rev-parse", "--show-object-format")
    Git(path.parent)(
        "init", "-q", "--template=", f"--object-format={form}", "-b", "side", str(path)
    )
    own, git = path / ".git", _inside(path)
    for folder in (own / "info", own / "objects" / "info"):
        folder.mkdir(exist_ok=True)
    (own / "objects" / "info" / "alternates").write_bytes(os.fsencode(repository.objects) + b"\n")
    refs = repository.git("for-each-ref", "--format=%(objectname) %(refname)")
    if refs:
        (own / "packed-refs").write_bytes(os.fsencode(f"# pack-refs with: sorted \n{refs}\n"))
    for name in ("shallow", "info/attributes", "info/exclude"):
        theirs = repository.path(name)
        if theirs.is_file():
            (own / name).write_bytes(theirs.read_bytes())
    for key, value in (*repository.content_settings(), *INERT):
        git("config", "--add", key, value)
        if key.startswith("extensions."):
            git("config", "core.repositoryformatversion", "1")


def _checked_out(
    repository: Repository, commit: str, path: Path, python: Path, *, snapshot: bool = False
) -> Tree:
    git = _inside(path)
    git("checkout", "-q", "--detach", commit)
    for name, wanted in _gitlinks(git, commit):
        theirs = _submodule(repository, git, commit, name)
        _check_submodule(theirs, name, wanted, snapshot=snapshot)
        _borrow(theirs, path / name)
        _checked_out(theirs, wanted, path / name, python, snapshot=snapshot)
    return Tree(path, commit, git("rev-parse", f"{commit}^{{tree}}"), python)


def _gitlinks(git: Git, commit: str) -> list[tuple[str, str]]:
    """Return the path of every submodule with its commit."""
    found = []
    for entry in git("ls-tree", "-r", "-z", commit).split("\0"):
        facts, _, name = entry.partition("\t")
        if facts.startswith(GITLINK):
            found.append((name, facts.split()[2]))
    return found


def _submodule(repository: Repository, git: Git, commit: str, path: str) -> Repository:
    """Return the clone of a submodule: its working tree, or what git keeps of it.

    ``git`` is that of a repository which has the commit of the whole.
    """
    if not repository.bare and (repository.top / path / ".git").exists():
        return find_repository(repository.top / path)
    listed = git.ask(
        "config", "-z", "--blob", f"{commit}:.gitmodules", "--get-regexp", r"^submodule\..*\.path$"
    )
    entries = [entry.partition("\n") for entry in (listed or "").split("\0")]
    keys = [key for key, _, value in entries if value == path]
    names = [path, *(key.removeprefix("submodule.").removesuffix(".path") for key in keys)]
    kept = [repository.path(f"modules/{name}") for name in names]
    found = next((folder for folder in kept if (folder / "HEAD").is_file()), None)
    if found is None:
        raise _not_here(path)
    return Repository(found, bare=True)


def _check_submodule(theirs: Repository, name: str, commit: str, *, snapshot: bool) -> None:
    wanted = ("cat-file", "-e", f"{commit}^{{commit}}")
    if theirs.git.ask(*wanted) is None:
        complaint = theirs.git.complaint(*wanted)
        if complaint.strip() and MISSING not in complaint:
            raise EfficarchError(
                f"git does not look into the submodule {name}: {last_line(complaint)}"
            )
        raise _not_here(f"{name} at {commit[:12]}")
    status = ("status", "--porcelain", "--untracked-files=normal", "--ignore-submodules=none")
    if snapshot and not theirs.bare and theirs.git(*status):
        raise EfficarchError(
            f"the submodule {name} has changes that are not committed, and a snapshot cannot "
            "hold them; commit them there"
        )


def _not_here(name: str) -> EfficarchError:
    return EfficarchError(
        f"the submodule {name} is not in this clone, so the gate would measure something else; "
        "run: git submodule update --init --recursive"
    )


def _check_untracked(repository: Repository, left_out: list[str]) -> None:
    """Refuse to copy much that git does not track: data and secrets are seldom meant to be."""
    excluded = [f"--exclude={pattern}" for pattern in left_out]
    listed = repository.git("ls-files", "--others", "--exclude-standard", "-z", *excluded)
    sizes = {name: _size(repository.top / name) for name in listed.split("\0") if name}
    megabytes = sum(sizes.values()) / 1e6
    if megabytes > SNAPSHOT_MB:
        largest = max(sizes, key=lambda name: sizes[name])
        raise EfficarchError(
            f"the working tree holds {megabytes:,.0f} MB in files that git does not track (the "
            f"largest is {largest!r}), and a snapshot takes at most {SNAPSHOT_MB} MB; ignore them, "
            "commit them, or judge a commit: --head HEAD"
        )


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _snapshot(repository: Repository, path: Path) -> str:
    """Commit the working tree in the head's repository, through an index beside it."""
    index = ("GIT_INDEX_FILE", str(path.parent / "index"))
    places = (("GIT_DIR", str(path / ".git")), ("GIT_WORK_TREE", str(repository.top)), index)
    git = Git(repository.top, places)
    last = repository.git.ask("rev-parse", "--verify", "HEAD^{commit}")
    git("read-tree", last or "--empty")
    absent = _left_out_by_the_user(repository)
    git("update-index", "--skip-worktree", "-z", "--stdin", given="\0".join(absent))
    try:
        git("add", "--all", ".")
    except EfficarchError as error:
        if UNBORN not in str(error):
            raise
        raise EfficarchError(
            f"{error}; commit in that repository, ignore it, or judge a commit: --head HEAD"
        ) from error
    identity = tuple(
        (f"GIT_{who}_{what}", value)
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "efficarch"), ("EMAIL", "efficarch@localhost"))
    )
    parents = ["-p", last] if last else []
    return Git(repository.top, places + identity)(
        "commit-tree", git("write-tree"), *parents, "-m", "working tree"
    )


def _left_out_by_the_user(repository: Repository) -> list[str]:
    """Return what a sparse checkout leaves out: files that are absent without being deleted."""
    entries = repository.git("ls-files", "-t", "-z").split("\0")
    names = [entry[2:] for entry in entries if entry.startswith("S ")]
    return [name for name in names if not os.path.lexists(repository.top / name)]


def _ignored(folder: Path, top: Path) -> str:
    """Return the pattern by which git ignores a folder and nothing else.

    As a path to exclude it would be an error where the repository ignores it already.
    """
    name = folder.relative_to(top).as_posix()
    return "/" + re.sub(r"([\\*?\[ ])", r"\\\1", name) + "/"
