"""What a pair must have done to count, and whose fault it is where it did not."""

import signal
from collections.abc import Mapping, Sequence

from efficarch.errors import EfficarchError, RunFileError
from efficarch.experiment.collected import Collected, check_cuda
from efficarch.experiment.complaint import complaint, with_way_on
from efficarch.experiment.processes import ENDED, NOT_COLLECTED, NOTHING_SELECTED
from efficarch.experiment.side import Files
from efficarch.process_record import load_record
from efficarch.store import load_sample


class BrokenHeadError(EfficarchError):
    """The head's benchmarks cannot even be loaded, and the base's can."""


def check_loaded(
    codes: Mapping[str, int], collected: Collected, files: Mapping[str, Files]
) -> None:
    """Refuse a pair for test files that cannot be loaded, where that ended a process.

    ``codes`` are the exit codes of those that ended by themselves.

    Raises:
        EfficarchError: the base's cannot be loaded.
        BrokenHeadError: only the head's cannot.
    """
    if not set(codes.values()) & set(NOT_COLLECTED):
        return
    errors = collected.errors("base")
    if errors:
        name, words = next(iter(errors.items()))
        raise EfficarchError(
            f"the base's {name} cannot be loaded: {with_way_on(words)}; see {files['base'].log}"
        )
    broken = codes.get("head") in NOT_COLLECTED and not collected.whole("head")
    if broken and collected.whole("base"):
        log = files["head"].log
        raise BrokenHeadError(f"its benchmarks cannot be loaded: {complaint(log)}; see {log}")


def accept(code: int, side: str, files: Files, cuda: str) -> None:
    """Refuse a process that did not end by itself or left nothing to read.

    ``cuda`` is what promises CUDA, if anything does.

    Raises:
        EfficarchError: it did not, or torch saw none.
    """
    kept = "finished pairs are kept, run the same command to go on"
    if code > 128:
        raise EfficarchError(f"a process of the {side} {_ending(code)}; {kept}; see {files.log}")
    if code not in (*ENDED, NOTHING_SELECTED) or not files.record.is_file():
        raise EfficarchError(
            f"the {side} measured nothing, or not all (pytest's exit code {code}): "
            f"{complaint(files.log)}; see {files.log}"
        )
    check_cuda(cuda, load_record(files.record).cuda, side)
    if not files.partial.is_file():
        return
    try:
        load_sample(files.partial)
    except RunFileError as error:
        what = str(error).removeprefix(f"{files.partial}: ")
        raise EfficarchError(
            f"a process of the {side} left a file that cannot be read ({what}); finished pairs "
            f"are kept; is the disk full? See {files.log}"
        ) from error


def _ending(code: int) -> str:
    try:
        return f"was killed by {signal.Signals(code - 128).name}"
    except ValueError:
        # what the code itself chose to end with, or a signal without a name
        return f"ended with {code}"


def check_measured(
    files: Mapping[str, Files], suites: Sequence[str], chosen: Sequence[str]
) -> None:
    """Refuse a pair in which neither side had anything to measure.

    ``chosen`` are the arguments by which pytest chose.

    Raises:
        EfficarchError: there was nothing.
    """
    records = [load_record(each.record) for each in files.values()]
    written = any(each.partial.is_file() for each in files.values())
    if written or any(record.tests or record.errors for record in records):
        return
    where = ", ".join(suites)
    if any(record.collected for record in records):
        by = " ".join(chosen) or "the project's own options of pytest"
        raise EfficarchError(f"nothing was measured: {by} select no benchmark in {where}")
    raise EfficarchError(
        f"nothing was measured: no test in {where} uses the fixture benchmark; name the folder "
        "of the benchmarks with --suites"
    )
