"""Claims about the two sides: what is checked out is what was asked for, and nothing is written."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from efficarch.errors import EfficarchError
from efficarch.experiment import worktree
from efficarch.experiment.git import Git
from efficarch.experiment.repository import find_repository
from efficarch.experiment.worktree import (
    Arms,
    as_it_is,
    changed_files,
    changes,
    check_out,
    check_out_snapshot,
    links_out,
)
from tests.experiment.scratch import commit, fingerprint, git, started

PYTHON = Path("python")


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Path]:
    """A repository of two files; afterwards it holds what it held."""
    made = started(tmp_path / "repo", {"a.py": "A = 1\n", "deep/b.py": "B = 1\n"})
    yield made
    assert git(made, "worktree", "list").count("\n") == 0
    assert git(made, "fsck", "--no-dangling") == ""


def snapshot(repo: Path, work: Path, *without: Path) -> worktree.Tree:
    """Check the working tree out into a folder."""
    return check_out_snapshot(find_repository(repo), work / "head", PYTHON, without=without)


def base_of(repo: Path, name: str, path: Path) -> worktree.Tree:
    """Check a commit out into a folder."""
    repository = find_repository(repo)
    return check_out(repository, repository.resolve(name), path, PYTHON)


def test_a_commit_is_checked_out_with_its_history(repo: Path, tmp_path: Path) -> None:
    """Tags and all, as tools ask for them; without a file or a line more in the repository."""
    git(repo, "tag", "v1")
    first = git(repo, "rev-parse", "HEAD")
    commit(repo, "two", {"a.py": "A = 2\n"})
    before = fingerprint(repo)

    tree = base_of(repo, first, tmp_path / "work" / "base")

    assert (tree.path / "a.py").read_text() == "A = 1\n"
    assert git(tree.path, "describe", "--tags", "--dirty") == "v1"
    assert (changes(tree), fingerprint(repo)) == ([], before)


def test_a_snapshot_is_the_working_tree_as_it_is(repo: Path, tmp_path: Path) -> None:
    """Changed, new, deleted and staged files; not those that are ignored or left out."""
    (repo / "a.py").write_text("A = 2\n")
    (repo / "deep" / "b.py").unlink()
    (repo / "new file.py").write_text("N = 1\n")
    (repo / "staged.py").write_text("S = 1\n")
    git(repo, "add", "staged.py")
    (repo / ".gitignore").write_text("*.env\n")
    (repo / "secret.env").write_text("x")
    (repo / "out").mkdir()
    (repo / "out" / "page.html").write_text("x")
    status = git(repo, "status", "--porcelain")
    before = fingerprint(repo)

    head = snapshot(repo, tmp_path / "work", repo / "out", Path("/elsewhere"))

    names = {p.relative_to(head.path).as_posix() for p in head.path.rglob("*") if p.is_file()}
    assert {name for name in names if not name.startswith(".git/")} == {
        ".gitignore",
        "a.py",
        "new file.py",
        "staged.py",
    }
    assert (head.path / "a.py").read_text() == "A = 2\n"
    assert fingerprint(repo) == before
    assert git(repo, "status", "--porcelain") == status
    base = base_of(repo, "HEAD", tmp_path / "work" / "base")
    assert set(changed_files(Arms(base, head))) == {
        ".gitignore",
        "a.py",
        "deep/b.py",
        "new file.py",
        "staged.py",
    }


@pytest.mark.parametrize(
    "name", ["out", "out/deep", "o*t", "a [b] c", "#out", "!out", "back\\slash"]
)
@pytest.mark.parametrize("ignored", [True, False], ids=["ignored", "not ignored"])
def test_a_folder_is_left_out_whatever_it_is_called(
    repo: Path, tmp_path: Path, name: str, ignored: bool
) -> None:
    """And nothing else is, whether the repository ignores it already or not."""
    if ignored:
        (repo / ".git" / "info").mkdir(exist_ok=True)
        (repo / ".git" / "info" / "exclude").write_text("/out/\n")
    for folder in (name, "o other t", "a b c"):
        (repo / folder).mkdir(parents=True)
        (repo / folder / "file.py").write_text("")

    head = snapshot(repo, tmp_path / "work", repo / name)

    found = {path.relative_to(head.path).as_posix() for path in head.path.rglob("file.py")}
    assert found == {"o other t/file.py", "a b c/file.py"}


def test_a_snapshot_of_an_unchanged_tree_is_its_commit(repo: Path, tmp_path: Path) -> None:
    """By what is in it, whenever it was made."""
    head = snapshot(repo, tmp_path / "work")

    assert head.tree == git(repo, "rev-parse", "HEAD^{tree}")


def test_a_sparse_checkout_loses_nothing(repo: Path, tmp_path: Path) -> None:
    """What it leaves out is there on both sides."""
    git(repo, "sparse-checkout", "set", "--no-cone", "/a.py")
    assert not (repo / "deep").exists()

    head = snapshot(repo, tmp_path / "work")

    assert (head.path / "deep" / "b.py").read_text() == "B = 1\n"


def test_files_that_git_was_told_to_overlook_are_measured(repo: Path, tmp_path: Path) -> None:
    """A change is a change, also of a file that is assumed to have none."""
    git(repo, "update-index", "--assume-unchanged", "a.py")
    git(repo, "update-index", "--skip-worktree", "deep/b.py")
    (repo / "a.py").write_text("A = 2\n")
    (repo / "deep" / "b.py").write_text("B = 2\n")

    head = snapshot(repo, tmp_path / "work")

    assert (head.path / "a.py").read_text() == "A = 2\n"
    assert (head.path / "deep" / "b.py").read_text() == "B = 2\n"


def test_much_that_git_does_not_track_is_refused(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the largest file and what to do; what is ignored or left out does not count."""
    monkeypatch.setattr(worktree, "SNAPSHOT_MB", 1)
    (repo / ".gitignore").write_text("ignored\n")
    for name in ("ignored", "out/page", "weights.bin"):
        (repo / name).parent.mkdir(exist_ok=True)
        (repo / name).write_bytes(bytes(1_100_000))

    with pytest.raises(EfficarchError) as caught:
        snapshot(repo, tmp_path / "work", repo / "out")

    assert str(caught.value).startswith(
        "the working tree holds 1 MB in files that git does not track (the largest is "
        "'weights.bin'), and a snapshot takes at most 1 MB; ignore them"
    )
    (repo / "weights.bin").unlink()
    assert snapshot(repo, tmp_path / "other", repo / "out")


def test_a_nested_repository_is_taken_along(repo: Path, tmp_path: Path) -> None:
    """One that nobody added as a submodule, at its own commit."""
    started(repo / "vendor", {"v.py": "V = 1\n"})

    head = snapshot(repo, tmp_path / "work")

    assert (head.path / "vendor" / "v.py").read_text() == "V = 1\n"
    commit(repo / "vendor", "two", {"v.py": "V = 2\n"})
    (repo / "vendor" / "v.py").write_text("V = 3\n")
    with pytest.raises(EfficarchError, match="the submodule vendor has changes"):
        snapshot(repo, tmp_path / "other")


def test_a_shallow_clone(repo: Path, tmp_path: Path) -> None:
    """What it has can be checked out; its end of history is no fault."""
    commit(repo, "two", {"a.py": "A = 2\n"})
    commit(repo, "three", {"a.py": "A = 3\n"})
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth=2", f"file://{repo}", str(shallow))

    tree = base_of(shallow, "HEAD~1", tmp_path / "work" / "base")

    assert (tree.path / "a.py").read_text() == "A = 2\n"
    assert git(tree.path, "log", "--format=%s") == "two"


def test_a_repository_with_longer_hashes(tmp_path: Path) -> None:
    """SHA-256 in place of SHA-1."""
    path = tmp_path / "repo"
    subprocess.run(["git", "init", "-q", "--object-format=sha256", str(path)], check=True)
    (path / "a.py").write_text("A = 1\n")

    head = snapshot(path, tmp_path / "work")

    assert len(head.commit) == 64
    assert (head.path / "a.py").is_file()


def test_names_that_are_not_utf_8(repo: Path, tmp_path: Path) -> None:
    """A file is a file."""
    name = b"caf\xe9.py"
    with open(bytes(repo) + b"/" + name, "w") as file:  # noqa: PTH123 - the name is no text
        file.write("C = 1\n")

    head = snapshot(repo, tmp_path / "work")

    assert name in {bytes(path.name, "utf-8", "surrogateescape") for path in head.path.iterdir()}


def test_hooks_and_programs_of_the_user_do_not_run(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither for what the gate asks git nor in the sides, by whichever configuration."""
    ran = tmp_path / "ran"
    script = tmp_path / "hooks" / "post-checkout"
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\necho ran >> {ran}\n")
    script.chmod(0o755)
    (tmp_path / "fsmonitor").write_text(f"#!/bin/sh\necho ran >> {ran}\n")
    (tmp_path / "fsmonitor").chmod(0o755)
    for number, (key, value) in enumerate(
        (("core.hooksPath", str(script.parent)), ("core.fsmonitor", str(tmp_path / "fsmonitor")))
    ):
        git(repo, "config", key, value)
        monkeypatch.setenv(f"GIT_CONFIG_KEY_{number}", key)
        monkeypatch.setenv(f"GIT_CONFIG_VALUE_{number}", value)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "2")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".gitconfig").write_text(f"[core]\n\thooksPath = {script.parent}\n")

    head = snapshot(repo, tmp_path / "work")
    Git(head.path)("status")
    monkeypatch.delenv("GIT_CONFIG_COUNT")
    subprocess.run(["git", "-C", str(head.path), "checkout", "-q", "HEAD"], check=True)

    assert not ran.exists()


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("a.py", "A = 2\n", ["a.py"]),
        ("new.py", "", ["new.py"]),
        ("deep/pytest.ini", "", ["deep/pytest.ini"]),
        ("results.csv", "1,2", []),
    ],
)
def test_a_tree_that_was_changed_is_seen(
    repo: Path, tmp_path: Path, name: str, text: str, named: list[str]
) -> None:
    """What is tracked, and what is new if it may run or configure; results may be written."""
    tree = base_of(repo, "HEAD", tmp_path / "work" / "base")

    (tree.path / name).write_text(text)

    assert changes(tree) == named


def test_a_tree_without_its_repository_is_no_tree(repo: Path, tmp_path: Path) -> None:
    """Git does not go on looking in the folders above."""
    tree = base_of(repo, "HEAD", repo / "work" / "base")
    (tree.path / ".git").rename(tmp_path / "gone")

    with pytest.raises(EfficarchError, match="git status failed"):
        changes(tree)


def test_a_repository_of_another_user_is_said(repo: Path) -> None:
    """With git's own remedy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
        with pytest.raises(EfficarchError, match=r"git does not trust .*safe.directory"):
            find_repository(repo)


def test_git_that_is_not_there_is_said(repo: Path) -> None:
    """The gate needs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "")
        with pytest.raises(EfficarchError, match="git is not installed"):
            find_repository(repo)


def test_a_nested_repository_without_a_commit(repo: Path, tmp_path: Path) -> None:
    """Git's own words for it, and what to do."""
    git(repo, "init", "--quiet", "nested")

    with pytest.raises(EfficarchError) as caught:
        snapshot(repo, tmp_path / "work")

    assert "'nested/' does not have a commit checked out; fatal: adding" in str(caught.value)
    assert "commit in that repository, ignore it, or judge a commit" in str(caught.value)


def test_new_files_of_a_submodule_are_seen_whatever_git_is_told_to_show(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot would lack them."""
    started(repo / "vendor", {"v.py": "V = 1\n"})
    (repo / "vendor" / "new.py").write_text("N = 1\n")
    settings = tmp_path / "gitconfig"
    settings.write_text("[status]\n\tshowUntrackedFiles = no\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))

    with pytest.raises(EfficarchError, match="the submodule vendor has changes"):
        snapshot(repo, tmp_path / "work")


def test_a_submodule_that_git_does_not_look_into(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in the clone, so that asking for it again would not help: git says why."""
    library = started(tmp_path / "library", {"v.py": "V = 1\n"})
    allowed = ("-c", "protocol.file.allow=always")
    git(repo, *allowed, "submodule", "--quiet", "add", str(library), "ext")
    commit(repo, "with the library")
    git(repo, "submodule", "--quiet", "deinit", "--force", "ext")
    base_of(repo, "HEAD", tmp_path / "work" / "base")
    settings = tmp_path / "gitconfig"
    settings.write_text("[safe]\n\tbareRepository = explicit\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))

    with pytest.raises(EfficarchError, match=r"ext: .*safe\.bareRepository is 'explicit'"):
        base_of(repo, "HEAD", tmp_path / "other" / "base")


def test_a_repository_from_which_git_cannot_borrow(tmp_path: Path) -> None:
    """Its folder has a line break in its name."""
    broken = started(tmp_path / "a\nb", {"a.py": "A = 1\n"})

    with pytest.raises(EfficarchError, match=r"a\\nb.*line break in its name; rename it"):
        base_of(broken, "HEAD", tmp_path / "work" / "base")


def test_what_git_says_of_a_folder_is_repeated(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it says that there is no repository."""
    with pytest.raises(EfficarchError, match="is no git repository; run the gate in one"):
        find_repository(tmp_path)

    (tmp_path / "lost").mkdir()
    (tmp_path / "lost" / ".git").write_text("gitdir: /nowhere\n")
    with pytest.raises(EfficarchError, match="not a git repository: /nowhere"):
        find_repository(tmp_path / "lost")

    settings = tmp_path / "gitconfig"
    settings.write_text("[nonsense\n")
    with monkeypatch.context() as patched:
        patched.setenv("GIT_CONFIG_GLOBAL", str(settings))
        with pytest.raises(EfficarchError, match=r"git does not work in .*bad config line 1"):
            find_repository(repo)


def test_links_that_lead_out_are_named(repo: Path, tmp_path: Path) -> None:
    """Where there is something at their end; what they lead to inside is the side's own."""
    (tmp_path / "data.txt").touch()
    for name, target in (("out", tmp_path / "data.txt"), ("in", "deep"), ("lost", "/nowhere/x")):
        (repo / name).symlink_to(target)
    commit(repo, "links")

    tree = base_of(repo, "HEAD", tmp_path / "work" / "base")

    assert links_out(tree) == [f"out -> {tmp_path / 'data.txt'}"]


def test_what_is_excluded_names_no_commit(repo: Path) -> None:
    """Git gives its name with the sign."""
    with pytest.raises(EfficarchError, match=r"no commit '\^main'; name a branch"):
        find_repository(repo).resolve("^main")


def test_what_a_build_leaves_is_the_beginning(repo: Path, tmp_path: Path) -> None:
    """From there on whatever differs is a change: other, more, less, and back again."""
    tree = base_of(repo, "HEAD", tmp_path / "work" / "base")
    (tree.path / "fast.so").write_bytes(b"1")
    (tree.path / "a.py").write_text("A = 2\n")
    (tree.path / "b.c").write_text("")

    tree = as_it_is(tree)

    assert sorted(tree.beginning) == ["a.py", "fast.so"]
    assert changes(tree) == []
    (tree.path / "fast.so").write_bytes(b"2")
    assert changes(tree) == ["fast.so"]
    (tree.path / "fast.so").write_bytes(b"1")
    (tree.path / "a.py").write_text("A = 1\n")
    assert changes(tree) == ["a.py"]
    (tree.path / "a.py").write_text("A = 3\n")
    (tree.path / "deep" / "b.py").unlink()
    (tree.path / "new.so").write_bytes(b"1")
    (tree.path / "fast.so").unlink()
    assert sorted(changes(tree)) == ["a.py", "deep/b.py", "fast.so", "new.so"]


def test_what_a_build_leaves_may_be_anything(repo: Path, tmp_path: Path) -> None:
    """A pipe is not read, a link not followed, a folder in place of a file is looked into."""
    tree = base_of(repo, "HEAD", tmp_path / "work" / "base")
    (tree.path / "a.py").unlink()
    os.mkfifo(tree.path / "a.py")
    (tree.path / "l.so").symlink_to("l.so")
    (tree.path / "deep" / "b.py").unlink()
    (tree.path / "deep" / "b.py").mkdir()

    tree = as_it_is(tree)

    assert changes(tree) == []
    (tree.path / "l.so").unlink()
    (tree.path / "l.so").symlink_to("other.so")
    assert changes(tree) == ["l.so"]


def test_what_a_build_leaves_in_a_submodule(repo: Path, tmp_path: Path) -> None:
    """It is looked into too."""
    vendor = started(tmp_path / "vendor", {"v.py": "V = 1\n"})
    git(repo, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(vendor))
    commit(repo, "with a submodule")
    tree = base_of(repo, "HEAD", tmp_path / "work" / "base")
    (tree.path / "vendor" / "v.py").write_text("V = 2\n")

    tree = as_it_is(tree)

    assert (list(tree.beginning), changes(tree)) == (["vendor"], [])
    (tree.path / "vendor" / "v.py").write_text("V = 3\n")
    assert changes(tree) == ["vendor"]
