"""Imports point down, and the check that says so can fail."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    """Check the import contracts of pyproject.toml against a tree."""
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", code, "--no-cache", "--no-logo"],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Copy the packages to where a test may spoil them."""
    for name in ("efficarch", "reports", "suites"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "out")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def plant(tree: Path, module: str, line: str) -> None:
    """Append a line to a module."""
    with (tree / module).open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")


def test_contracts_are_kept() -> None:
    """Every contract holds in the tree as it is."""
    run = lint_imports(ROOT)

    assert run.returncode == 0, run.stdout + run.stderr
    assert " 0 broken" in run.stdout


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("efficarch/record.py", "from efficarch import gate", "imports inside efficarch"),
        ("efficarch/models/vit.py", "import efficarch.reducers", "imports inside efficarch"),
        ("efficarch/store.py", "import reports", "reports and suites stand on efficarch"),
        ("reports/view.py", "import torch", "reports and what they stand on"),
        # two steps away from torch is still torch
        ("reports/view.py", "import efficarch.models.vit", "reports and what they stand on"),
    ],
)
def test_planted_import_is_caught(tree: Path, module: str, line: str, broken: str) -> None:
    """An import that points up, or at torch from the reports, breaks the contract against it."""
    plant(tree, module, line)

    run = lint_imports(tree)

    assert run.returncode == 1, run.stdout + run.stderr
    assert re.search(rf"^{broken}.* BROKEN$", run.stdout, re.MULTILINE), run.stdout


def test_new_module_has_to_take_a_place(tree: Path) -> None:
    """A module that no layer names breaks the contract instead of escaping it."""
    (tree / "efficarch" / "stray.py").write_text('"""Stray."""\n', encoding="utf-8")

    run = lint_imports(tree)

    assert run.returncode == 1, run.stdout + run.stderr
    assert "efficarch.stray" in run.stdout
