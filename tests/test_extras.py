"""Every dependency is known by the extra that brings it."""

import re
import tomllib
from pathlib import Path

from efficarch.extras import EXTRAS, REQUIRED, not_installed

ROOT = Path(__file__).parent.parent

# what is imported under another name than it is installed by, as pyproject.toml has it for deptry
BROUGHT_ALONG = {"cpuinfo": "pytest-benchmark"}


def test_every_dependency_has_its_remedy() -> None:
    """A module of each, under the extra that pyproject.toml has it in."""
    data = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    modules = data["tool"]["deptry"]["package_module_name_map"]

    def named(requirements: list[str]) -> set[str]:
        names = {re.split(r"[\s<>=!~;]", each)[0] for each in requirements}
        return {modules.get(name, name.replace("-", "_")) for name in names}

    extras = data["project"]["optional-dependencies"]
    assert {m: e for e, each in extras.items() for m in named(each)} == EXTRAS
    assert named(data["project"]["dependencies"]) | set(BROUGHT_ALONG) == set(REQUIRED)


def test_the_remedy_is_a_command() -> None:
    """With the extra, if one is needed."""
    assert not_installed("optuna").endswith("run: pip install 'efficarch[tune]'")
    assert not_installed("scipy").endswith("run: pip install efficarch")
