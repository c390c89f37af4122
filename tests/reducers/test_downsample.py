"""Claims about the downsampling control: the model sees a smaller image and nothing else."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from efficarch.errors import EfficarchError
from efficarch.models.base import Subject
from efficarch.reducers.base import kept_patches
from efficarch.reducers.downsample import Downsample, shrink, smaller_grid
from tests.models.samples import noise, tiny
from tests.reducers.samples import family_of, reduced


def by_pillow(pixels: Tensor, height: int, width: int) -> Tensor:
    """Resize with Pillow, one channel at a time."""
    resized = [
        [
            np.asarray(
                Image.fromarray(channel.numpy()).resize((width, height), Image.Resampling.BICUBIC)
            )
            for channel in image
        ]
        for image in pixels
    ]
    return torch.from_numpy(np.array(resized))


@pytest.mark.parametrize(
    ("height", "width", "keep", "size"),
    [(56, 56, 0.5, (28, 42)), (70, 70, 0.25, (28, 42)), (56, 84, 0.5, (42, 56))],
)
def test_pixels_are_what_pillow_makes_of_them(
    height: int, width: int, keep: float, size: tuple[int, int]
) -> None:
    """Bicubic and antialiased, as an image library resizes."""
    pixels = noise(height, width=width)

    ours = shrink(pixels, keep, 14)

    torch.testing.assert_close(ours, by_pillow(pixels, *size), rtol=1e-4, atol=1e-4)


def test_the_model_sees_the_smaller_image(encoder: Subject) -> None:
    """The embedding is that of the smaller image with positions interpolated by transformers."""
    pixels = noise(encoder.model.config.image_size)
    family = family_of(encoder)
    asked = {} if family == "dinov2" else {"interpolate_pos_encoding": True}
    name = "image_embeds" if family == "clip" else "pooler_output"

    expected = encoder.model(pixel_values=shrink(pixels, 0.5, 14), **asked)[name]

    assert torch.equal(reduced(encoder, Downsample(0.5), pixels), expected)


def test_pixels_given_by_position_shrink_too(encoder: Subject) -> None:
    """It does not matter how a caller hands the pixels over."""
    pixels = noise(encoder.model.config.image_size)

    with Downsample(0.5).attach(encoder.model):
        named = encoder.model(pixel_values=pixels).last_hidden_state
        by_position = encoder.model(pixels).last_hidden_state

    assert torch.equal(by_position, named)


@settings(max_examples=300, deadline=None)
@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    keep=st.floats(0.001, 1, exclude_max=True),
)
def test_the_grid_stays_below_its_share(rows: int, columns: int, keep: float) -> None:
    """Never more than keep * patches, never none, no side longer than before."""
    r, c = smaller_grid(rows, columns, keep)

    assert 1 <= r <= rows
    assert 1 <= c <= columns
    assert r * c <= kept_patches(keep, rows * columns)


@settings(deadline=None)
@given(rows=st.integers(1, 12), columns=st.integers(1, 12), factor=st.integers(1, 4))
def test_a_grid_that_fits_is_taken(rows: int, columns: int, factor: int) -> None:
    """Where whole patches allow the aspect and the count exactly, both are kept."""
    found = smaller_grid(rows * factor, columns * factor, 1 / factor**2)

    assert found == (rows, columns)


@pytest.mark.parametrize(
    ("keep", "grid"), [(0.7, (13, 13)), (0.5, (11, 11)), (0.25, (8, 8)), (0.001, (1, 1))]
)
def test_the_grids_of_dinov2(keep: float, grid: tuple[int, int]) -> None:
    """Of 16 x 16 patches, as squares."""
    assert smaller_grid(16, 16, keep) == grid


def test_one_patch_is_left_of_one() -> None:
    """An image of a single patch stays one."""
    assert shrink(noise(14), 0.1, 14).shape == (3, 3, 14, 14)


def test_an_image_smaller_than_a_patch_is_refused() -> None:
    """One sentence with the image's size and the least there may be."""
    with pytest.raises(
        EfficarchError,
        match=r"image is 10 x 56 px and a patch is 14 px; use .* at least 14 x 14 px",
    ):
        reduced(tiny("dinov2"), Downsample(0.5), noise(10, width=56))


def test_brightness_survives_half_precision() -> None:
    """A grey image stays as grey in bfloat16."""
    grey = torch.full((1, 3, 70, 70), 0.3, dtype=torch.bfloat16)

    assert torch.equal(shrink(grey, 0.5, 14), torch.full_like(shrink(grey, 0.5, 14), 0.3))
