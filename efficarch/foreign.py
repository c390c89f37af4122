"""Files of pytest-benchmark from any project, read for what the gate can judge: their medians."""

from dataclasses import replace
from math import isclose, isfinite
from typing import Any

from efficarch.decoding import decode, mapping, moment, sequence, shown
from efficarch.errors import RunFileError
from efficarch.observation import Observation, Sample
from efficarch.record import Status
from efficarch.stats import median

UNKNOWN = "unknown"
"""What stands in the fingerprint for what a file does not say."""

IDENTIFYING = ("node", "cpu_model")
"""Without either, nothing says that two files are of one machine."""

MACHINE = (*IDENTIFYING, "cpu_cores", "machine", "processor", "system", "release")
PYTHON = ("python", "python_implementation")
FINGERPRINT = MACHINE + PYTHON
"""What tells the machines of such files apart, by name; where a file of ours has the same, by the
same name."""

TIMED_BY = ("timer", "disable_gc", "warmup")
"""Options of pytest-benchmark under which other times are measured."""

SHORTEST_S, LONGEST_S = 1e-12, 1e7
"""As in `run_checks`, in seconds."""

TOLERANCE = 1e-6


def foreign_sample(data: Any) -> Sample:
    """Check and convert the JSON value of a file of pytest-benchmark.

    A benchmark whose test ran again is there as often, and the last time counts. One without a
    median that is a time was not measured.

    Raises:
        RunFileError: it is no such file, or was edited.
    """
    if not isinstance(data, dict) or not isinstance(data.get("benchmarks"), list):
        raise RunFileError("not a pytest-benchmark file; pass what --benchmark-json wrote")
    cells = {}
    for index, entry in enumerate(data["benchmarks"]):
        bench = mapping(entry, f"benchmarks[{index}]")
        name = decode(str, bench.get("fullname"), f"benchmarks[{index}].fullname")
        found = _observation(name, bench.get("stats"))
        cells[name] = replace(found, identity=_identity(bench.get("options"), name))
    return Sample(
        machine=_machine(data.get("machine_info")),
        created=moment(data.get("datetime"), "datetime"),
        cells=cells,
    )


def _identity(value: Any, name: str) -> tuple[tuple[str, str], ...]:
    """Return how a benchmark was timed, as far as its file says."""
    options = {} if value is None else mapping(value, f"{name}.options")
    return tuple((each, str(options[each])) for each in TIMED_BY if each in options)


def _machine(value: Any) -> tuple[tuple[str, str], ...]:
    info = mapping(value, "machine_info")
    cpu = info.get("cpu")
    # py-cpuinfo before its version 5 wrote "brand"; a hook may have replaced the whole by a name
    if cpu is None or isinstance(cpu, str):
        cpu = {"brand_raw": cpu}
    cpu = mapping(cpu, "machine_info.cpu")
    said = {
        "node": info.get("node"),
        "cpu_model": cpu.get("brand_raw") or cpu.get("brand"),
        "cpu_cores": cpu.get("count"),
        "machine": info.get("machine"),
        "processor": info.get("processor"),
        "system": info.get("system"),
        "release": info.get("release"),
        "python": info.get("python_version"),
        "python_implementation": info.get("python_implementation"),
    }
    return tuple((name, _known(said[name], f"machine_info: {name}")) for name in FINGERPRINT)


def _known(value: Any, where: str) -> str:
    if value is None:
        return UNKNOWN
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise RunFileError(f"{where} is {shown(value)}, not text or a number")
    return str(value).strip() or UNKNOWN


def _observation(name: str, value: Any) -> Observation:
    stats = {} if value is None else mapping(value, f"{name}.stats")
    seconds = stats.get("median")
    if seconds is None:
        return Observation(name, Status.ERROR, "the file holds no median of it")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise RunFileError(f"{name}.stats.median is {shown(seconds)}, not a number")
    if not SHORTEST_S <= seconds <= LONGEST_S:
        return Observation(name, Status.ERROR, f"its median is {shown(seconds)}, not a time")
    _check_rounds(name, float(seconds), stats.get("data"))
    return Observation(name, Status.PASSED, "", latency_ms=1e3 * seconds)


def _check_rounds(name: str, seconds: float, data: Any) -> None:
    """Check that a median is that of its rounds, where the file holds them."""
    if data is None:
        return
    where = f"{name}.stats.data"
    rounds = [decode(float, each, f"{where}[{i}]") for i, each in enumerate(sequence(data, where))]
    given = median(rounds) if rounds else 0.0
    if not isfinite(given) or not isclose(seconds, given, rel_tol=TOLERANCE):
        raise RunFileError(
            f"{name}.stats.median is {seconds:.6g}, its {len(rounds)} rounds give {given:.6g}; "
            "the file was edited"
        )
