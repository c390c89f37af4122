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
    """The plugin loads in every pytest run, so it brings in neither torch nor scipy.stats."""
    code = (
        "import sys, efficarch, efficarch.plugin\n"
        "heavy = {'torch', 'transformers', 'scipy.stats'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (run.returncode, run.stdout.strip()) == (0, "[]"), run.stderr
