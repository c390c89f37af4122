"""The pytest plugin: options, the ``bench`` fixture and what it adds to pytest-benchmark's JSON.

As an entry point it loads in every pytest run of its environment, so nothing heavy is imported
until a test asks for ``bench``.
"""

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from efficarch.collection import Line, Session, device_of, follow, register
from efficarch.errors import EfficarchError, first_line
from efficarch.models import OPTIONS, destination
from efficarch.probe import cuda_available, cuda_required, device_name, machine
from efficarch.process_plan import current, measured_ms
from efficarch.record import DTYPES, SCHEMA, Status, Weights
from efficarch.stats import MIN_ROUNDS
from efficarch.store import plain
from efficarch.timing import clock_for, overhead_ms
from efficarch.turns import current as current_turns

if TYPE_CHECKING:
    from PIL.Image import Image

    from efficarch.contests.encoders import Encoders
    from efficarch.fixture import Bench, Models
    from efficarch.timing import Clock

ROUNDS = {"cpu": MIN_ROUNDS, "cuda": 30}
SEED = 0

SESSION = pytest.StashKey[Session]()
IMAGES = pytest.StashKey["list[Image]"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the options; a test pins this list."""
    group = parser.getgroup("efficarch")
    group.addoption(
        "--efficarch-device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where to measure; auto takes CUDA if there is any (default: auto)",
    )
    group.addoption(
        "--efficarch-dtype",
        choices=DTYPES,
        default="float32",
        help="dtype of weights and inputs (default: float32)",
    )
    group.addoption(
        "--efficarch-weights",
        choices=("pretrained", "random"),
        default="pretrained",
        help="random: seeded weights, right for timing only (default: pretrained)",
    )
    group.addoption(
        "--efficarch-rounds",
        type=int,
        help=f"paired rounds per cell, at least {MIN_ROUNDS} "
        f"(default: {ROUNDS['cpu']} on the CPU, {ROUNDS['cuda']} on CUDA)",
    )
    group.addoption(
        "--efficarch-images",
        metavar="DIR",
        help="measure on these images, one subfolder a class (default: packaged photos)",
    )
    for option, model in OPTIONS.items():
        group.addoption(option, metavar="ID_OR_FOLDER", help=f"weights of {model}")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker and start the session's records."""
    config.addinivalue_line("markers", "cuda: needs a CUDA device")
    config.stash[SESSION] = Session(turns=current_turns())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Register the bench tests before anything is deselected, so that limits can be checked."""
    _skip_cuda_tests(items)
    # by what only our fixture asks for: another project may have a fixture called bench
    benches = [item for item in items if "efficarch_clock" in getattr(item, "fixturenames", ())]
    if not benches:
        return
    try:
        _check_options(config)
        session = config.stash[SESSION]
        register(session, config, benches)
        session.plan = current()
    except EfficarchError as error:
        raise pytest.UsageError(str(error)) from error
    if session.plan is not None:
        left = follow(session.plan, session, items)
        config.hook.pytest_deselected(items=left)


def _skip_cuda_tests(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("cuda")]
    if marked and not cuda_required() and not cuda_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs CUDA; this machine has none"))


def _check_options(config: pytest.Config) -> None:
    rounds = config.getoption("efficarch_rounds")
    if rounds is not None and rounds < MIN_ROUNDS:
        raise EfficarchError(f"rounds is {rounds}; a 95 % interval needs at least {MIN_ROUNDS}")
    for option in OPTIONS:
        location = _location(config, option)
        if location is None or not location.startswith((".", "/", "~")):
            continue
        if not Path(location).expanduser().is_dir():
            raise EfficarchError(
                f"{option}: no folder {location!r}; give an existing folder or a hub id"
            )
    folder = config.getoption("efficarch_images")
    if folder is not None:
        from efficarch.models.folder import labelled_images

        config.stash[IMAGES] = labelled_images(Path(folder).expanduser())


def _location(config: pytest.Config, option: str) -> str | None:
    location: str | None = config.getoption(destination(option))
    return location


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Forget cells the user did not ask for: they are not missing."""
    for item in items:
        item.config.stash[SESSION].lines.pop(item.nodeid, None)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail, not skip, a CUDA test where the environment promises CUDA."""
    if item.get_closest_marker("cuda") and cuda_required() and not cuda_available():
        pytest.fail("EFFICARCH_REQUIRE_CUDA=1, but torch sees no CUDA device", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note what became of a cell."""
    report = yield
    line = item.config.stash[SESSION].lines.get(item.nodeid)
    if line is not None and (report.when == "call" or not report.passed):
        line.status, line.message = _outcome(report, line, call)
        report.user_properties.append(("efficarch", _progress(line)))
    return report


def _outcome(
    report: pytest.TestReport, line: Line, call: pytest.CallInfo[None]
) -> tuple[Status, str]:
    if report.passed:
        return Status.PASSED, ""
    if report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        return Status.SKIPPED, str(reason).removeprefix("Skipped: ")
    error = call.excinfo.value if call.excinfo else None
    first = first_line(str(error))
    if line.measurement is not None and report.when == "call":
        return Status.FAILED, first
    return Status.ERROR, f"{type(error).__name__}: {first}"


def _progress(line: Line) -> str:
    if line.measurement is None:
        return ""
    measured = line.measurement
    latency, cossim = f"{measured.latency_ms.value:.1f} ms", measured.cossim.mean
    ratio = measured.timed_ratio
    latency += "" if ratio is None else f", ratio {ratio.value:.3f}"
    quality = f"CosSim {cossim:.4f}" if measured.weights is not Weights.RANDOM else "random weights"
    return f"{latency}, {quality}"


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Show what was measured beside the outcome, in verbose mode."""
    shown = dict(report.user_properties).get("efficarch") if report.when == "call" else None
    if not shown or report.outcome not in ("passed", "failed"):
        return None
    letter = "." if report.passed else "F"
    return report.outcome, letter, f"{report.outcome.upper()} {shown}"


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Say which latency limit or slope broke instead of printing two records."""
    sides = type(left).__name__, type(right).__name__
    if (op, *sides) not in (("<=", "Latency", "LatencyBudget"), ("in", "Slopes", "SlopeBudget")):
        return None
    from efficarch.bench import broken_limits

    return broken_limits(left, right)


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    """Add the fingerprint to a session that measured cells."""
    if config.stash[SESSION].lines:
        device = device_of(config)
        machine_info["efficarch"] = plain(machine(device, device_name("cpu")))


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Add every collected cell, measured or not, to a session that has any."""
    session = config.stash[SESSION]
    if session.lines:
        _drop_unjudged(output_json["benchmarks"], session)
        output_json["efficarch"] = {
            "schema": SCHEMA,
            "interrupted": any(line.status is Status.NOT_RUN for line in session.lines.values()),
            "clock_overhead_ms": session.clock_overhead_ms,
            "cells": [
                {
                    "cell": plain(line.cell),
                    "status": line.status.value,
                    "message": line.message,
                    "limits": plain(line.limits),
                }
                for line in session.lines.values()
            ],
        }


def _drop_unjudged(benchmarks: list[dict[str, Any]], session: Session) -> None:
    """Take back measurements of tests that raised, skipped or were cut short after measuring."""
    judged = {
        line.cell.id
        for line in session.lines.values()
        if line.status in (Status.PASSED, Status.FAILED)
    }
    for bench in benchmarks:
        entry = bench["extra_info"].get("efficarch")
        if entry is not None and entry["cell"] not in judged:
            del bench["extra_info"]["efficarch"]


@pytest.fixture(scope="session")
def _efficarch_encoders(request: pytest.FixtureRequest) -> "Encoders":
    """The session's models and settings."""
    import torch

    from efficarch.contests.base import Settings
    from efficarch.contests.encoders import Encoders

    config = request.config
    session = config.stash[SESSION]
    plan = session.plan
    device = device_of(config)
    torch.manual_seed(SEED)
    return Encoders(
        Settings(
            device=device,
            dtype=config.getoption("efficarch_dtype"),
            weights=Weights(config.getoption("efficarch_weights")),
            locations={model: _location(config, option) for option, model in OPTIONS.items()},
            rounds=config.getoption("efficarch_rounds") or ROUNDS[device],
            seed=SEED,
            timing_only=plan is not None and plan.timing_only,
            measured_ms=0.0 if plan is None else measured_ms(len(session.lines)),
            subject_alone=plan is not None and plan.subject_alone,
        )
    )


@pytest.fixture(scope="session")
def efficarch_images(request: pytest.FixtureRequest) -> "list[Image] | None":
    """The labelled images that --efficarch-images names; None without it."""
    return request.config.stash.get(IMAGES, None)


@pytest.fixture(scope="session")
def _efficarch_models(_efficarch_encoders: "Encoders") -> "Models":
    """The session's models of every kind, under the same settings."""
    from efficarch.contests.language import Languages
    from efficarch.contests.sequences import Sequences
    from efficarch.fixture import Models

    settings = _efficarch_encoders.settings
    return Models(_efficarch_encoders, Languages(settings), Sequences(settings))


@pytest.fixture(scope="session")
def efficarch_clock(request: pytest.FixtureRequest) -> "Clock":
    """The clock of the session's device; tests override this fixture with a clock of their own."""
    clock = clock_for(device_of(request.config))
    request.config.stash[SESSION].clock_overhead_ms = overhead_ms(clock)
    return clock


@pytest.fixture
def bench(
    request: pytest.FixtureRequest,
    benchmark: Any,
    _efficarch_models: "Models",
    efficarch_clock: "Clock",
) -> "Bench":
    """Measure this test's cell: ``bench(...)`` or one of its methods."""
    from efficarch.fixture import Bench

    if benchmark.disabled:
        pytest.skip("benchmarks are disabled in this session (--benchmark-disable or xdist)")
    session = request.config.stash[SESSION]
    line = session.lines[request.node.nodeid]
    return Bench(line, benchmark, _efficarch_models, efficarch_clock, session.turns)
