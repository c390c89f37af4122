"""Downsampling: the control that shows the model a smaller image and nothing else.

Strong in practice: VTC-Bench (arXiv 2510.07143) finds many published methods below it. Position
embeddings are interpolated by the model, as transformers does for any image of another size.

# B batch, H and W height and width in pixels
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from math import log
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional

from efficarch.errors import EfficarchError
from efficarch.models.vit import patch_convolution
from efficarch.reducers.base import Reducer, check_keep, kept_patches


@dataclass(frozen=True)
class Downsample(Reducer):
    """Shrink the pixels until at most keep * patches are left.

    Attributes:
        keep: fraction of the patches left, in (0, 1]. An image is shrunk to whole patches and keeps
            its aspect as well as they allow, so somewhat fewer may be left, but always one.
    """

    keep: float

    site: ClassVar[str | None] = "input"

    def __post_init__(self) -> None:
        check_keep(self.keep)

    @contextmanager
    def attach(self, model: nn.Module) -> Iterator[None]:
        """Shrink what the model is given within the context; nothing is hooked at keep 1."""
        if self.keep == 1:
            yield
            return
        patch = patch_side(model)
        asks = "interpolate_pos_encoding" in signature(model.forward).parameters

        def hook(
            _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]]:
            asked = {"interpolate_pos_encoding": True} if asks else {}
            if args:
                return (shrink(args[0], self.keep, patch), *args[1:]), kwargs | asked
            smaller = shrink(kwargs["pixel_values"], self.keep, patch)
            return args, kwargs | asked | {"pixel_values": smaller}

        handle = model.register_forward_pre_hook(hook, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()


def patch_side(model: nn.Module) -> int:
    """Return the side of the model's patches in pixels."""
    return patch_convolution(model).kernel_size[0]


def shrink(pixels: Tensor, keep: float, patch: int) -> Tensor:  # [B, 3, H, W] -> [B, 3, h, w]
    """Resize images (bicubic, antialiased) to a grid of whole patches.

    Raises:
        EfficarchError: the image is smaller than one patch.
    """
    height, width = pixels.shape[-2:]
    if min(height, width) < patch:
        raise EfficarchError(
            f"the image is {height} x {width} px and a patch is {patch} px; "
            f"use images of at least {patch} x {patch} px"
        )
    rows, columns = smaller_grid(height // patch, width // patch, keep)
    size = (rows * patch, columns * patch)
    # bicubic weights in half precision shift the brightness of the whole image
    resized = functional.interpolate(pixels.float(), size, mode="bicubic", antialias=True)
    return resized.to(pixels.dtype)


def smaller_grid(rows: int, columns: int, keep: float) -> tuple[int, int]:
    """Return rows and columns of a grid of at most keep * patches, but one at least.

    Of all such grids, the one whose sides are nearest (by ratio) to those of a grid of just keep *
    patches and the same aspect.
    """
    count = kept_patches(keep, rows * columns)
    scale = (count / (rows * columns)) ** 0.5

    def distance(grid: tuple[int, int]) -> float:
        return abs(log(grid[0] / (scale * rows))) + abs(log(grid[1] / (scale * columns)))

    grids = [(r, c) for r in range(1, rows + 1) for c in range(1, columns + 1) if r * c <= count]
    return min(grids, key=distance)
