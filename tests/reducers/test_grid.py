"""Claims about the grid control: which patches stay does not depend on the image."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from efficarch.errors import EfficarchError
from efficarch.models.base import Subject
from efficarch.reducers.grid import GridPrune, even_grid, evenly
from efficarch.reducers.pruning import Patches
from tests.models.samples import noise, tiny
from tests.reducers.samples import kept_indices, prefix_of


@pytest.mark.parametrize(
    ("rows", "columns", "count", "kept"),
    [
        (4, 4, 4, [5, 7, 13, 15]),
        (4, 4, 16, list(range(16))),
        (3, 3, 1, [4]),
        (2, 6, 3, [7, 9, 11]),
        # two rows, one of them with a patch more
        (4, 4, 5, [5, 7, 12, 14, 15]),
    ],
)
def test_the_grid_by_hand(rows: int, columns: int, count: int, kept: list[int]) -> None:
    """Small grids written out."""
    assert even_grid(rows, columns, count).tolist() == kept


@settings(max_examples=300, deadline=None)
@given(rows=st.integers(1, 40), columns=st.integers(1, 40), data=st.data())
def test_the_grid_is_even(rows: int, columns: int, data: st.DataObject) -> None:
    """Exactly as many as asked for, in order, in rows that differ by one patch at most."""
    count = data.draw(st.integers(1, rows * columns))

    index = even_grid(rows, columns, count).tolist()

    assert len(index) == count
    assert index == sorted(set(index))
    assert 0 <= index[0] <= index[-1] < rows * columns
    shares = [sum(i // columns == row for i in index) for row in {i // columns for i in index}]
    assert max(shares) - min(shares) <= 1


@settings(deadline=None)
@given(total=st.integers(1, 200), data=st.data())
def test_positions_are_evenly_spaced(total: int, data: st.DataObject) -> None:
    """Gaps differ by one at most, and so do the two margins."""
    found = evenly(total, data.draw(st.integers(1, total)))

    gaps = [b - a for a, b in pairwise(found)]
    assert max(gaps, default=1) - min(gaps, default=1) <= 1
    assert abs(found[0] - (total - 1 - found[-1])) <= 1


def test_every_image_keeps_the_grid(encoder: Subject) -> None:
    """The tokens left in the model are those of the grid, of every image."""
    pixels = noise(encoder.model.config.image_size)
    side = encoder.model.config.image_size // 14
    prefix = prefix_of(encoder)

    kept = kept_indices(encoder, GridPrune(0.5), pixels)

    grid = even_grid(side, side, (side * side + 1) // 2) + prefix
    assert torch.equal(kept[:, prefix:], grid.expand(3, -1))


@pytest.mark.parametrize(("height", "width"), [(56, 84), (84, 56)])
def test_an_oblong_image_keeps_its_own_grid(height: int, width: int) -> None:
    """Rows and columns are those of the image, not of a square of as many patches."""
    kept = kept_indices(tiny("dinov2"), GridPrune(0.25), noise(height, width=width))

    assert kept[0, 1:].tolist() == (even_grid(height // 14, width // 14, 6) + 1).tolist()


def test_stages_are_refused() -> None:
    """What is left of a grid is no grid; the error names a setting that works."""
    with pytest.raises(EfficarchError, match=r"after is \(1, 4\); grid .* use after=\(1,\)"):
        GridPrune(0.5, after=(1, 4))


def test_patches_without_rows_are_refused() -> None:
    """A caller that does not say how the patches lie gets a sentence, not a wrong grid."""
    x = torch.zeros(1, 4, 8)

    with pytest.raises(EfficarchError, match="grid needs all rows and columns"):
        GridPrune(0.5).reduce(Patches(x, x, x, heads=2, prefix=0), 2)
