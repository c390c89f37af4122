"""Images of the user's own: a folder with one subfolder a class."""

from pathlib import Path

from PIL import Image, ImageOps

from efficarch.errors import EfficarchError

SMALLEST = 16
"""The patch of CLIP, SigLIP and ViT base; a smaller image is a smear once enlarged."""

LARGEST = 1024
"""Crops beyond this are shrunk as they are read: no model sees more, and a folder has to fit."""

LABEL = "efficarch label"


def labelled_images(folder: Path) -> list[Image.Image]:
    """Return the square centre crops (RGB) of every image, by class and name.

    Raises:
        EfficarchError: the folder is missing or lacks classes or images, or one of its files is no
            image or too small; names it.
    """
    if not folder.is_dir():
        raise EfficarchError(f"no images folder {str(folder)!r}; it needs one subfolder a class")
    classes = [path for path in _entries(folder) if path.is_dir()]
    if len(classes) < 2:
        raise EfficarchError(
            f"{folder} needs a subfolder for each of at least 2 classes; it has {len(classes)}"
        )
    images = [_labelled(path, within.name) for within in classes for path in _entries(within)]
    empty = {within.name for within in classes} - set(map(label_of, images))
    if empty:
        raise EfficarchError(
            f"{folder / min(empty)} holds no image; put some there or remove the subfolder"
        )
    return images


def halves(images: list[Image.Image]) -> tuple[list[Image.Image], list[Image.Image]]:
    """Return two halves with every other image of each class."""
    seen: dict[str | None, int] = {}
    split: tuple[list[Image.Image], list[Image.Image]] = ([], [])
    for image in images:
        number = seen.get(label_of(image), 0)
        seen[label_of(image)] = number + 1
        split[number % 2].append(image)
    return split


def label_of(image: Image.Image) -> str | None:
    """Return the class an image was labelled with; crops and copies keep it."""
    label: str | None = image.info.get(LABEL)
    return label


def _entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _labelled(path: Path, label: str) -> Image.Image:
    image = _read(path)
    if min(image.size) < SMALLEST:
        raise EfficarchError(
            f"{path} is {image.width} x {image.height} px, smaller than a patch; "
            f"the smallest that works is {SMALLEST} x {SMALLEST}"
        )
    side = min(*image.size, LARGEST)
    crop = ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC)
    crop.info[LABEL] = label
    return crop


def _read(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            # a camera's photo lies as it was held only after its own note on that
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise EfficarchError(
            f"cannot read {path} as an image; remove it or convert it to PNG or JPEG"
        ) from error
