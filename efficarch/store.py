"""The only file I/O of runs and baselines: read strictly, written atomically.

A run file is what ``pytest --benchmark-json`` writes, with three additions of this project:
``machine_info.efficarch`` (the fingerprint), ``benchmarks[i].extra_info.efficarch`` (a cell's
measurement) and a top-level ``efficarch`` section (schema version and every collected cell with
its status and limits). A baseline is a run file that was reviewed and committed.
"""

import json
import math
import os
import re
import tempfile
import types
import typing
from collections.abc import Callable
from dataclasses import asdict, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from efficarch.errors import EfficarchError, RunFileError
from efficarch.observation import Observation, Sample, observe
from efficarch.record import (
    SCHEMA,
    Cell,
    CellRun,
    Limits,
    Machine,
    Measurement,
    Quality,
    Run,
    Status,
)
from efficarch.run_checks import check_cells, check_measurement

T = TypeVar("T")

READABLE = (1, 2, 3, 4, SCHEMA)

_SINCE_3 = {"backend": None, "scaling": None, "saving": None}
_SINCE_4 = {"conditions": None, "turn": None}
_RENAMED_IN_5 = {"reference_ms": "timed_reference_ms", "ratio": "timed_ratio"}
_MACHINE_SINCE_4 = {"persistence": None, "mig": None}
_LIMITS_SINCE_3 = {"cossim_p5": None, "bits_lost": None, "slope": None, "reference_slope": None}

_TOO_DEEP = "nested too deeply to be a run file"


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing: to a temporary file beside it, then rename.

    Raises:
        EfficarchError: the folder cannot be created or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise EfficarchError(
            f"cannot write {path}: {error.strerror or error}; choose another folder"
        ) from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        # mkstemp makes files private; reports are meant to be shared
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except OSError as error:
        raise EfficarchError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def plain(value: Any) -> Any:
    """Turn records into JSON values: enums by value, tuples as lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def load_run(path: Path) -> Run:
    """Read a run file.

    Raises:
        RunFileError: the file is missing, truncated, of another tool or schema version, has
            duplicate cells, no rounds, a timing that is NaN, infinite or not positive, or anything
            else that `run_checks` refuses.
    """
    return _parsed(path, parse_run)


def _parsed(path: Path, parse: Callable[[Any], T]) -> T:
    data = _read(path)
    try:
        return parse(data)
    except RecursionError as error:
        raise RunFileError(f"{path}: {_TOO_DEEP}") from error
    except RunFileError as error:
        raise RunFileError(f"{path}: {error}") from error


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise RunFileError(f"{path}: {_TOO_DEEP}") from error
    except OSError as error:
        raise RunFileError(f"{path}: {error.strerror or error}; name a run file") from error
    except ValueError as error:
        raise RunFileError(
            f"{path}: not complete JSON ({error}); the run that wrote it did not finish, run again"
        ) from error


def load_sample(path: Path) -> Sample:
    """Read what the gate needs of a run file, or of any file of pytest-benchmark.

    A benchmark of another project is a cell by its full name; its latency is the median, and there
    is nothing else to judge.

    Raises:
        RunFileError: as for `load_run`.
    """
    return _parsed(path, _sample)


def _sample(data: Any) -> Sample:
    ours = isinstance(data, dict) and "efficarch" in data
    return observe(parse_run(data), data["efficarch"]["schema"]) if ours else _foreign(data)


def _foreign(data: Any) -> Sample:
    if not isinstance(data, dict) or not isinstance(data.get("benchmarks"), list):
        raise RunFileError("not a pytest-benchmark file; pass what --benchmark-json wrote")
    info = _mapping(data.get("machine_info"), "machine_info")
    cpu = info.get("cpu")
    cells: dict[str, Observation] = {}
    for index, entry in enumerate(data["benchmarks"]):
        bench = _mapping(entry, f"benchmarks[{index}]")
        name = _decode(str, bench.get("fullname"), f"benchmarks[{index}].fullname")
        if name in cells:
            raise RunFileError(f"benchmark {name!r} is there twice")
        stats = _mapping(bench.get("stats"), f"{name}.stats")
        seconds = _decode(float, stats.get("median"), f"{name}.stats.median")
        if seconds <= 0:
            raise RunFileError(f"{name}.stats.median is {seconds}, not a time")
        cells[name] = Observation(name, Status.PASSED, "", latency_ms=1e3 * seconds)
    return Sample(
        machine=(
            ("node", str(info.get("node"))),
            ("cpu_model", str(cpu.get("brand_raw") if isinstance(cpu, dict) else None)),
            ("system", f"{info.get('system')} {info.get('release')}"),
            ("python", str(info.get("python_version"))),
        ),
        created=_decode(str, data.get("datetime"), "datetime"),
        cells=cells,
    )


def parse_run(data: Any) -> Run:
    """Check and convert the JSON value of a run file; see `load_run`."""
    if not isinstance(data, dict) or not isinstance(data.get("benchmarks"), list):
        raise RunFileError("not a pytest-benchmark file; pass the run.json of a bench run")
    section = data.get("efficarch")
    if not isinstance(section, dict):
        raise RunFileError("a pytest-benchmark file of another tool: it has no efficarch section")
    if type(section.get("schema")) is not int or section["schema"] not in READABLE:
        raise RunFileError(
            f"schema version {section.get('schema')!r}, this efficarch reads versions "
            f"{', '.join(map(str, READABLE))}; report it with the efficarch that measured it"
        )
    machine = data.get("machine_info", {})
    commit = data.get("commit_info")
    # outside a repository pytest-benchmark knows of no commit
    commit = {} if commit is None else _mapping(commit, "commit_info")
    measured = _measurements(data["benchmarks"], section["schema"])
    fingerprint = _mapping(machine, "machine_info").get("efficarch")
    if section["schema"] < 4:
        fingerprint = {**_MACHINE_SINCE_4, **_mapping(fingerprint, "machine")}
    run = Run(
        machine=_decode(Machine, fingerprint, "machine"),
        created=_decode(str, data.get("datetime"), "datetime"),
        commit=str(commit.get("id") or "unknown"),
        dirty=bool(commit.get("dirty")),
        interrupted=_decode(bool, section.get("interrupted"), "interrupted"),
        clock_overhead_ms=_decode(float, section.get("clock_overhead_ms"), "clock_overhead_ms"),
        cells=tuple(
            _line(item, measured, section["schema"])
            for item in _sequence(section.get("cells"), "cells")
        ),
    )
    check_cells(run, measured)
    return run


def _measurements(benchmarks: list[Any], schema: int) -> dict[str, Measurement]:
    measured: dict[str, Measurement] = {}
    for index, bench in enumerate(benchmarks):
        extra = _mapping(_mapping(bench, f"benchmarks[{index}]").get("extra_info"), "extra_info")
        if "efficarch" not in extra:
            continue  # another plugin's benchmark in the same session
        entry = _mapping(extra["efficarch"], f"benchmarks[{index}]")
        cell_id = _decode(str, entry.get("cell"), f"benchmarks[{index}].cell")
        if cell_id in measured:
            raise RunFileError(f"cell {cell_id!r} is measured twice; every cell id must be unique")
        measurement = _mapping(entry.get("measurement"), cell_id)
        if schema == 1:
            later = {"cossim_items": [], "quality": plain(Quality()), "pairs_per_round": 1}
            measurement = {**measurement, **later}
        if schema < 3:
            measurement = {**measurement, **_SINCE_3}
        if schema < 4:
            measurement = {**measurement, **_SINCE_4}
        if schema < 5:
            measurement = {_RENAMED_IN_5.get(k, k): value for k, value in measurement.items()}
        measured[cell_id] = _decode(Measurement, measurement, cell_id)
        check_measurement(cell_id, measured[cell_id])
    return measured


def _line(item: Any, measured: dict[str, Measurement], schema: int) -> CellRun:
    entry = _mapping(item, "cell")
    cell = _decode(Cell, entry.get("cell"), "cell")
    limits = entry.get("limits")
    if schema < 3:
        limits = {**_mapping(limits, f"{cell.id}.limits"), **_LIMITS_SINCE_3}
    return CellRun(
        cell=cell,
        status=_decode(Status, entry.get("status"), f"{cell.id}.status"),
        message=_decode(str, entry.get("message"), f"{cell.id}.message"),
        limits=_decode(Limits, limits, f"{cell.id}.limits"),
        measurement=measured.get(cell.id),
    )


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RunFileError(f"{where} is {_shown(value)}, not an object")
    return value


def _sequence(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise RunFileError(f"{where} is {_shown(value)}, not a list")
    return value


def _decode(kind: Any, value: Any, where: str) -> Any:
    """Build ``kind`` (a record, enum, tuple, optional or scalar) from a JSON value, strictly."""
    if is_dataclass(kind):
        return _decode_record(typing.cast(type, kind), _mapping(value, where), where)
    origin = typing.get_origin(kind)
    if origin is tuple:
        item_kind = typing.get_args(kind)[0]
        items = _sequence(value, where)
        return tuple(_decode(item_kind, item, f"{where}[{i}]") for i, item in enumerate(items))
    if origin is types.UnionType:
        inner = next(part for part in typing.get_args(kind) if part is not types.NoneType)
        return None if value is None else _decode(inner, value, where)
    if isinstance(kind, type) and issubclass(kind, Enum):
        known = [member.value for member in kind]
        if value not in known:
            raise RunFileError(f"{where} is {_shown(value)}; known: {', '.join(known)}")
        return kind(value)
    return _scalar(kind, value, where)


def _decode_record(kind: type[T], value: dict[str, Any], where: str) -> T:
    hints = typing.get_type_hints(kind)
    names = [field.name for field in fields(typing.cast(Any, kind))]
    unknown = sorted(set(value) - set(names))
    if unknown:
        raise RunFileError(f"{where}: unknown field {unknown[0]!r}")
    for name in names:
        if name not in value:
            raise RunFileError(f"{where}: {name} is missing")
    return kind(**{name: _decode(hints[name], value[name], f"{where}.{name}") for name in names})


def _scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise RunFileError(f"{where} is {number}, not a finite number")
        return number
    if type(value) is not kind:
        raise RunFileError(f"{where} is {_shown(value)}, not of type {kind.__name__}")
    if kind is int and not 0 <= value < 2**63:
        raise RunFileError(f"{where} is {_shown(value)}, not a count")
    return value


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def machine_slug(machine: Machine) -> str:
    """Return the file name of a machine's baseline: the device and what tells two apart."""
    uuid = re.sub("^(MIG-|GPU-)+", "", machine.gpu_uuid or "")
    unique = uuid[:8] or f"{machine.cpu_cores}-cores"
    return re.sub(r"[^a-z0-9]+", "-", f"{machine.name} {unique}".lower()).strip("-")


def baseline_path(folder: Path, machine: Machine) -> Path:
    """Return where the baseline of a machine belongs."""
    return folder / f"{machine_slug(machine)}.json"


def save_baseline(run_file: Path, folder: Path) -> Path:
    """Copy a complete, green run file to its machine's baseline.

    Raises:
        EfficarchError: the run was interrupted, measured nothing, or has a cell that did not
            pass or skip.
    """
    run = load_run(run_file)
    bad = [line for line in run.cells if line.status not in (Status.PASSED, Status.SKIPPED)]
    nothing = all(line.status is Status.SKIPPED for line in run.cells)
    alone = any(line.measurement and line.measurement.timed_ratio is None for line in run.cells)
    if run.interrupted or bad or nothing or alone:
        what = "its references were not timed" if alone else "it was interrupted"
        what = "no cell was measured" if nothing else what
        what = f"{bad[0].cell.id} is {bad[0].status.value}" if bad else what
        raise EfficarchError(f"this run cannot become a baseline: {what}; mend it and run again")
    target = baseline_path(folder, run.machine)
    write_text(target, run_file.read_text(encoding="utf-8"))
    return target
