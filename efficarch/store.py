"""The only file I/O of runs and baselines: read strictly, written atomically.

A run file is what ``pytest --benchmark-json`` writes, with three additions of this project:
``machine_info.efficarch`` (the fingerprint), ``benchmarks[i].extra_info.efficarch`` (a cell's
measurement) and a top-level ``efficarch`` section (schema version and every collected cell with
its status and limits). A baseline is a run file that was reviewed and committed.
"""

import json
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from efficarch.decoding import decode, mapping, moment, sequence
from efficarch.errors import EfficarchError, RunFileError
from efficarch.estimates import check_estimates
from efficarch.files import parse_json, read_text
from efficarch.foreign import foreign_sample
from efficarch.identity import identities
from efficarch.observation import Sample, observe
from efficarch.record import Cell, CellRun, Limits, Machine, Measurement, Run, Status
from efficarch.run_checks import check_cells, check_measurement
from efficarch.schemas import READABLE, newest_limits, newest_machine, newest_measurement

T = TypeVar("T")

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
            duplicate cells or keys, no rounds, a timing that is NaN, infinite or not positive, a
            figure that its own rounds do not give, or anything else that `run_checks` refuses.
    """
    return _parsed(path, _read(path), parse_run)


def load_sample(path: Path) -> Sample:
    """Read what the gate needs of a run file, or of any file of pytest-benchmark.

    A benchmark of another project is a cell by its full name; its latency is the median, and there
    is nothing else to judge.

    Raises:
        RunFileError: as for `load_run`.
    """
    return _parsed(path, _read(path), _sample)


@dataclass(frozen=True)
class Sides:
    """The files of both sides of a comparison."""

    base: list[Sample]
    head: list[Sample]
    shared: list[Path]
    """Files of the head with a measurement of the base: there, a commit meets itself."""


def load_sides(base: Sequence[Path], head: Sequence[Path]) -> Sides:
    """Read the files of both sides; a process counts once, however often its file is given.

    Raises:
        RunFileError: a measurement is given twice on one side, by path or in two files, or as for
            `load_run`.
    """
    for side in (base, head):
        for path in side:
            if side.count(path) > 1:
                raise RunFileError(f"{path} is given twice; it counts once")
    theirs: dict[str, Path] = {}
    ours: dict[str, Path] = {}
    before = [_new_sample(path, theirs) for path in base]
    after = [_new_sample(path, ours) for path in head]
    shared = [path for identity, path in ours.items() if identity in theirs]
    return Sides(before, after, list(dict.fromkeys(shared)))


def _new_sample(path: Path, seen: dict[str, Path]) -> Sample:
    data = _read(path)
    sample = _parsed(path, data, _sample)
    for identity in identities(data, sample):
        earlier = seen.setdefault(identity, path)
        if earlier != path:
            raise RunFileError(f"{earlier} and {path} hold the same measurement; it counts once")
    return sample


def _parsed(path: Path, data: Any, parse: Callable[[Any], T]) -> T:
    try:
        return parse(data)
    except RecursionError as error:
        raise RunFileError(f"{path}: {_TOO_DEEP}") from error
    except RunFileError as error:
        # a sentence stays on its line, whatever the ids it names
        sentence = "\\n".join(str(error).splitlines())
        raise RunFileError(f"{path}: {sentence}") from error


def _read(path: Path) -> Any:
    text = _text(path)
    if not text.strip():
        raise RunFileError(f"{path}: is empty; the run that wrote it did not finish, run again")
    try:
        return parse_json(text)
    except RecursionError as error:
        raise RunFileError(f"{path}: {_TOO_DEEP}") from error
    except json.JSONDecodeError as error:
        raise RunFileError(
            f"{path}: not complete JSON ({error}); the run that wrote it did not finish, run again"
        ) from error
    except ValueError as error:
        raise RunFileError(f"{path}: {error}") from error


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except OSError as error:
        raise RunFileError(f"{path}: {error.strerror or error}; name a run file") from error
    except ValueError as error:
        raise RunFileError(f"{path}: {error}") from error


def _sample(data: Any) -> Sample:
    ours = isinstance(data, dict) and "efficarch" in data
    return observe(parse_run(data), data["efficarch"]["schema"]) if ours else foreign_sample(data)


def parse_run(data: Any) -> Run:
    """Check and convert the JSON value of a run file; see `load_run`."""
    if not isinstance(data, dict) or not isinstance(data.get("benchmarks"), list):
        raise RunFileError("not a pytest-benchmark file; pass the run.json of a bench run")
    section = data.get("efficarch")
    if not isinstance(section, dict):
        raise RunFileError("a pytest-benchmark file of another tool: it has no efficarch section")
    schema = _schema(section)
    measured = _measurements(data["benchmarks"], schema)
    commit, dirty = _commit(data.get("commit_info"))
    run = Run(
        machine=_machine(data.get("machine_info", {}), schema),
        created=moment(data.get("datetime"), "datetime"),
        commit=commit,
        dirty=dirty,
        interrupted=decode(bool, section.get("interrupted"), "interrupted"),
        clock_overhead_ms=decode(float, section.get("clock_overhead_ms"), "clock_overhead_ms"),
        cells=tuple(
            _line(item, measured, schema) for item in sequence(section.get("cells"), "cells")
        ),
    )
    check_cells(run, measured)
    return run


def _schema(section: dict[str, Any]) -> int:
    schema = section.get("schema")
    if type(schema) is not int or schema not in READABLE:
        raise RunFileError(
            f"schema version {schema!r:.60}, this efficarch reads versions "
            f"{', '.join(map(str, READABLE))}; report it with the efficarch that measured it"
        )
    return schema


def _machine(info: Any, schema: int) -> Machine:
    stored = mapping(mapping(info, "machine_info").get("efficarch"), "machine")
    machine: Machine = decode(Machine, newest_machine(stored, schema, "machine"), "machine")
    return machine


def _commit(info: Any) -> tuple[str, bool]:
    """Return id and whether the tree was dirty; outside a repository there is no commit."""
    found = {} if info is None else mapping(info, "commit_info")
    commit = decode(str, found.get("id", ""), "commit_info.id")
    dirty = decode(bool, found.get("dirty", False), "commit_info.dirty")
    return commit or "unknown", dirty


def _measurements(benchmarks: list[Any], schema: int) -> dict[str, Measurement]:
    measured: dict[str, Measurement] = {}
    for index, bench in enumerate(benchmarks):
        extra = mapping(mapping(bench, f"benchmarks[{index}]").get("extra_info"), "extra_info")
        if "efficarch" not in extra:
            continue  # another plugin's benchmark in the same session
        entry = mapping(extra["efficarch"], f"benchmarks[{index}]")
        cell_id = decode(str, entry.get("cell"), f"benchmarks[{index}].cell")
        if cell_id in measured:
            raise RunFileError(f"cell {cell_id!r} is measured twice; every cell id must be unique")
        stored = mapping(entry.get("measurement"), cell_id)
        measured[cell_id] = decode(
            Measurement, newest_measurement(stored, schema, cell_id), cell_id
        )
        check_measurement(cell_id, measured[cell_id])
        check_estimates(cell_id, measured[cell_id], schema)
    return measured


def _line(item: Any, measured: dict[str, Measurement], schema: int) -> CellRun:
    entry = mapping(item, "cell")
    cell = decode(Cell, entry.get("cell"), "cell")
    where = f"{cell.id}.limits"
    limits = newest_limits(mapping(entry.get("limits"), where), schema, where)
    return CellRun(
        cell=cell,
        status=decode(Status, entry.get("status"), f"{cell.id}.status"),
        message=decode(str, entry.get("message"), f"{cell.id}.message"),
        limits=decode(Limits, limits, where),
        measurement=measured.get(cell.id),
    )


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
    write_text(target, _text(run_file))
    return target
