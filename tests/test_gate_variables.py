"""What a gate tells its processes stays with them: nobody they start hears of it."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from efficarch import hooks, process_plan, turns
from efficarch.errors import EfficarchError
from efficarch.process_plan import ProcessPlan
from efficarch.turns import current

ROOT = Path(__file__).parent.parent
VARIABLES = (turns.VARIABLE, process_plan.VARIABLE)

NESTED = """
import os
import subprocess
import sys


def test_nested(pytester):
    seen = [name for name in os.environ if name.startswith("EFFICARCH_GATE_")]
    assert seen == []
    pytester.makepyfile(test_inner="def test_inner(): pass")
    pytester.runpytest_subprocess("-p", "efficarch.plugin").assert_outcomes(passed=1)
    pytester.runpytest_inprocess("-p", "efficarch.plugin").assert_outcomes(passed=1)


def test_child():
    code = "import os, sys; os.fstat(int(sys.argv[1]))"
    child = subprocess.run(
        [sys.executable, "-c", code, "FILENO"], close_fds=False, capture_output=True, text=True
    )
    assert "Bad file descriptor" in child.stderr
"""


class Gate:
    """The gate's end of the connection, and what it tells a process it starts."""

    def __init__(self, plan: Path) -> None:
        self.ours, self.theirs = socket.socketpair()
        ProcessPlan(None, 0, False).write(plan)
        self.says = {
            turns.VARIABLE: str(self.theirs.fileno()),
            process_plan.VARIABLE: str(plan),
        }

    def run(self, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run pytest as a process of this gate, and take back its end of the connection."""
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "efficarch.plugin", *arguments],
            cwd=folder,
            env={**os.environ, **self.says, "PYTHONPATH": str(ROOT)},
            pass_fds=(self.theirs.fileno(),),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        self.theirs.close()
        return run


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate of one process."""
    gate = Gate(tmp_path / "plan")
    yield gate
    gate.ours.close()
    gate.theirs.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the tests of that process lie."""
    (tmp_path / "suite").mkdir()
    return tmp_path / "suite"


def test_a_session_within_a_measured_one_knows_no_gate(gate: Gate, folder: Path) -> None:
    """Neither a pytest in the same process nor one in another, nor any child, talks to the gate."""
    (folder / "conftest.py").write_text('pytest_plugins = ["pytester"]\n')
    fileno = gate.says[turns.VARIABLE]
    (folder / "test_nested.py").write_text(NESTED.replace("FILENO", fileno))

    run = gate.run(folder)

    assert run.returncode == 0, run.stdout + run.stderr
    assert gate.ours.recv(1000) == b""


def test_xdist_under_a_gate_runs_its_tests(gate: Gate, folder: Path) -> None:
    """Controller and workers measure nothing and end as without a gate."""
    (folder / "test_plain.py").write_text(
        "import pytest\n\n@pytest.mark.parametrize('n', range(4))\ndef test_plain(n):\n    pass\n"
    )

    run = gate.run(folder, "-p", "xdist", "-n", "2")

    assert run.returncode == 0, run.stdout + run.stderr
    assert "4 passed" in run.stdout


def test_a_worker_that_inherits_the_variables_only_drops_them(folder: Path) -> None:
    """Where its controller did not take them, as one without the plugin."""
    (folder / "test_plain.py").write_text(
        "import os\n\ndef test_plain():\n"
        "    assert not [name for name in os.environ if name.startswith('EFFICARCH_GATE_')]\n"
    )
    (folder / "conftest.py").write_text(
        "import os\n\ndef pytest_configure_node(node):\n"
        + "".join(f"    os.environ[{name!r}] = '99'\n" for name in VARIABLES)
    )

    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "efficarch.plugin", "-n", "1"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("value", ["", "three", "-1", "99", str(10**30)])
def test_a_value_that_is_no_socket_is_one_sentence(folder: Path, value: str) -> None:
    """With the variable, its value and what to do."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "efficarch.plugin"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), turns.VARIABLE: value},
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert run.stderr.splitlines() == [
        f"ERROR: {turns.VARIABLE} is {value!r}, which is no open socket of a gate; unset it",
        "",
    ]


def test_a_file_is_no_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An open descriptor of another kind is left open to whom it belongs."""
    with (tmp_path / "file").open("w") as file:
        monkeypatch.setenv(turns.VARIABLE, str(file.fileno()))

        with pytest.raises(EfficarchError, match="no open socket of a gate"):
            current()

        file.write("still open")


def test_both_are_taken_by_who_reads_them(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the connection is not for children."""
    for name, value in gate.says.items():
        monkeypatch.setenv(name, value)
    theirs = os.dup(gate.theirs.fileno())
    os.set_inheritable(theirs, True)
    monkeypatch.setenv(turns.VARIABLE, str(theirs))

    assert process_plan.current() == ProcessPlan(None, 0, False)
    mine = current()

    assert mine is not None
    assert not set(VARIABLES) & set(os.environ)
    assert not os.get_inheritable(theirs)
    assert (current(), process_plan.current()) == (None, None)
    mine._line.close()


def test_a_start_looks_for_the_variables_of_a_gate() -> None:
    """By how their names begin, since the modules that know them take long to load."""
    assert all(name.startswith(hooks.GATE) for name in VARIABLES)
