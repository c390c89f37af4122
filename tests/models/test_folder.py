"""Claims about images of the user's own, one subfolder a class."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from efficarch.errors import EfficarchError
from efficarch.models.folder import LARGEST, label_of, labelled_images

COLOURS = {"cat": (255, 0, 0), "dog": (0, 255, 0)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of two classes of two images."""
    for label, colour in COLOURS.items():
        (tmp_path / label).mkdir()
        for name in ("b.png", "a.jpg"):
            Image.new("RGB", (40, 20), colour).save(tmp_path / label / name)
    return tmp_path


def test_images_are_square_rgb_and_labelled(folder: Path) -> None:
    """Every image of every subfolder, by class and name, with its class."""
    images = labelled_images(folder)

    assert [label_of(image) for image in images] == ["cat", "cat", "dog", "dog"]
    assert all(image.mode == "RGB" and image.size == (20, 20) for image in images)
    assert images[1].getpixel((5, 5)) == (255, 0, 0)
    assert images[3].getpixel((5, 5)) == (0, 255, 0)


@pytest.mark.parametrize(("size", "turned"), [((60, 20), False), ((20, 60), True)])
def test_the_crop_is_the_centre(folder: Path, size: tuple[int, int], turned: bool) -> None:
    """The middle of the longer side is kept unscaled, and nothing beside it."""
    striped = Image.new("RGB", (60, 20), (1, 2, 3))
    striped.paste((9, 9, 9), (20, 0, 40, 20))
    striped = striped.transpose(Image.Transpose.ROTATE_90) if turned else striped
    assert striped.size == size
    striped.save(folder / "cat" / "b.png")

    crop = labelled_images(folder)[1]

    assert crop.getcolors() == [(400, (9, 9, 9))]


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
def test_other_modes_become_rgb(folder: Path, mode: str) -> None:
    """Grey, transparent, indexed and printed images are images too."""
    Image.new("RGB", (30, 30), (255, 255, 255)).convert(mode).save(folder / "cat" / "b.tiff")

    image = labelled_images(folder)[1]

    assert image.mode == "RGB"


def test_a_photo_held_upright_lies_upright(folder: Path) -> None:
    """The orientation a camera noted is applied: the top of the scene is the top."""
    photo = Image.new("RGB", (30, 30))
    photo.paste((255, 255, 255), (0, 0, 15, 30))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it
    photo.save(folder / "cat" / "b.png", exif=exif)

    image = labelled_images(folder)[1]

    assert image.getpixel((15, 2)) == (255, 255, 255)
    assert image.getpixel((15, 27)) == (0, 0, 0)


def test_large_photos_are_shrunk(folder: Path) -> None:
    """A folder of camera photos has to fit into memory."""
    Image.new("RGB", (LARGEST + 100, LARGEST + 50)).save(folder / "cat" / "b.png")

    assert labelled_images(folder)[1].size == (LARGEST, LARGEST)


def test_labels_survive_what_a_suite_does(folder: Path) -> None:
    """Copies, crops and conversions of an image are of the same class; others have none."""
    image = labelled_images(folder)[0]

    assert label_of(image.copy().resize((9, 9)).crop((0, 0, 4, 4)).convert("L")) == "cat"
    assert label_of(Image.new("RGB", (4, 4))) is None


def test_hidden_files_and_loose_ones_are_no_images(folder: Path) -> None:
    """What a file manager leaves behind and notes beside the classes do not count."""
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "cat" / ".DS_Store").write_bytes(b"x")
    (folder / "README.txt").write_text("photos")

    assert len(labelled_images(folder)) == 4


def missing(folder: Path) -> Path:
    """Name a folder that is not there."""
    return folder / "nowhere"


def a_file(folder: Path) -> Path:
    """Name a file."""
    return folder / "cat" / "a.jpg"


def no_classes(folder: Path) -> Path:
    """Name a folder of images without subfolders."""
    return folder / "cat"


def one_class(folder: Path) -> Path:
    """Leave one class only."""
    (folder / "dog").rename(folder.parent / f"{folder.name}-dog")
    return folder


def empty_class(folder: Path) -> Path:
    """Add a class without images."""
    (folder / "cow").mkdir()
    return folder


def text(folder: Path) -> Path:
    """Put a text where an image should be."""
    (folder / "dog" / "c.png").write_text("no image")
    return folder


def truncated(folder: Path) -> Path:
    """Cut an image short."""
    path = folder / "dog" / "b.png"
    path.write_bytes(path.read_bytes()[:60])
    return folder


def nested(folder: Path) -> Path:
    """Put a folder where an image should be."""
    (folder / "dog" / "puppies").mkdir()
    return folder


def small(folder: Path) -> Path:
    """Add an image thinner than a patch."""
    Image.new("RGB", (200, 15)).save(folder / "dog" / "thin.png")
    return folder


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (missing, r"no images folder '.*nowhere'; it needs one subfolder a class"),
        (a_file, r"no images folder '.*a\.jpg'"),
        (no_classes, r"cat needs a subfolder for each of at least 2 classes; it has 0"),
        (one_class, r"needs a subfolder for each of at least 2 classes; it has 1"),
        (empty_class, r"cow holds no image; put some there or remove the subfolder"),
        (text, r"cannot read .*c\.png as an image; remove it or convert it to PNG or JPEG"),
        (truncated, r"cannot read .*b\.png as an image"),
        (nested, r"cannot read .*puppies as an image"),
        (small, r"thin\.png is 200 x 15 px, smaller than a patch; .* works is 16 x 16"),
    ],
)
def test_a_folder_that_does_not_do_is_refused(
    folder: Path, spoil: Callable[[Path], Path], sentence: str
) -> None:
    """One sentence says what, which file or folder, and what to do."""
    with pytest.raises(EfficarchError, match=sentence) as caught:
        labelled_images(spoil(folder))

    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_the_smallest_that_works_works(folder: Path) -> None:
    """The limit named in the error is one that is kept."""
    Image.new("RGB", (16, 16)).save(folder / "dog" / "c.png")

    assert labelled_images(folder)[-1].size == (16, 16)
