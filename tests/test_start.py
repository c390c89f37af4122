"""What a project pays and meets that only has this package installed."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from efficarch import options
from efficarch.record import DTYPES
from efficarch.stats import MIN_ROUNDS

OURS = {
    "efficarch",
    "efficarch.errors",
    "efficarch.hooks",
    "efficarch.models",
    "efficarch.options",
    "efficarch.plugin",
}
HEAVY = {"PIL", "cpuinfo", "jinja2", "numpy", "scipy", "statsmodels", "torch", "transformers"}

MOST_S = 0.05
"""Of the processor's time, added to a start."""

OFF = ("-p", "no:efficarch.plugin")
# they are in nobody's way, but each adds noise to both sides
QUIET = ("benchmark", "hypothesispytest", "xdist", "xdist.looponfail", "anyio", "cacheprovider")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of a test without content."""
    (tmp_path / "test_empty.py").write_text("")
    return tmp_path


def start(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest as a user does, measured by nobody."""
    dropped = ("COVERAGE", "PYTEST", "PYTHONDONTWRITEBYTECODE")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *arguments],
        cwd=project,
        env={name: value for name, value in os.environ.items() if not name.startswith(dropped)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_start_is_hardly_longer(project: Path) -> None:
    """At most 50 ms of user and system time, by whole processes in turns.

    Both have a fastest run, which what else goes on can only delay; it takes a few runs to see it.
    """
    quiet = [word for name in QUIET for word in ("-p", f"no:{name}")]

    def seconds(*arguments: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run = start(project, *quiet, *arguments)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert run.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, run.stdout + run.stderr
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    added, on, off = 1.0, [seconds()], [seconds(*OFF)]
    while len(on) < 7 or (added > MOST_S and len(on) < 40):
        on.append(seconds())
        off.append(seconds(*OFF))
        added = min(on) - min(off)

    assert added <= MOST_S, (on, off)


def modules(project: Path, *arguments: str) -> set[str]:
    """Return the modules that a session has loaded when its test runs."""
    (project / "test_modules.py").write_text(
        "import json, pathlib, sys\n\ndef test_modules():\n"
        "    pathlib.Path('loaded.json').write_text(json.dumps(sorted(sys.modules)))\n"
    )
    run = start(project, *arguments)
    assert run.returncode == 0, run.stdout + run.stderr
    return set(json.loads((project / "loaded.json").read_text()))


def test_a_start_loads_these_modules_and_no_others(project: Path) -> None:
    """Not one more, of ours or of anybody: each costs time in every session."""
    on = modules(project)

    assert on - modules(project, *OFF) == OURS
    assert not on & HEAVY


def test_what_is_written_out_once_more_is_the_same() -> None:
    """The options know dtypes and rounds without the modules these come from."""
    assert (options.DTYPES, options.MIN_ROUNDS) == (DTYPES, MIN_ROUNDS)


def test_nothing_is_printed(project: Path) -> None:
    """Nor skipped, deselected or warned about."""
    (project / "test_empty.py").write_text(
        "import pytest\n\ndef test_own(benchmark):\n    benchmark(int)\n\n"
        "@pytest.mark.skip\ndef test_skipped():\n    pass\n"
    )

    def said(*arguments: str) -> list[str]:
        run = start(project, "--benchmark-disable", *arguments)
        assert run.returncode == 0, run.stdout + run.stderr
        return [line.rpartition(" in ")[0] for line in run.stdout.splitlines()] + [run.stderr]

    assert said() == said(*OFF)


@pytest.mark.parametrize(
    ("loaded", "name"),
    [((), "efficarch"), ((), "efficarch.plugin"), (("-p", "efficarch.plugin"), "efficarch")],
    ids=["package", "plugin", "package, plugin named"],
)
def test_switched_off_nothing_is_there(project: Path, loaded: tuple[str, ...], name: str) -> None:
    """No option, no fixture and no hook, by the name of the package or of the plugin."""
    off = (*loaded, "-p", f"no:{name}")

    assert "--efficarch-" in start(project, *loaded, "--help").stdout
    assert "--efficarch-" not in start(project, *off, "--help").stdout
    refused = start(project, *off, "--efficarch-device=cpu")
    assert "unrecognized arguments: --efficarch-device=cpu" in refused.stderr
    assert "efficarch_clock" in start(project, *loaded, "--fixtures").stdout
    assert "efficarch" not in start(project, *off, "--fixtures").stdout
    traced = start(project, *off, "--trace-config").stdout
    registered = [line for line in traced.splitlines() if "/efficarch/" in line]
    assert [line for line in registered if "plugin.py" not in line] == []


OPTIONS_OF_OTHERS = """
def pytest_addoption(parser):
    for name in ("clip", "dinov2", "siglip", "vit", "qwen-3b", "qwen-7b", "mamba", "mamba2"):
        parser.addoption(f"--{name}-path")
    for name in ("device", "dtype", "weights", "rounds", "images"):
        parser.addoption(f"--{name}")
"""


def test_another_project_may_have_options_of_any_name(project: Path) -> None:
    """Ours all begin with the name of the package."""
    (project / "conftest.py").write_text(OPTIONS_OF_OTHERS)

    run = start(project, "--clip-path=mine", "--images=mine")

    assert run.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, run.stdout + run.stderr


def test_naming_the_plugin_does_not_load_it_twice(project: Path) -> None:
    """Where it is installed it is there already."""
    run = start(project, "-p", "efficarch.plugin", "-p", "efficarch.plugin")

    assert run.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, run.stdout + run.stderr


def test_a_bare_checkout_takes_the_plugin_by_name(project: Path) -> None:
    """Where no entry point loads it."""
    run = start(project, "--disable-plugin-autoload", "-p", "efficarch.plugin", "--fixtures")

    assert "bench" in run.stdout
