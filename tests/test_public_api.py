"""The public names, and what importing them costs."""

import subprocess
import sys

import efficarch


def test_public_names_are_these() -> None:
    """A name is added to or taken from the public ones here first."""
    assert efficarch.__all__ == [
        "Cell",
        "CosSim",
        "EfficarchError",
        "Estimate",
        "Limits",
        "Machine",
        "Measurement",
        "Outcome",
        "Run",
        "Verdict",
        "check_limits",
        "compare",
    ]


def test_public_names_are_few() -> None:
    """At most twelve names are promised to users."""
    assert len(efficarch.__all__) <= 12


def test_public_names_exist() -> None:
    """Every promised name is there."""
    assert [name for name in efficarch.__all__ if not hasattr(efficarch, name)] == []


def test_import_is_light() -> None:
    """The plugin loads in every pytest run, so it brings in neither torch nor scipy."""
    code = (
        "import sys, efficarch, efficarch.plugin, efficarch.hooks\n"
        "heavy = {'torch', 'transformers', 'scipy', 'numpy', 'jinja2', 'PIL'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (run.returncode, run.stdout.strip()) == (0, "[]"), run.stderr


def test_public_names_are_listed_before_they_are_loaded() -> None:
    """An editor offers them all; a name that is not there is an error like any other."""
    code = (
        "import efficarch\n"
        "assert set(efficarch.__all__) <= set(dir(efficarch))\n"
        "from efficarch import *\n"
        "from efficarch.errors import EfficarchError as same\n"
        "assert EfficarchError is same\n"
        "efficarch.nothing"
    )

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert run.stderr.endswith("AttributeError: module 'efficarch' has no attribute 'nothing'\n"), (
        run.stderr
    )
