"""What every pytest session has: the fixtures, and a look at what it collected.

Where no test asks for ``bench`` that look is all; what follows a cell through the session is in
`cell_hooks`, which joins only then. The imports that cost time wait until then as well.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from PIL.Image import Image

    from efficarch.contests.base import Settings
    from efficarch.contests.encoders import Encoders
    from efficarch.fixture import Bench, Models
    from efficarch.timing import Clock

SEED = 0

GATE = "EFFICARCH_GATE_"
"""How the names of the variables begin by which a gate speaks to its processes."""

CUDA = "cuda: of a test that asks for efficarch's bench: needs a CUDA device"


def pytest_configure(config: pytest.Config) -> None:
    """Hear what a gate has to say, if one started this process."""
    if any(name.startswith(GATE) for name in os.environ):
        from efficarch.collection import join_gate

        join_gate(config)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> None:
    """Register the marker ``cuda`` before a suite is imported, and in suites' folders only.

    Cells have a ``budgets.toml`` beside them. Elsewhere the name stays unknown, or
    ``--strict-markers`` would let pass in other projects what they never registered.
    """
    config = parent.config
    if (module_path.parent / "budgets.toml").is_file() and CUDA not in config.getini("markers"):
        config.addinivalue_line("markers", CUDA)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Register the cells before anything is deselected, so that limits can be checked."""
    benches = [item for item in items if _measures(item)]
    if benches:
        from efficarch.collection import collect

        config.pluginmanager.import_plugin("efficarch.cell_hooks")
        collect(config, benches, items)


def _measures(item: Any) -> bool:
    """Whether a test asks for our ``bench``, if need be by way of one that stands on it.

    Another project may have a fixture of that name which does not.
    """
    if "bench" not in getattr(item, "fixturenames", ()):
        return False
    # other plugins have items of their own kind
    definitions = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    for fixture in reversed(definitions.get("bench", ())):
        if getattr(fixture.func, "__module__", None) == __name__:
            return True
        if "bench" not in fixture.argnames:
            break
    return False


@pytest.fixture(scope="session")
def _efficarch_encoders(request: pytest.FixtureRequest) -> "Encoders":
    """The session's models and settings."""
    import torch

    from efficarch.contests.encoders import Encoders

    torch.manual_seed(SEED)
    return Encoders(_settings(request.config))


def _settings(config: pytest.Config) -> "Settings":
    from efficarch.collection import device_of, session_of
    from efficarch.contests.base import Settings
    from efficarch.models import OPTIONS
    from efficarch.options import ROUNDS, location_of
    from efficarch.process_plan import measured_ms
    from efficarch.record import Weights

    session, device = session_of(config), device_of(config)
    plan = session.plan
    return Settings(
        device=device,
        dtype=config.getoption("efficarch_dtype"),
        weights=Weights(config.getoption("efficarch_weights")),
        locations={model: location_of(config, option) for option, model in OPTIONS.items()},
        rounds=config.getoption("efficarch_rounds") or ROUNDS[device],
        seed=SEED,
        timing_only=plan is not None and plan.timing_only,
        measured_ms=0.0 if plan is None else measured_ms(len(session.cells)),
        subject_alone=plan is not None and plan.subject_alone,
    )


@pytest.fixture(scope="session")
def efficarch_images(request: pytest.FixtureRequest) -> "list[Image] | None":
    """The labelled images that --efficarch-images names; None without it."""
    from efficarch.options import images_of

    return images_of(request.config)


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
    from efficarch.collection import device_of, session_of
    from efficarch.timing import clock_for, overhead_ms

    clock = clock_for(device_of(request.config))
    session_of(request.config).clock_overhead_ms = overhead_ms(clock)
    return clock


@pytest.fixture
def bench(
    request: pytest.FixtureRequest,
    benchmark: Any,
    _efficarch_models: "Models",
    efficarch_clock: "Clock",
) -> "Bench":
    """Measure this test's cell: ``bench(...)`` or one of its methods."""
    from efficarch.collection import session_of
    from efficarch.fixture import Bench

    session = session_of(request.config)
    line = session.lines.get(request.node.nodeid)
    if benchmark.disabled or line is None:
        # or pytest-benchmark warns that it was not used, which some take for an error
        benchmark.skipped = True
    if benchmark.disabled:
        pytest.skip("benchmarks are disabled in this session (--benchmark-disable or xdist)")
    if line is None:
        pytest.fail("bench has to be an argument of the test, not asked for by it", pytrace=False)
    return Bench(line, benchmark, _efficarch_models, efficarch_clock, session.turns)
