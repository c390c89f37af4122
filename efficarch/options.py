"""The options that pytest gets, all of them called ``--efficarch-...``.

The plugin loads this in every pytest run of its environment. What `record` and `stats` say is
therefore written out once more here, where a test compares the two: importing them takes longer
than all the rest of the plugin's start.
"""

from typing import TYPE_CHECKING

import pytest

from efficarch.errors import EfficarchError
from efficarch.models import OPTIONS, destination

if TYPE_CHECKING:
    from PIL.Image import Image

DTYPES = ("float32", "bfloat16", "float16")
MIN_ROUNDS = 6
ROUNDS = {"cpu": MIN_ROUNDS, "cuda": 30}

IMAGES = pytest.StashKey["list[Image] | None"]()


def add_options(parser: pytest.Parser) -> None:
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
        group.addoption(pytest_name(option), metavar="ID_OR_FOLDER", help=f"weights of {model}")


def pytest_name(option: str) -> str:
    """Return how pytest calls an option of ``efficarch bench``; it shares them with all plugins."""
    return option.replace("--", "--efficarch-", 1)


def check_options(config: pytest.Config) -> None:
    """Refuse what cannot be met before anything is measured.

    Raises:
        EfficarchError: too few rounds, a folder that is not there, or images that do not do.
    """
    from efficarch.files import from_home

    rounds = config.getoption("efficarch_rounds")
    if rounds is not None and rounds < MIN_ROUNDS:
        raise EfficarchError(f"rounds is {rounds}; a 95 % interval needs at least {MIN_ROUNDS}")
    for option in OPTIONS:
        location = location_of(config, option)
        if location is None or not location.startswith((".", "/", "~")):
            continue
        if not from_home(location).is_dir():
            raise EfficarchError(
                f"{pytest_name(option)}: no folder {location!r}; "
                "give an existing folder or a hub id"
            )
    images_of(config)


def location_of(config: pytest.Config, option: str) -> str | None:
    """Return the hub id or folder that an option names."""
    location: str | None = config.getoption(destination(pytest_name(option)))
    return location


def images_of(config: pytest.Config) -> "list[Image] | None":
    """Return the images that ``--efficarch-images`` names, read once; ``None`` without it.

    Raises:
        EfficarchError: the folder or one of its images cannot be read.
    """
    if IMAGES not in config.stash:
        config.stash[IMAGES] = _read(config.getoption("efficarch_images"))
    return config.stash[IMAGES]


def _read(folder: str | None) -> "list[Image] | None":
    if folder is None:
        return None
    from efficarch.files import from_home
    from efficarch.models.folder import labelled_images

    return labelled_images(from_home(folder))
