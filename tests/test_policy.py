"""Claims about the gate's policy."""

import re
import tomllib
from dataclasses import asdict, fields
from pathlib import Path

import pytest

import efficarch.policy
from efficarch.errors import PolicyError
from efficarch.policy import CellPolicy, Policy, load_policy

LONG = "9" * 401


def policy(tmp_path: Path, text: str) -> Policy:
    """Read a policy from text."""
    path = tmp_path / "pyproject.toml"
    path.write_text(text, encoding="utf-8")
    return load_policy(path)


def test_the_documentation_shows_the_whole_policy() -> None:
    """The block in the manual is that of the module, and every setting stands in it."""
    manual = (Path(efficarch.policy.__file__).parents[1] / "docs" / "measuring.md").read_text()
    (block,) = re.findall(r"```toml\n(\[tool\.efficarch\.gate\]\n.*?)```", manual, re.DOTALL)
    lines = [line.strip() for line in str(efficarch.policy.__doc__).splitlines()]

    assert [line for line in block.splitlines() if line not in lines] == []
    shown = tomllib.loads(block)["tool"]["efficarch"]["gate"]
    names = {field.name for field in fields(Policy)} - {"overrides"}
    assert set(shown) - {"cell"} == names
    unset = {"cells", "install", "may_differ"}
    defaults = {name: getattr(Policy(), name) for name in names - unset}
    assert {name: shown[name] for name in defaults} == {
        name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()
    }


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
        ('install = ["-e \'."]', 'install has "-e \'.": No closing quotation'),
        ('install = ["a\\u0000b"]', "with a NUL in it"),
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
        ("floor = -0.1", "floor is -0.1; give a share"),
        ("floor = inf", "floor is inf; give a share"),
        (f"floor = {LONG}", f"floor is {LONG}; give a share"),
        (f"cossim_tolerance = {LONG}", f"cossim_tolerance is {LONG}; give a share"),
        (f"floor = 0x1{'0' * 5000}", "floor is int of absurd size; give a share"),
        ("floor = 2020-01-01", "floor is datetime.date(2020, 1, 1); give a share"),
        ("floor = {}", "floor is {}; give a share"),
        ("pairs = [6, 1000000000]", "pairs is [6, 1000000000]; give at most 1,000"),
        ("pairs = [6, 1002]", "give at most 1,000"),
        (f"pairs = [0x1{'0' * 5000}]", "pairs is list of absurd size; give at most 1,000"),
        ("pairs = [true, 6]", "pairs is [True, 6]; give positive numbers"),
        ("pairs = [6.0]", "pairs is [6.0]; give positive numbers"),
        ("cells = [['a']]", "cells is [['a']]"),
        ("metric = []", "metric is []; known"),
        ("may_differ = [['torch']]", "may_differ is [['torch']]; give a list of"),
        ("may_differ = {}", "may_differ is {}; give a list of"),
        ("cell = [3]", "write entries for cells as"),
        ("cell = { cells = 'a', floor = 0.1, reason = 'b' }", "write entries for cells as"),
        ("cell = [{ cells = 'a', floor = 0.1, reason = ['b'] }]", "'reason' must be"),
        ("cell = [{ cells = 'a', floor = 0.1, reason = 3 }]", "'reason' must be"),
        ("cell = [{ cells = 'a', floor = 0.1, reason = ' ' }]", "'reason' must be"),
        ("cell = [{ cells = ['a'], floor = 0.1, reason = 'b' }]", "'cells' must be"),
        (f"cell = [{{ cells = 'a', reason = 'b', floor = {LONG} }}]", "'a': floor is 9999"),
        ("cell = [{ cells = 'a', reason = 'b', floor = nan }]", "'a': floor is nan"),
        ("cell = [{ cells = 'a', reason = 'b', pairs = [6] }]", "unknown setting 'pairs'"),
    ],
)
def test_bad_settings_are_refused(tmp_path: Path, setting: str, words: str) -> None:
    """In one sentence, with the value."""
    with pytest.raises(PolicyError) as caught:
        policy(tmp_path, f"[tool.efficarch.gate]\n{setting}\n")

    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tool.efficarch]\ngate = 3\n", "tool.efficarch.gate is 3, not a table; write [tool."),
        ("[tool]\nefficarch = 5\n", "tool.efficarch is 5, not a table; write [tool.efficarch]"),
        ("tool = 5\n", "tool is 5, not a table; write [tool]"),
        ("[[tool]]\n", "tool is [{}], not a table"),
        ("[[tool.efficarch.gate]]\nfloor = 0.1\n", "gate is [{'floor': 0.1}], not a table"),
        ("x = " + "[" * 100_000, "not valid TOML"),
    ],
)
def test_no_table(tmp_path: Path, text: str, words: str) -> None:
    """A value where a table should be, at every level above the settings."""
    with pytest.raises(PolicyError) as caught:
        policy(tmp_path, text)

    assert words in str(caught.value)


def test_a_folder_is_no_policy(tmp_path: Path) -> None:
    """Nor is it no policy at all."""
    with pytest.raises(PolicyError) as caught:
        load_policy(tmp_path)

    assert str(caught.value) == f"{tmp_path}: Is a directory; name a TOML file"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_policy_with_a_byte_order_mark_is_read(tmp_path: Path, encoding: str) -> None:
    """As some editors, and PowerShell's ``>``, write it."""
    path = tmp_path / "pyproject.toml"
    path.write_bytes("[tool.efficarch.gate]\nfloor = 0.07\n".encode(encoding))

    assert load_policy(path).floor == 0.07


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    """The encoding, and what to do."""
    path = tmp_path / "pyproject.toml"
    path.write_bytes(b'name = "M\xfc"')

    with pytest.raises(PolicyError, match=r"not text in UTF-8, .*; save it in UTF-8"):
        load_policy(path)


def test_patterns_that_name_no_cell_are_told(tmp_path: Path) -> None:
    """Of the cells and of the overrides, each once and in their order; an id names itself."""
    read = policy(
        tmp_path,
        """
        [tool.efficarch.gate]
        cells = ["gone/*", "a/?", "t.py::a[x]"]
        [[tool.efficarch.gate.cell]]
        cells = "a/*"
        floor = 0.1
        reason = "noisy"
        [[tool.efficarch.gate.cell]]
        cells = "typo/*"
        floor = 0.1
        reason = "noisy"
        [[tool.efficarch.gate.cell]]
        cells = "gone/*"
        floor = 0.2
        reason = "noisier"
        """,
    )

    assert read.unmatched(["a/b", "t.py::a[x]"]) == ["gone/*", "typo/*"]
    assert read.unmatched(iter(["a/b", "t.py::a[x]", "gone/1", "typo/1"])) == []
    assert read.unmatched([]) == ["gone/*", "a/?", "t.py::a[x]", "a/*", "typo/*"]
    assert Policy().unmatched([]) == []
