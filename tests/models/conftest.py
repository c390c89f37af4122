"""The models under test."""

from collections.abc import Iterator

import pytest
import torch

from efficarch.models.base import Subject
from tests.models.samples import packaged_dinov2


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    """Run as the suites do, without autograd."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="session")
def dinov2_small() -> Subject:
    """Return the pretrained DINOv2-small."""
    return packaged_dinov2()
