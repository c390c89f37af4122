"""Machines of files from any project: told apart by all the files hold, or not known at all."""

import json
from pathlib import Path
from typing import Any

import pytest

from efficarch.decision import gate
from efficarch.errors import PolicyError
from efficarch.foreign import FINGERPRINT
from efficarch.gate import Outcome, Verdict
from efficarch.policy import Policy, load_policy
from efficarch.store import load_sides
from tests.store.test_foreign import INFO

Info = dict[str, Any]


def written(path: Path, info: Info, *, seconds: float, created: int) -> Path:
    """Write a file of one benchmark on some machine."""
    data = {
        "machine_info": info,
        "benchmarks": [{"fullname": "t.py::a", "stats": {"median": seconds}}],
        "datetime": f"2026-05-01T10:00:{created:02d}+00:00",
    }
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def judged(tmp_path: Path, base: Info, head: Info, policy: Policy | None = None) -> Verdict:
    """Judge a head that takes half as long again, on machines of which the files say this much."""
    sides = [
        [
            written(tmp_path / f"{name}{i}.json", info, seconds=seconds + 1e-6 * i, created=i)
            for i in range(7)
        ]
        for name, info, seconds in (("base", base, 0.001), ("head", head, 0.0015))
    ]
    loaded = load_sides(*sides)
    (verdict,) = gate(loaded.base, loaded.head, {}, policy or Policy())
    return verdict


def without(*names: str, **others: Any) -> Info:
    """Return what a file says of its machine, less some of it."""
    return {name: value for name, value in {**INFO, **others}.items() if name not in names}


def test_one_machine_is_compared(tmp_path: Path) -> None:
    """Where all of it agrees, whatever the keys are called."""
    assert judged(tmp_path, INFO, INFO).outcome is Outcome.FAIL
    old = without(cpu={"brand": "A CPU", "count": 4})
    assert judged(tmp_path, INFO, old).outcome is Outcome.FAIL


OTHERS: dict[str, tuple[Info, str]] = {
    "node": (without(node="other"), "host and other"),
    "cpu_model": (without(cpu={"brand_raw": "B CPU", "count": 4}), "A CPU and B CPU"),
    "cpu_cores": (without(cpu={"brand_raw": "A CPU", "count": 64}), "4 and 64"),
    "machine": (without(machine="arm64"), "x86_64 and arm64"),
    "processor": (without(processor="i386"), "x86_64 and i386"),
    "system": (without(system="Darwin"), "Linux and Darwin"),
    "release": (without(release="6.9.0"), "6.8.0 and 6.9.0"),
    "python": (without(python_version="3.13.0"), "3.12.3 and 3.13.0"),
    "python_implementation": (without(python_implementation="PyPy"), "CPython and PyPy"),
}


@pytest.mark.parametrize("name", FINGERPRINT)
def test_every_difference_is_named_and_may_be_allowed(tmp_path: Path, name: str) -> None:
    """By the name that the policy's ``may_differ`` takes."""
    other, values = OTHERS[name]
    path = tmp_path / "policy.toml"
    path.write_text(f'[tool.efficarch.gate]\nmay_differ = ["{name}"]\n')

    verdict = judged(tmp_path, INFO, other)

    assert verdict.outcome is Outcome.NOT_COMPARABLE
    assert verdict.reasons == (f"other machine: {name} is {values}",)
    assert judged(tmp_path, INFO, other, load_policy(path)).outcome is Outcome.FAIL


def test_the_device_may_never_differ(tmp_path: Path) -> None:
    """Cells are named by it, so what the two sides share are never those of two devices."""
    path = tmp_path / "policy.toml"
    path.write_text('[tool.efficarch.gate]\nmay_differ = ["device"]\n')

    with pytest.raises(PolicyError, match="give a list of: gpu_name"):
        load_policy(path)


@pytest.mark.parametrize(
    ("name", "known"), [("node", "host"), ("processor", "x86_64"), ("system", "Linux")]
)
@pytest.mark.parametrize("empty", [None, "", " "], ids=["null", "empty", "blank"])
def test_what_one_side_does_not_say_is_a_difference(
    tmp_path: Path, name: str, known: str, empty: str | None
) -> None:
    """It may be anything there."""
    for silent in (without(name), without(**{name: empty})):
        verdict = judged(tmp_path, INFO, silent)
        assert verdict.outcome is Outcome.NOT_COMPARABLE
        assert verdict.reasons == (f"other machine: {name} is {known} and unknown",)


def test_what_neither_side_says_is_no_difference(tmp_path: Path) -> None:
    """As long as node or CPU say which machine it is."""
    for names in (("node", "processor"), ("cpu",), ("release", "machine")):
        silent = without(*names)
        assert judged(tmp_path, silent, silent).outcome is Outcome.FAIL


def test_a_machine_that_nothing_identifies_is_not_comparable(tmp_path: Path) -> None:
    """Two silences are not one machine, also where all else agrees."""
    silent = without("node", "cpu")

    verdict = judged(tmp_path, silent, silent)

    assert verdict.outcome is Outcome.NOT_COMPARABLE
    assert verdict.reasons == (
        "unknown machine: no file says its node or cpu_model, so nothing identifies the machine",
    )
    assert not verdict.advisory


def test_that_nothing_identifies_it_is_said_beside_what_differs(tmp_path: Path) -> None:
    """Architecture and processor of the stripped files of two machines."""
    base = without("node", "cpu", processor="i386")
    head = without("node", "cpu", machine="arm64", processor="arm")

    (reason,) = judged(tmp_path, base, head).reasons

    assert reason == (
        "other machine: machine is x86_64 and arm64; processor is i386 and arm; "
        "no file says its node or cpu_model, so nothing identifies the machine"
    )


def test_what_may_differ_identifies_nothing(tmp_path: Path) -> None:
    """With hosts that may differ, the CPU has to say it; the policy can do without either."""
    silent = without("cpu")

    verdict = judged(tmp_path, silent, silent, Policy(may_differ=("node",)))
    assert verdict.outcome is Outcome.NOT_COMPARABLE
    assert "no file says its cpu_model" in verdict.reasons[0]

    either = Policy(may_differ=("node", "cpu_model"))
    assert judged(tmp_path, silent, silent, either).outcome is Outcome.FAIL
