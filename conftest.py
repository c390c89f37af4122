"""Settings shared by every test: the seeds, and pytester for tests of the plugin."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest

# pytest accepts this only in the root conftest
pytest_plugins = ["pytester"]

TESTS = Path(__file__).parent / "tests"


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
