"""Encoders to reduce: every family, with an odd and with an even number of patches."""

from collections.abc import Iterator

import pytest
import torch

from efficarch.models.base import Subject
from tests.models.samples import packaged_dinov2, tiny
from tests.reducers.samples import encoders


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    """Run as the suites do, without autograd."""
    with torch.inference_mode():
        yield


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread: passes of a millisecond only lose by sharing their work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session", params=encoders())
def encoder(request: pytest.FixtureRequest) -> Subject:
    """Return a tiny encoder with random weights."""
    family, px = request.param
    return tiny(family, px)


@pytest.fixture(scope="session")
def dinov2_small() -> Subject:
    """Return the pretrained DINOv2-small."""
    return packaged_dinov2()
