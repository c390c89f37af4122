"""Settings shared by every test: seeds, tests that need CUDA, pytester for tests of the plugin."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest

from efficarch.probe import cuda_available, cuda_required

# pytest accepts this only in the root conftest
pytest_plugins = ["pytester"]

TESTS = Path(__file__).parent / "tests"


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker; the plugin does so for suites of cells only."""
    config.addinivalue_line("markers", "cuda: needs a CUDA device")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs CUDA where there is none and nobody promised any."""
    marked = [item for item in items if item.get_closest_marker("cuda")]
    if marked and not cuda_required() and not cuda_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs CUDA; this machine has none"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail, not skip, a CUDA test where the environment promises CUDA."""
    if item.get_closest_marker("cuda") and cuda_required() and not cuda_available():
        pytest.fail("EFFICARCH_REQUIRE_CUDA=1, but torch sees no CUDA device", pytrace=False)


@pytest.fixture(autouse=True)
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide from inner sessions that the unit tests run on workers: they would measure nothing."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def seeds(request: pytest.FixtureRequest) -> None:
    """Give every unit test the same random numbers, whatever ran before it."""
    # the suites also run from the wheel, where this file is absent, so they seed themselves
    if not request.path.is_relative_to(TESTS):
        return
    random.seed(0)
    np.random.seed(0)
    # a torch that nobody imported yet starts from its own fixed seed, and importing it here would
    # cost seconds and fail in the environment without torch
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)
