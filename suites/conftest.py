"""Shared inputs of the suites."""

import pytest
from PIL.Image import Image

from efficarch.models.images import packaged_photos


@pytest.fixture(scope="session")
def photos() -> list[Image]:
    """32 square RGB crops of packaged photos; the last two are text."""
    return packaged_photos()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let a dependency's deprecation be a warning here: it is neither slower nor worse."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("default"))
