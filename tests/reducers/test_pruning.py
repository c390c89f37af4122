"""Claims about norm and random pruning: which patches stay."""

from typing import Literal

import pytest
import torch
from torch import Tensor

from efficarch.errors import EfficarchError
from efficarch.models.base import Subject
from efficarch.reducers.norm import NormPrune, row_norms
from efficarch.reducers.random import RandomPrune, random_subset
from tests.models.samples import noise, tiny
from tests.reducers.samples import KEY, QUERY, kept_indices, prefix_of, projections

Of = Literal["both", "key", "query"]
Sign = Literal["high", "low"]


def ranked(subject: Subject, of: Of, pixels: Tensor) -> list[list[int]]:
    """Return each image's patches by rising norm, CLS counted among the tokens, in plain Python."""
    names = {"key": [KEY], "query": [QUERY], "both": [KEY, QUERY]}[of]
    projected = [projections(subject, name, pixels).tolist() for name in names]

    def score(image: int, token: int) -> float:
        return sum(sum(c * c for c in rows[image][token]) ** 0.5 for rows in projected)

    patches = range(prefix_of(subject), len(projected[0][0]))
    return [
        sorted(patches, key=lambda token, image=image: score(image, token))
        for image in range(len(pixels))
    ]


@pytest.mark.parametrize("of", ["both", "key", "query"])
@pytest.mark.parametrize("sign", ["high", "low"])
def test_the_norms_decide(encoder: Subject, of: Of, sign: Sign) -> None:
    """The patches left are those of highest (or lowest) norm, computed independently."""
    pixels = noise(encoder.model.config.image_size)
    order = ranked(encoder, of, pixels)
    kept = kept_indices(encoder, NormPrune(0.5, of=of, sign=sign), pixels)
    prefix = prefix_of(encoder)
    count = kept.shape[1] - prefix

    best = [row[-count:] if sign == "high" else row[:count] for row in order]

    assert kept[:, prefix:].tolist() == [sorted(row) for row in best]


def test_the_settings_differ() -> None:
    """On noise, keys, queries and both choose different patches, and so do the signs."""
    chosen = {
        (of, sign): str(
            kept_indices(tiny("dinov2"), NormPrune(0.5, of=of, sign=sign), noise()).tolist()
        )
        for of in ("both", "key", "query")
        for sign in ("high", "low")
    }

    assert len(set(chosen.values())) == 6


@pytest.mark.parametrize(
    ("setting", "value"), [("of", "nope"), ("sign", "up")], ids=["of=nope", "sign=up"]
)
def test_an_unknown_setting_is_refused(setting: str, value: str) -> None:
    """The error names the value and the choices."""
    settings: dict[str, str] = {setting: value}
    with pytest.raises(EfficarchError, match=f"{setting} is '{value}'; choose '"):
        NormPrune(0.5, **settings)


def test_norms_are_of_rows() -> None:
    """Every row has the length of its vector, in float32 whatever came in."""
    x = torch.tensor([[[3.0, 4.0], [0.0, 0.0]]], dtype=torch.bfloat16)

    norms = row_norms(x)

    assert norms.dtype == torch.float32
    assert norms.tolist() == [[5.0, 0.0]]


def test_random_keeps_the_same_of_every_image(encoder: Subject) -> None:
    """One subset serves the whole batch."""
    kept = kept_indices(encoder, RandomPrune(0.5), noise(encoder.model.config.image_size))

    assert (kept == kept[0]).all()


def test_random_follows_its_seed_alone() -> None:
    """The same seed keeps the same patches, whatever torch's own generator was set to."""
    torch.manual_seed(1)
    first = kept_indices(tiny("dinov2"), RandomPrune(0.5, seed=3), noise())
    torch.manual_seed(2)
    second = kept_indices(tiny("dinov2"), RandomPrune(0.5, seed=3), noise())

    assert torch.equal(first, second)
    assert not torch.equal(first, kept_indices(tiny("dinov2"), RandomPrune(0.5, seed=4), noise()))


def test_random_draws_nothing_from_the_global_generator() -> None:
    """Choosing a subset does not change what anyone draws afterwards."""
    before = torch.get_rng_state()

    random_subset(100, 50, seed=0)

    assert torch.equal(torch.get_rng_state(), before)


def test_random_subsets_are_fair() -> None:
    """Over many seeds each of 10 patches is kept about half of the time when 5 stay."""
    counts = torch.zeros(10)
    for seed in range(1000):
        subset = random_subset(10, 5, seed)
        assert (subset.diff() > 0).all()
        counts[subset] += 1

    # five standard deviations of a fair coin over 1000 throws
    assert (counts - 500).abs().max() < 80
