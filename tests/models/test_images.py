"""Claims about the packaged photos and the way from images to pixel values."""

import pytest
import torch
from PIL import Image

from efficarch.models.base import Normalization
from efficarch.models.images import packaged_photos, prepare

NORMALIZATION = Normalization(28, (0.5, 0.4, 0.3), (0.2, 0.25, 0.5))


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    """Return the packaged photos, read once."""
    return packaged_photos()


def test_there_are_32_square_rgb_photos(photos: list[Image.Image]) -> None:
    """Suites with a batch of up to 32 have enough to choose from."""
    assert len(photos) == 32
    assert all(photo.mode == "RGB" for photo in photos)
    assert all(photo.width == photo.height for photo in photos)


def test_no_photo_comes_twice(photos: list[Image.Image]) -> None:
    """A mean over 32 images is over 32 different ones."""
    assert len({photo.tobytes() for photo in photos}) == 32


def test_photos_are_the_same_every_time(photos: list[Image.Image]) -> None:
    """Order and content do not change from call to call."""
    assert [p.tobytes() for p in packaged_photos()] == [p.tobytes() for p in photos]


def test_the_first_eight_are_of_different_scenes(photos: list[Image.Image]) -> None:
    """A batch of eight is no eight crops of one photo: their mean colours differ."""
    means = {photo.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0)) for photo in photos[:8]}

    assert len(means) == 8


def test_prepared_images_have_the_family_s_size() -> None:
    """Whatever their size, images become one contiguous float32 batch."""
    pixels = prepare([Image.new("RGB", (50, 50)), Image.new("RGB", (9, 9))], NORMALIZATION)

    assert pixels.shape == (2, 3, 28, 28)
    assert pixels.dtype == torch.float32
    assert pixels.is_contiguous()


def test_prepare_normalises_each_channel() -> None:
    """A constant image becomes (value / 255 - mean) / std, channel by channel in RGB order."""
    pixels = prepare([Image.new("RGB", (40, 40), (255, 0, 51))], NORMALIZATION)

    expected = torch.tensor([(1 - 0.5) / 0.2, (0 - 0.4) / 0.25, (0.2 - 0.3) / 0.5])
    torch.testing.assert_close(pixels, expected[None, :, None, None].expand(1, 3, 28, 28))


def test_prepare_keeps_rows_and_columns_apart() -> None:
    """An image that is white on top only is so afterwards, not on its left."""
    image = Image.new("RGB", (28, 28))
    image.paste((255, 255, 255), (0, 0, 28, 14))

    pixels = prepare([image], NORMALIZATION)[0, 0]

    assert pixels[0].min() > 0 > pixels[-1].max()
