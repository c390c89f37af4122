"""Claims about the gate's policy."""

from dataclasses import asdict
from pathlib import Path

import pytest

from efficarch.errors import PolicyError
from efficarch.policy import CellPolicy, Policy, load_policy


def policy(tmp_path: Path, text: str) -> Policy:
    """Read a policy from text."""
    path = tmp_path / "pyproject.toml"
    path.write_text(text, encoding="utf-8")
    return load_policy(path)


def test_everything_has_a_default(tmp_path: Path) -> None:
    """No file, no table, an empty table."""
    assert load_policy(tmp_path / "none.toml") == Policy()
    assert policy(tmp_path, "[project]\nname = 'x'\n") == Policy()
    assert policy(tmp_path, "[tool.efficarch.gate]\n") == Policy()


def test_everything_can_be_set(tmp_path: Path) -> None:
    """The documented example is read as it says."""
    import efficarch.policy as module

    assert module.__doc__ is not None
    example = "\n".join(
        line.strip() for line in module.__doc__.splitlines() if line.startswith("    ")
    )

    read = policy(tmp_path, example)

    cells, install = ("dinov2/*/batch=1/*",), ("-c constraints.txt .[models]",)
    expected = asdict(Policy(may_differ=("torch",), cells=cells, install=install))
    assert {k: v for k, v in asdict(read).items() if k != "overrides"} == {
        k: v for k, v in expected.items() if k != "overrides"
    }
    assert read.of("ssd/cpp") == CellPolicy(0.05, 0.001, 0.0)
    assert read.of("dinov2/x") == CellPolicy(0.03, 0.001, 0.0)


def test_a_later_entry_overrides_field_by_field(tmp_path: Path) -> None:
    """What it does not say stays."""
    read = policy(
        tmp_path,
        """
        [[tool.efficarch.gate.cell]]
        cells = "a/*"
        floor = 0.1
        memory_tolerance = 0.2
        reason = "noisy"
        [[tool.efficarch.gate.cell]]
        cells = "a/b"
        floor = 0.04
        reason = "quiet"
        """,
    )

    assert read.of("a/b") == CellPolicy(0.04, 0.001, 0.2)
    assert read.of("a/c") == CellPolicy(0.1, 0.001, 0.2)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("flor = 0.1", "unknown setting 'flor'; did you mean 'floor'?"),
        ("floor = '3 %'", "floor is '3 %'; give a share"),
        ("floor = 3", "floor is 3; give a share"),
        ("floor = nan", "floor is nan"),
        ("floor = true", "floor is True"),
        ("floor = 0", "floor is 0, which no number of pairs can show"),
        ("floor = 0.01", "null is 0.01 and a floor is 0.01; null must be below"),
        ("family_error = 0", "family_error is 0"),
        ("pairs = []", "pairs is []; give positive numbers"),
        ("pairs = [6, 13]", "the last one even"),
        ("pairs = [0, 6]", "give positive numbers"),
        ("pairs = 6", "pairs is 6"),
        ("pairs = [6, 6]", "every number must be above the last"),
        ("cells = 'dinov2'", "cells is 'dinov2'; give a list of cell ids or globs"),
        ("cells = ['']", "cells is ['']"),
        ("install = [3]", "install is [3]; give a list of arguments of pip install"),
        ("metric = 'speed'", "metric is 'speed'; known: auto, latency, ratio"),
        ("may_differ = ['pytorch']", "may_differ is ['pytorch']; give a list of: gpu_name"),
        ("may_differ = ['device']", "may_differ"),
        ("cell = 3", "write entries for cells as"),
        ("cell = [{ cells = 'a', reason = 'b' }]", "changes nothing"),
        ("cell = [{ cells = 'a', floor = 0.1 }]", "'reason' must be"),
        ("cell = [{ reason = 'a', floor = 0.1 }]", "'cells' must be"),
        ("cell = [{ cells = 'a', reason = 'b', null = 0.1 }]", "unknown setting 'null'"),
        ("cell = [{ cells = 'a', reason = 'b', floor = 0.005 }]", "a floor is 0.005"),
        ("x = [", "not valid TOML"),
    ],
)
def test_bad_settings_are_refused(tmp_path: Path, setting: str, words: str) -> None:
    """In one sentence, with the value."""
    with pytest.raises(PolicyError) as caught:
        policy(tmp_path, f"[tool.efficarch.gate]\n{setting}\n")

    assert words in str(caught.value)


def test_no_table(tmp_path: Path) -> None:
    """A value where the table should be."""
    with pytest.raises(PolicyError, match="not a table"):
        policy(tmp_path, "[tool.efficarch]\ngate = 3\n")
