"""Images in: the packaged photos, and preprocessing for square crops.

The photos lie inside the scikit-image and scikit-learn wheels, so no run needs a download.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from efficarch.models.base import Normalization

PHOTOS = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "rocket.jpg",
    "hubble_deep_field.jpg",
    "retina.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "china.jpg",
    "flower.jpg",
)
"""Natural photos: astronaut to motorcycle from scikit-image, china and flower from scikit-learn."""

TEXTS = ("page.png", "text.png")
"""The text-heavy stress case, from scikit-image."""

CROPS = 3


def packaged_photos() -> list[Image.Image]:
    """Return 32 square RGB crops: three of each photo (start, middle, end of its longer side,
    the square 80 % of the shorter side so that the three differ) and one of each text page."""
    photos = [
        crop
        for position in range(CROPS)
        for name in PHOTOS
        for crop in [_crop(_open(name), position)]
    ]
    return photos + [_crop(_open(name), CROPS // 2) for name in TEXTS]


def packaged_halves() -> tuple[list[Image.Image], list[Image.Image]]:
    """Return the packaged crops in two halves of 16 that share no photo and no page."""
    crops = packaged_photos()
    photo = [*(index % len(PHOTOS) for index in range(CROPS * len(PHOTOS))), *range(len(TEXTS))]
    halves = [
        [crop for crop, number in zip(crops, photo, strict=True) if number % 2 == half]
        for half in (0, 1)
    ]
    return halves[0], halves[1]


def _open(name: str) -> Image.Image:
    for folder in _folders():
        if (folder / name).is_file():
            with Image.open(folder / name) as image:
                return image.convert("RGB")
    raise FileNotFoundError(f"{name} is in neither scikit-image nor scikit-learn")


def _folders() -> list[Path]:
    # located, not imported: importing scikit-learn takes longer than reading its photos
    from importlib.util import find_spec

    found = []
    for package, inside in (("skimage", "data"), ("sklearn", "datasets/images")):
        spec = find_spec(package)
        if spec is not None and spec.origin is not None:
            found.append(Path(spec.origin).parent / inside)
    return found


def _crop(image: Image.Image, position: int) -> Image.Image:
    """Return a square of 80 % of the shorter side, at the start, middle or end of both sides."""
    side = int(min(image.size) * 0.8)
    left = (image.width - side) * position // (CROPS - 1)
    top = (image.height - side) * position // (CROPS - 1)
    return image.crop((left, top, left + side, top + side))


def prepare(images: list[Image.Image], normalization: Normalization) -> Tensor:
    """Resize square images, scale to [0, 1] and normalise: float32 [n, 3, size, size]."""
    size = (normalization.size, normalization.size)
    pixels = np.stack(
        [np.asarray(image.resize(size, normalization.resample)) for image in images]
    )  # [n, size, size, 3]
    scaled = torch.from_numpy(pixels).float() / 255
    mean, std = torch.tensor(normalization.mean), torch.tensor(normalization.std)
    return ((scaled - mean) / std).permute(0, 3, 1, 2).contiguous()
