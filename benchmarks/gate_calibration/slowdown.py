"""A slowdown by real extra work, gated: python -m benchmarks.gate_calibration.slowdown 5.

In a scratch clone of this repository a commit makes one reducer multiply two matrices each time it
is asked, and ``efficarch gate`` compares it with the commit before. By how much that slows the cell
is measured first, within one process, in calls beside those of the unchanged reducer. With 0
percent the matrices are empty. The checkout is not touched.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.output import say
from efficarch.bench import Rounds
from efficarch.contests.base import Arm, Contest, Settings
from efficarch.contests.encoders import Encoders
from efficarch.errors import EfficarchError, last_line
from efficarch.models.images import packaged_photos
from efficarch.record import Estimate, Weights
from efficarch.reducers import norm
from efficarch.stats import MIN_ROUNDS, paired_ratio
from efficarch.timing import clock_for, seconds_now

CELL = "dinov2/dinov2-small/norm/keep=0.5/batch=1/float32/cpu"
WIDTH = 512
TRIAL_ROWS = 3000
"""Rows of the left matrix in the trial: they slow the cell by some 16 %, far beyond its noise."""
TRIAL_PAIRS, CHECK_PAIRS = 200, 300

WORK = """
_reduce = NormPrune.reduce
_left, _right = torch.ones({rows}, {width}), torch.ones({width}, {width})
_product = torch.empty({rows}, {width})


def _with_extra_work(self, patches, count):
    torch.mm(_left, _right, out=_product)
    return _reduce(self, patches, count)


NormPrune.reduce = _with_extra_work
"""
"""What the commit appends to the module of the reducer: slower, with the same peak memory."""

NEIGHBOUR = """
import time
while True:
    end = time.monotonic() + 5
    while time.monotonic() < end:
        pass
    time.sleep(5)
"""
"""Keeps one core busy for every other five seconds."""


@contextmanager
def extra_work(rows: int) -> Iterator[None]:
    """Do in this process what the commit does."""
    before = norm.NormPrune.reduce
    exec(WORK.format(rows=rows, width=WIDTH), vars(norm))
    try:
        yield
    finally:
        norm.NormPrune.reduce = before  # type: ignore[method-assign]


class Trial:
    """The cell with and without extra work, call beside call."""

    def __init__(self) -> None:
        encoders = Encoders(Settings("cpu", "float32", Weights.PRETRAINED, {}, MIN_ROUNDS))
        encoders.subject("dinov2-small")
        with torch.inference_mode():
            self._contest: Contest = encoders.contest(
                model="dinov2-small",
                reducer=norm.NormPrune(keep=0.5),
                images=packaged_photos()[:1],
                batch=1,
            )

    def slowdown(self, rows: int, pairs: int) -> Estimate:
        """Return by what share some work slows the cell, the median over paired calls."""
        plain = self._contest.subject

        @contextmanager
        def slowed() -> Iterator[None]:
            with extra_work(rows), plain.context():
                yield

        contest = replace(self._contest, subject=Arm(plain.call, slowed), reference=plain)
        rounds = Rounds(contest, clock_for("cpu"))
        with torch.inference_mode():
            measured = [rounds.pair() for _pair in range(pairs)]
        found = paired_ratio(*zip(*measured, strict=True))
        return Estimate(found.value - 1, found.low - 1, found.high - 1)


def rows_for(share: float, trial: Trial) -> int:
    """Return how many rows slow the cell by a share."""
    return round(TRIAL_ROWS * share / trial.slowdown(TRIAL_ROWS, TRIAL_PAIRS).value)


def slowed_clone(folder: Path, rows: int) -> None:
    """Clone this repository and commit the extra work."""
    top = Path(__file__).parents[2]
    _run(["git", "clone", "-q", str(top), str(folder)], top)
    path = folder / Path(norm.__file__).relative_to(top)
    path.write_text(path.read_text(encoding="utf-8") + WORK.format(rows=rows, width=WIDTH))
    who = ["-c", "user.name=calibration", "-c", "user.email=calibration@localhost"]
    _run(["git", *who, "commit", "-qam", f"{rows} rows of extra work"], folder)


def gated(clone: Path, out: Path, seed: int, expression: str | None) -> str:
    """Gate the clone's last commit, and say in a line what became of the cell and of the others."""
    command = [sys.executable, "-m", "efficarch", "gate", "--base", "HEAD~1", "--head", "HEAD"]
    command += ["--device", "cpu", "--seed", str(seed), "--out", str(out.resolve())]
    command += ["-k", expression] if expression else []
    start = seconds_now()
    ended = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)
    if ended.returncode not in (0, 1, 3, 4):
        raise EfficarchError(f"the gate ended with {ended.returncode}: {last_line(ended.stderr)}")
    minutes = (seconds_now() - start) / 60
    verdicts: list[dict[str, Any]] = json.loads((out / "verdicts.json").read_text())["verdicts"]
    ours = next((each for each in verdicts if each["cell_id"] == CELL), None)
    if ours is None:
        raise EfficarchError(f"the gate judged no cell {CELL!r}; let -k select it")
    others = [each["outcome"].upper() for each in verdicts if each is not ours]
    counts = ", ".join(f"{others.count(word)} {word}" for word in sorted(set(others)))
    words = "; ".join([ours["outcome"].upper(), *ours["reasons"]])
    return (
        f"seed {seed}: exit code {ended.returncode}, {minutes:.1f} min; {words}; "
        f"other cells: {counts or 'none'}"
    )


@contextmanager
def neighbour(*, present: bool) -> Iterator[None]:
    """Let another program keep one core busy for half of the time."""
    if not present:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", NEIGHBOUR])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _run(command: Sequence[str], folder: Path) -> None:
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise EfficarchError(f"{' '.join(command[:2])} failed: {last_line(ended.stderr)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Gate a slower commit, print what was found, return the exit code."""
    parser = argparse.ArgumentParser(prog="slowdown", description=__doc__.partition("\n")[0])
    parser.add_argument("percent", type=float, help=f"by how much {CELL} gets slower")
    parser.add_argument("--gates", type=int, default=1, help="each with a seed of its own")
    parser.add_argument("--neighbour", action="store_true", help="keep a core busy meanwhile")
    parser.add_argument("-k", dest="expression", help="as in efficarch gate")
    parser.add_argument("--out", type=Path, required=True, help="folder for the gates' files")
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            rows = 0
            if options.percent:
                trial = Trial()
                rows = rows_for(options.percent / 100, trial)
                found = trial.slowdown(rows, CHECK_PAIRS)
                say(
                    f"{rows} rows slow {CELL} by {found.value:.1%} [{found.low:.1%}, "
                    f"{found.high:.1%}] within one process"
                )
            clone = Path(scratch) / "clone"
            slowed_clone(clone, rows)
            with neighbour(present=options.neighbour):
                for seed in range(options.gates):
                    say(gated(clone, options.out / str(seed), seed, options.expression))
    except EfficarchError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
