"""What the agent wrote of a measured process, read strictly: it ran beside the code it watches."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from efficarch.errors import EfficarchError
from efficarch.files import content
from efficarch.record import Status

STATUSES = {
    "passed": Status.PASSED,
    "failed": Status.FAILED,
    "error": Status.ERROR,
    "skipped": Status.SKIPPED,
    "xfailed": Status.FAILED,
    "xpassed": Status.PASSED,
}


@dataclass(frozen=True)
class Ending:
    """How a test ended, in pytest's words."""

    outcome: str
    message: str

    @property
    def status(self) -> Status:
        """The status of its cell; a failure that the test itself excuses is one."""
        return STATUSES[self.outcome]


@dataclass(frozen=True)
class Foreign:
    """Code that a process ran and that is not its side's own."""

    module: str
    file: str
    whose: str

    def __str__(self) -> str:
        return f"{self.module} from {self.file} ({self.whose})"


@dataclass(frozen=True)
class CellFacts:
    """What measured a cell."""

    source: str
    """Digest of the test's source; empty where there is none."""
    timer: str
    fixtures: Mapping[str, str]
    """The module that defines each fixture the cell is timed by."""


@dataclass(frozen=True)
class ProcessRecord:
    """What ran in one process, by the name of the cell where it is about one."""

    tests: Mapping[str, Ending]
    collected: tuple[str, ...]
    """The benchmarks there were to choose from."""
    not_benchmarks: int
    cells: Mapping[str, CellFacts]
    settings: Mapping[str, str]
    plugins: tuple[str, ...]
    foreign: tuple[Foreign, ...]
    replaced: tuple[str, ...] = ()
    """Modules from the side's own tree under the name of one of Python's or a package's."""
    judges: tuple[str, ...] = ()
    """Files of the tree that decide how it was measured, relative to it."""
    errors: Mapping[str, str] = field(default_factory=dict)
    """Test files that cannot be loaded, with the error."""
    shared: tuple[str, ...] = ()
    """Files that it left where the other side finds them too."""
    cuda: bool | None = None
    """Whether torch sees a CUDA device; ``None`` where nobody asked or nobody imported it."""


def load_record(path: Path) -> ProcessRecord:
    """Read a record.

    Raises:
        EfficarchError: there is none, or it is not what the agent writes.
    """
    try:
        return _record(json.loads(content(path)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise EfficarchError(
            f"{path} is no record of a measured process ({type(error).__name__}); measured code "
            "ended the process early or changed it"
        ) from error


def _record(data: Any) -> ProcessRecord:
    if data["format"] != 1:
        raise ValueError("another format")
    return ProcessRecord(
        tests={_text(k): _outcome(v) for k, v in data["tests"].items()},
        collected=_texts(data["collected"]),
        not_benchmarks=int(data["not_benchmarks"]),
        cells={_text(k): _facts(v) for k, v in data["cells"].items()},
        settings={_text(k): _text(v) for k, v in data["settings"].items()},
        plugins=_texts(data["plugins"]),
        foreign=tuple(
            Foreign(_text(each["module"]), _text(each["file"]), _text(each["whose"]))
            for each in data["foreign"]
        ),
        replaced=_texts(data["replaced"]),
        judges=_texts(data["judges"]),
        errors={_text(k): _text(v) for k, v in data["errors"].items()},
        shared=_texts(data["shared"]),
        cuda=_truth(data["cuda"]),
    )


def _outcome(data: Any) -> Ending:
    if data["outcome"] not in STATUSES:
        raise ValueError("another outcome")
    return Ending(_text(data["outcome"]), _text(data["message"]))


def _facts(data: Any) -> CellFacts:
    fixtures = {_text(k): _text(v) for k, v in data["fixtures"].items()}
    return CellFacts(_text(data["source"]), _text(data["timer"]), fixtures)


def _truth(data: Any) -> bool | None:
    if data is not None and not isinstance(data, bool):
        raise TypeError("no truth value")
    return data


def _texts(data: Any) -> tuple[str, ...]:
    if not isinstance(data, list):
        raise TypeError("no list")
    return tuple(map(_text, data))


def _text(data: Any) -> str:
    if not isinstance(data, str):
        raise TypeError("no text")
    return data
