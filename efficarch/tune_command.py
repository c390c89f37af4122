"""The command `efficarch tune`: options in, files out."""

import argparse
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from efficarch.console import filled, path
from efficarch.errors import EfficarchError
from efficarch.files import from_home
from efficarch.models import OPTIONS, destination, model_row
from efficarch.output_folder import WRITTEN_BY_TUNE, claim
from efficarch.record import DTYPES, Run, Weights
from efficarch.stats import MIN_IMAGES, MIN_ROUNDS
from efficarch.store import write_text

if TYPE_CHECKING:
    from PIL.Image import Image

    from efficarch.contests.encoders import Encoders
    from efficarch.tune import Outcome

SUITES = {
    "clip-vit-b16": "clip",
    "dinov2-small": "dinov2",
    "siglip-base-p16": "siglip",
    "vit-b16": "vit",
}
"""Which suite measures a model."""

FILES = ("trials.log", "pareto.csv", "tuned.toml", "budgets.toml", "index.html", "summary.md")

MOST_ROUNDS = 10_000
SEEDS = 2**32

Report = Callable[[Run, Path], None]


def add_tune(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--model", required=True, help=", ".join(SUITES))
    parser.add_argument(
        "--latency-ratio", type=float, required=True, help="goal relative to dense, such as 0.5"
    )
    parser.add_argument(
        "--methods", type=filled, help="names joined by commas (default: all that suit)"
    )
    parser.add_argument("--trials", type=int, default=12, help="per method (default: 12)")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=MIN_ROUNDS, help="paired rounds per latency")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=path, default=Path("reports/out/tune"), help="folder")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument(
        "--images", type=filled, metavar="DIR", help="images of your own, one subfolder a class"
    )
    for option, model in OPTIONS.items():
        if model in SUITES:
            parser.add_argument(
                option, type=filled, metavar="ID_OR_FOLDER", help=f"weights of {model}"
            )


def tune(arguments: argparse.Namespace, say: Callable[[str], None], report: Report) -> int:
    """Tune, print the table and write it as files into the folder ``--out``.

    Raises:
        EfficarchError: bad options, missing weights or images, or no method met the goal.
    """
    _check(arguments)
    lacking = [name for name in ("torch", "optuna") if find_spec(name) is None]
    if lacking:
        raise EfficarchError(
            f"a search needs {' and '.join(lacking)}; run: pip install 'efficarch[models,tune]'"
        )
    from efficarch import tune_results
    from efficarch.probe import choose_device, device_name, machine
    from efficarch.timing import clock_for, now
    from efficarch.tune import Goal, Search, candidates
    from efficarch.tuned import tuned_text

    goal = Goal(
        arguments.model,
        arguments.latency_ratio,
        arguments.batch,
        arguments.trials,
        arguments.seed,
    )
    names = arguments.methods.split(",") if arguments.methods else []
    methods = candidates(goal.model, names)
    device = choose_device(arguments.device)
    tuning, held_out = _halves(arguments.images, goal.batch)
    search = Search(
        goal=goal,
        encoders=_encoders(arguments, device),
        clock=clock_for(device),
        tuning=tuning,
        held_out=held_out,
        journal=arguments.out / "trials.log",
    )
    # found out before minutes of searching
    claim(arguments.out, FILES)
    write_text(search.journal, "" if not search.journal.exists() else search.journal.read_text())
    outcomes = []
    for outcome in search.run(methods):
        outcomes.append(outcome)
        say(f"{len(outcomes)} of {len(methods)}: {_progress(outcome)}")
    compared = tune_results.results(outcomes)
    if not compared:
        raise EfficarchError(f"no method met the goal; the first: {outcomes[0].reason}")
    out: Path = arguments.out
    suite = SUITES[goal.model]
    tuned = tuned_text([result.found.tuned for result in compared])
    write_text(out / "pareto.csv", tune_results.as_csv(compared))
    write_text(out / "tuned.toml", WRITTEN_BY_TUNE + tuned)
    write_text(out / "budgets.toml", WRITTEN_BY_TUNE + tune_results.budget_text(compared, suite))
    run = tune_results.as_run(
        compared,
        goal,
        machine=machine(device, device_name("cpu")),
        dtype=arguments.dtype,
        created=now(),
    )
    report(run, out)
    for line in tune_results.table(compared):
        say(line)
    say(f"held-out half of the images: {len(held_out)}; files: {out}")
    return 0


def _progress(outcome: "Outcome") -> str:
    if outcome.found is None:
        return f"{outcome.method}: {outcome.reason}"
    measured = outcome.found.measurement
    options = ", ".join(f"{name}={value}" for name, value in outcome.found.tuned.options.items())
    return (
        f"{outcome.method}: keep {outcome.found.tuned.keep:g} {options}, "
        f"ratio {measured.ratio.value:.3f}, CosSim {measured.cossim.mean:.4f}"
    )


def _check(arguments: argparse.Namespace) -> None:
    model_row(arguments.model)
    if arguments.model not in SUITES:
        raise EfficarchError(
            f"{arguments.model} cannot be tuned; choose an image encoder: {', '.join(SUITES)}"
        )
    if arguments.rounds < MIN_ROUNDS:
        raise EfficarchError(f"rounds is {arguments.rounds}; use at least {MIN_ROUNDS}")
    if arguments.rounds > MOST_ROUNDS:
        raise EfficarchError(f"rounds is {arguments.rounds}; use at most {MOST_ROUNDS:,}")
    if not 0 <= arguments.seed < SEEDS:
        raise EfficarchError(f"seed is {arguments.seed}; it must be 0 to {SEEDS - 1:,}")


def _halves(folder: str | None, batch: int) -> "tuple[list[Image], list[Image]]":
    from efficarch.models.folder import halves, labelled_images
    from efficarch.models.images import packaged_halves

    tuning, held_out = halves(labelled_images(from_home(folder))) if folder else packaged_halves()
    fewest = max(batch, MIN_IMAGES)
    if min(len(tuning), len(held_out)) < fewest:
        raise EfficarchError(
            f"the smaller half has {min(len(tuning), len(held_out))} images; "
            f"at batch {batch} give at least {2 * fewest} in all"
        )
    return tuning, held_out


def _encoders(arguments: argparse.Namespace, device: str) -> "Encoders":
    from efficarch.contests.base import Settings
    from efficarch.contests.encoders import Encoders

    return Encoders(
        Settings(
            device=device,
            dtype=arguments.dtype,
            weights=Weights.PRETRAINED,
            locations={
                model: getattr(arguments, destination(option))
                for option, model in OPTIONS.items()
                if model in SUITES
            },
            rounds=arguments.rounds,
            seed=arguments.seed,
        )
    )
