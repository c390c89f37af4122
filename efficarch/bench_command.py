"""The command ``efficarch bench``: measure suites and write the report."""

import argparse
import os
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkstemp

from efficarch.console import filled, path
from efficarch.errors import EfficarchError
from efficarch.extras import not_installed
from efficarch.gate import check_limits, compare, differing_fields, exit_code
from efficarch.models import OPTIONS, destination
from efficarch.options import pytest_name
from efficarch.output_folder import claim, refuse_foreign, refuse_git
from efficarch.record import DTYPES, Run, Status
from efficarch.stats import MIN_ROUNDS
from efficarch.store import baseline_path, load_run, save_baseline
from efficarch.sudden_ends import sentences_for_sudden_ends
from efficarch.suites_folder import suites_in

INTERRUPTED = 2

MOST_ROUNDS = 10_000
PACKAGED = "packaged"
BUDGETS = "budgets.toml"
MOVE = "move it, or name other --suites"

Report = Callable[[Run, Path, Run | None, str], None]
"""Writes page and summary: a run, the folder, a baseline, and why there is none."""


def add_bench(bench: argparse.ArgumentParser) -> None:
    """Add the options of ``efficarch bench``."""
    bench.add_argument(
        "--suites",
        type=filled,
        help="folder (default: where this project keeps its benchmarks), or packaged for our own",
    )
    bench.add_argument("--out", type=path, default=Path("reports/out"), help="folder")
    bench.add_argument("-k", dest="expression", help="run the cells pytest's -k would select")
    bench.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    bench.add_argument("--dtype", choices=DTYPES, default="float32")
    bench.add_argument("--weights", choices=("pretrained", "random"), default="pretrained")
    bench.add_argument(
        "--images", type=filled, metavar="DIR", help="images of your own, one subfolder a class"
    )
    for option, model in OPTIONS.items():
        bench.add_argument(option, type=filled, metavar="ID_OR_FOLDER", help=f"weights of {model}")
    rounds = bench.add_mutually_exclusive_group()
    rounds.add_argument("--rounds", type=int, help="paired rounds per cell")
    rounds.add_argument(
        "--short",
        dest="rounds",
        action="store_const",
        const=MIN_ROUNDS,
        help=f"every cell, with {MIN_ROUNDS} rounds",
    )
    bench.add_argument(
        "--save-baseline",
        action="store_true",
        help="store a green run as SUITES/baselines/<machine>.json",
    )


def run_bench(arguments: argparse.Namespace, say: Callable[[str], None], report: Report) -> int:
    """Measure the suites, write the report and return the exit code.

    Raises:
        EfficarchError: nothing to measure, nothing measured, or a folder that cannot be written.
    """
    _check(arguments)
    suites = _suites(arguments.suites)
    baselines = _baselines(suites)
    if arguments.save_baseline:
        refuse_git(baselines, MOVE)
    run = _measured(arguments, suites)
    baseline, note = _baseline(baselines, run)
    report(run, arguments.out, baseline, note)
    say(f"report: {arguments.out / 'index.html'}")
    if run.interrupted:
        left = sum(line.status is Status.NOT_RUN for line in run.cells)
        say(f"interrupted: {left} of {len(run.cells)} cells were not run")
        return INTERRUPTED
    if arguments.save_baseline:
        refuse_foreign(baseline_path(baselines, run.machine), "run.json", remedy=MOVE)
        say(f"baseline: {save_baseline(arguments.out / 'run.json', baselines)}")
    return exit_code(check_limits(run), compare(run, baseline) if baseline else ())


def _check(arguments: argparse.Namespace) -> None:
    rounds = arguments.rounds
    if rounds is not None and not MIN_ROUNDS <= rounds <= MOST_ROUNDS:
        raise EfficarchError(f"rounds is {rounds}; give {MIN_ROUNDS} to {MOST_ROUNDS:,}")


def _suites(asked: str | None) -> tuple[Path, ...]:
    """Return the folders to measure: the one asked for, or what this project has."""
    if asked == PACKAGED:
        return (_packaged(),)
    if asked is not None:
        if not Path(asked).is_dir():
            raise EfficarchError(f"no suites folder {asked!r}; name one with test_*.py in it")
        return (Path(asked),)
    found = suites_in(Path())
    if not found:
        raise EfficarchError(
            "no benchmarks here (suites, pytest's testpaths, benchmarks or tests); name a folder "
            "with --suites FOLDER, or measure efficarch's own with --suites packaged"
        )
    return tuple(map(Path, found))


def _packaged() -> Path:
    spec = find_spec("efficarch.suites")
    # in a bare checkout they lie beside this package
    folder = Path(__file__).parents[1] / "suites"
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent
    if not (folder / BUDGETS).is_file():
        raise EfficarchError("this installation has no packaged suites; name a folder: --suites")
    return folder


def _baselines(suites: Sequence[Path]) -> Path:
    first = suites[0]
    return (first if first.is_dir() else first.parent) / "baselines"


def _measured(arguments: argparse.Namespace, suites: Sequence[Path]) -> Run:
    """Let pytest measure, and put its file in place if it is whole; an earlier one stays else."""
    import pytest

    from efficarch.prospect import Prospect

    _require_torch(suites)
    run_file: Path = arguments.out / "run.json"
    claim(arguments.out, ("index.html", "summary.md", run_file.name))
    partial = _new_name(run_file)
    prospect = Prospect()
    options = [*_pytest_arguments(arguments, suites), f"--benchmark-json={partial}"]
    try:
        with sentences_for_sudden_ends(), warnings.catch_warnings():
            # pytest-benchmark's, of a session without measurements; ours says why there are none
            warnings.filterwarnings("ignore", "Not saving anything")
            code = int(pytest.main(options, plugins=[prospect]))
        if prospect.refusal:
            raise EfficarchError(prospect.refusal)
        return _accept(partial, run_file, code)
    finally:
        partial.unlink(missing_ok=True)


def _new_name(run_file: Path) -> Path:
    """Return a name beside a file that nobody has.

    Raises:
        EfficarchError: the folder cannot be written, found out before half an hour of measuring.
    """
    try:
        descriptor, name = mkstemp(dir=run_file.parent, prefix=f".{run_file.name}.")
    except OSError as error:
        raise EfficarchError(
            f"cannot write {run_file}: {error.strerror or error}; choose another folder"
        ) from error
    os.close(descriptor)
    # pytest-benchmark makes it anew, for all to read
    Path(name).unlink()
    return Path(name)


def _require_torch(suites: Sequence[Path]) -> None:
    """Say that torch is missing before suites of cells fail to import it, one by one."""
    if find_spec("torch") is None and any(any(suite.rglob(BUDGETS)) for suite in suites):
        raise EfficarchError(not_installed("torch"))


def _pytest_arguments(arguments: argparse.Namespace, suites: Sequence[Path]) -> list[str]:
    options = [
        *map(str, suites),
        "--verbose",
        "-p",
        "efficarch.plugin",
        # the packaged suites may lie in a folder nobody can or should write to
        "-p",
        "no:cacheprovider",
        # this process imported the package before pytest could rewrite its (absent) assertions
        "-W",
        "ignore:Module already imported:pytest.PytestAssertRewriteWarning",
        "--benchmark-quiet",
        f"--efficarch-device={arguments.device}",
        f"--efficarch-dtype={arguments.dtype}",
        f"--efficarch-weights={arguments.weights}",
    ]
    if arguments.rounds is not None:
        options.append(f"--efficarch-rounds={arguments.rounds}")
    if arguments.images is not None:
        options.append(f"--efficarch-images={arguments.images}")
    for option in OPTIONS:
        location = getattr(arguments, destination(option))
        if location is not None:
            options.append(f"{pytest_name(option)}={location}")
    return options + (["-k", arguments.expression] if arguments.expression else [])


def _accept(partial: Path, run_file: Path, code: int) -> Run:
    """Check what pytest wrote and put it in place; an earlier run file stays otherwise."""
    if not partial.is_file():
        why = "the session could not start" if code in (3, 4) else "no cell was measured"
        raise EfficarchError(f"{why}; see pytest's messages above; nothing was written")
    run = load_run(partial)
    partial.replace(run_file)
    return run


def _baseline(folder: Path, run: Run) -> tuple[Run | None, str]:
    """Return this machine's baseline if it is comparable, else why there is none."""
    path = baseline_path(folder, run.machine)
    if not path.is_file():
        return None, f"{path} does not exist; store one with --save-baseline"
    baseline = load_run(path)
    differing = differing_fields(run.machine, baseline.machine)
    if differing:
        return None, f"{path} is of another machine: {'; '.join(differing)}"
    return baseline, ""
