"""Shared inputs of the suites."""

import pytest
from PIL.Image import Image

from efficarch.models.images import packaged_photos


@pytest.fixture(scope="session")
def photos(efficarch_images: list[Image] | None) -> list[Image]:
    """32 square RGB crops of packaged photos, the last two of text; or the images asked for."""
    return packaged_photos() if efficarch_images is None else efficarch_images


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let a dependency's deprecation be a warning here: it is neither slower nor worse."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("default"))
