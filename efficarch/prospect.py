"""What `efficarch bench` is about to measure, looked at when pytest has collected it."""

from collections.abc import Generator, Sequence
from importlib.util import find_spec

import pytest

from efficarch.extras import not_installed

SMALLEST_BUDGETS = (
    'limit = [{ cells = "*", latency_ratio = 1.0, cossim = 0.9, reason = "no slower than dense" }]'
)


class Prospect:
    """A pytest plugin that stops a session before it measures what is no cell, or cannot be one."""

    refusal = ""
    """Why the session was stopped."""

    @pytest.hookimpl(wrapper=True)
    def pytest_collection_modifyitems(
        self, items: list[pytest.Item]
    ) -> Generator[None, object, object]:
        """Look at everything before any other plugin does, and then at what was selected."""
        self._look(items)
        result = yield
        self._look(items)
        return result

    def _look(self, items: list[pytest.Item]) -> None:
        self.refusal = self.refusal or _refusal(items)
        if self.refusal:
            items.clear()


def _refusal(items: Sequence[pytest.Item]) -> str:
    cells = [item for item in items if "efficarch_clock" in getattr(item, "fixturenames", ())]
    if items and not cells:
        return (
            f"the tests found here ({len(items)}) measure no cell, which takes the fixture bench; "
            "efficarch gate --base REF compares such tests between two commits, and "
            "efficarch compare --base OLD.json --head NEW.json two files of pytest-benchmark"
        )
    if cells and find_spec("torch") is None:
        return not_installed("torch")
    missing = [path for item in cells if not (path := item.path.parent / "budgets.toml").is_file()]
    if missing:
        return (
            f"{missing[0]} does not exist, and each cell needs limits; "
            f"the smallest useful file is: {SMALLEST_BUDGETS}"
        )
    return ""
