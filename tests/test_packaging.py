"""What a user gets: the wheel, its entry points and imports that cost nothing."""

import re
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent
# the folder of the checkout -> where the wheel carries it
PACKAGES = {
    "efficarch": "efficarch",
    "reports": "efficarch/reports",
    "suites": "efficarch/suites",
}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy, since building leaves its traces in the tree."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    for name in PACKAGES:
        shutil.copytree(
            ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "out")
        )
    out = tmp_path_factory.mktemp("dist")
    # without isolation: the setuptools of this environment is the pinned one, and no network
    run = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    (built,) = out.glob("*.whl")
    return built


def sources() -> list[str]:
    """Return where the wheel should carry each file of the three folders."""
    return [
        f"{inside}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, inside in PACKAGES.items()
        for path in sorted((ROOT / folder).rglob("*"))
        if path.is_file()
        and "__pycache__" not in path.parts
        and path.relative_to(ROOT).parts[:2] != ("reports", "out")
    ]


def test_wheel_carries_every_source_file(wheel: Path) -> None:
    """No module, template, style sheet or limit is left behind, new packages included."""
    carried = set(ZipFile(wheel).namelist())

    assert [path for path in sources() if path not in carried] == []


@pytest.mark.parametrize(
    "pattern",
    [
        r"efficarch/py\.typed",
        r"efficarch/models/data/byte_mamba\.safetensors",
        r"efficarch/models/data/byte_mamba\.json",
        r"efficarch/suites/budgets\.toml",
        r"efficarch/suites/tuned\.toml",
        r"efficarch/reports/templates/.+\.j2",
        r"efficarch/reports/static/.+",
        r"efficarch-.+\.dist-info/licenses/LICENSE",
    ],
)
def test_wheel_carries_data(wheel: Path, pattern: str) -> None:
    """The data without which the wheel would only seem to work is inside."""
    assert [name for name in ZipFile(wheel).namelist() if re.fullmatch(pattern, name)]


def test_wheel_carries_nothing_else(wheel: Path) -> None:
    """Neither tests nor a top-level `reports` or `suites` land in a user's environment."""
    names = ZipFile(wheel).namelist()

    assert {name.split("/")[0].split("-")[0] for name in names} == {"efficarch"}


def test_entry_points(wheel: Path) -> None:
    """The plugin is named like its module, so that `-p efficarch.plugin` cannot load it twice."""
    archive = ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith("/entry_points.txt")]
    lines = archive.read(name).decode().splitlines()

    assert "efficarch.plugin = efficarch.plugin" in lines
    assert "efficarch = efficarch.cli:main" in lines


def import_without(module: str, *blocked: str) -> subprocess.CompletedProcess[str]:
    """Import a module in a fresh process in which the blocked packages cannot be imported."""
    code = (
        "import sys\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {blocked!r}:\n"
        "            raise ImportError(f'{name} is blocked')\n"
        "sys.meta_path.insert(0, Blocked())\n"
        f"import {module}\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("module", "blocked"),
    [
        ("efficarch", ("torch", "transformers", "pytest")),
        ("reports", ("torch", "transformers", "pytest")),
        ("efficarch.plugin", ("torch", "transformers", "scipy", "numpy", "jinja2", "PIL")),
        ("efficarch.hooks", ("torch", "transformers", "scipy", "numpy", "jinja2", "PIL")),
        ("efficarch.cli", ("torch", "transformers")),
    ],
)
def test_import_is_light(module: str, blocked: tuple[str, ...]) -> None:
    """Looking at results, or having the plugin installed, costs nobody an import of torch."""
    run = import_without(module, *blocked)

    assert run.returncode == 0, run.stderr


def test_the_block_blocks() -> None:
    """A heavy import is noticed, so the tests above can fail."""
    run = import_without("pytest", "pytest")

    assert run.returncode != 0
    assert "pytest is blocked" in run.stderr


def pins() -> dict[str, str]:
    """Return the pinned version of each distribution in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def normal(requirement: str) -> str:
    """Return the normalized name of the distribution that a requirement asks for."""
    name = re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_requirement_is_pinned() -> None:
    """An unpinned torch would bring gigabytes of CUDA packages; nothing is left to chance."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = pyproject["project"]
    groups = [*project["optional-dependencies"].values(), *pyproject["dependency-groups"].values()]
    wanted = [*pyproject["build-system"]["requires"], *project["dependencies"]]
    wanted += [item for group in groups for item in group if isinstance(item, str)]
    pinned = {normal(name) for name in pins()}

    assert sorted({normal(item) for item in wanted} - pinned) == []


def test_one_ruff() -> None:
    """The commit hook and CI format alike."""
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")

    assert f"rev: v{pins()['ruff']}\n" in hooks


def test_one_version() -> None:
    """The package and its metadata agree on the version."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    assert import_module("efficarch").__version__ == pyproject["project"]["version"]
