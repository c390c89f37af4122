"""The scans against each other and the machine: who is timed, and what is said of it."""

import pytest
import torch

from benchmarks.scan import floor
from efficarch.errors import EfficarchError
from efficarch.record import Estimate
from efficarch.scan import chunked, naive, synthetic_inputs


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probe the machine with next to nothing, and without mambapy."""
    monkeypatch.setattr(floor, "LARGE", 2**10)
    monkeypatch.setattr(floor, "SMALL", 2**10)
    monkeypatch.setattr(floor, "SQUARE", 8)
    monkeypatch.setattr(floor, "find_spec", lambda _name: None)


@pytest.mark.usefixtures("quick")
def test_prints_latencies_ratios_and_floor(capsys: pytest.CaptureFixture[str]) -> None:
    """Every contestant, every ratio that can be had, and what bounds them."""
    with torch.inference_mode():
        floor.run(channels=8, length=20, rounds=6)

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("B=1, D=8, N=16, L=20, float32, ")
    assert lines[1] == "mambapy is not installed and not compared; pip install mambapy"
    assert [line.split()[0] for line in lines[2:6]] == ["naive", "chunked", "cpp", "transformers"]
    assert [line.partition(":")[0] for line in lines[6:9]] == [
        *("naive / cpp", "transformers / cpp", "naive / chunked")
    ]
    assert lines[-1].startswith(("floor: arithmetic, ", "floor: memory, "))


@pytest.mark.usefixtures("quick")
def test_what_is_wrong_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An output that is not the oracle's, NaN included, ends the run by name."""
    for wrong in (1.0, float("nan")):

        def scan(*arguments: object, wrong: float = wrong, **options: object) -> object:
            return naive.scan(*arguments, **options) + wrong

        monkeypatch.setattr(chunked, "scan", scan)
        with pytest.raises(EfficarchError, match="chunked differs from the float64 oracle by"):
            floor.run(channels=8, length=20, rounds=6)


def test_mambapy_computes_the_same_scan() -> None:
    """Where it is installed, the way it is called gives the oracle's output."""
    pytest.importorskip("mambapy", reason="mambapy is not installed")
    inputs = synthetic_inputs(
        batch=1, channels=8, state=16, length=50, seed=0, device="cpu", dtype=torch.float32
    )

    torch.testing.assert_close(floor.mambapy_scan(inputs)(), naive.scan(inputs))


@pytest.mark.parametrize(
    ("estimate", "words"),
    [
        (Estimate(11, 10, 12), "reached"),
        (Estimate(11, 9, 12), "reached by the median alone"),
        (Estimate(9, 8, 12), "missed"),
    ],
    ids=["all-above", "median-above", "below"],
)
def test_verdict(estimate: Estimate, words: str) -> None:
    """A goal is reached by a whole interval; less is called less."""
    assert floor.verdict(estimate, 10) == words


def test_contestants_alternate_in_changing_order() -> None:
    """Each round runs each once, rounds differ in order, the first one only warms up."""
    ran: list[str] = []
    calls = {name: lambda name=name: ran.append(name) for name in "abcd"}

    latency_ms = floor.interleaved(calls, rounds=6)

    rounds = [tuple(ran[start : start + 4]) for start in range(0, 28, 4)]
    assert all(sorted(each) == list("abcd") for each in rounds)
    assert len(set(rounds)) > 1
    assert {name: len(times) for name, times in latency_ms.items()} == dict.fromkeys("abcd", 6)
