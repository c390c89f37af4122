"""Claims about VisionZip, against its rule written out patch by patch."""

import pytest
import torch
from torch import Tensor

from efficarch.errors import EfficarchError
from efficarch.reducers.pruning import Patches
from efficarch.reducers.visionzip import VisionZip, join, split
from tests.reducers.samples import cosine, received


def by_hand(patches: Patches, image: int, dominant: int, averages: int) -> list[list[float]]:
    """Reduce one image as the paper says, the contextual tokens halved as the docstring says."""
    keys, states = patches.keys[image].tolist(), patches.states[image].tolist()
    attention = received(patches.queries[image].tolist(), keys, patches.heads, patches.prefix)
    width = len(keys[0]) // patches.heads
    metric = [
        [sum(key[head * width + c] for head in range(patches.heads)) for c in range(width)]
        for key in keys[patches.prefix :]
    ]
    ranked = sorted(range(len(states)), key=lambda i: -attention[i])
    kept, rest = ranked[:dominant], sorted(ranked[dominant:])
    targets = rest[:: len(rest) // averages][:averages] if averages else []
    joined: dict[int, list[int]] = {target: [] for target in targets}
    for other in rest:
        if targets and other not in targets:
            nearest = max(targets, key=lambda t, other=other: cosine(metric[other], metric[t]))
            joined[nearest].append(other)
    result = {i: states[i] for i in kept}
    for target, others in joined.items():
        result[target] = states[target]
        if others:
            columns = list(zip(*(states[i] for i in others), strict=True))
            mean = [sum(column) / len(others) for column in columns]
            result[target] = [(a + b) / 2 for a, b in zip(states[target], mean, strict=True)]
    return [result[i] for i in sorted(result)]


@pytest.mark.parametrize("prefix", [0, 1], ids=["no CLS", "CLS"])
@pytest.mark.parametrize(
    ("count", "contextual", "averages"),
    [(1, 10 / 64, 0), (2, 10 / 64, 1), (8, 10 / 64, 2), (8, 0.5, 4), (8, 0.0, 0), (20, 0.3, 6)],
)
def test_the_rule_by_hand(count: int, contextual: float, averages: int, prefix: int) -> None:
    """States of dominant and contextual tokens, in raster order, equal those of a plain loop."""
    states = torch.randn(3, 20, 6)
    queries, keys = torch.randn(2, 3, 20 + prefix, 8)
    patches = Patches(states, queries, keys, heads=2, prefix=prefix)

    found = VisionZip(0.5, contextual=contextual).reduce(patches, count)

    expected = [by_hand(patches, image, count - averages, averages) for image in range(3)]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-5, atol=1e-5)


def test_the_paper_s_split() -> None:
    """Of 64 tokens 54 are dominant and 10 contextual."""
    states = torch.randn(1, 256, 6)
    queries, keys = torch.randn(2, 1, 257, 8)
    patches = Patches(states, queries, keys, heads=2, prefix=1)

    found = VisionZip(0.25).reduce(patches, 64)

    unchanged = sum(any(torch.equal(row, state) for state in states[0]) for row in found[0])
    assert found.shape == (1, 64, 6)
    assert 54 <= unchanged < 64


@pytest.mark.parametrize(
    ("total", "count", "targets"),
    [(10, 3, [0, 3, 6]), (11, 3, [0, 3, 6]), (3, 3, [0, 1, 2]), (5, 1, [0])],
)
def test_targets_are_spread(total: int, count: int, targets: list[int]) -> None:
    """Every so many-th, as many as asked for; the others are all others."""
    found, others = split(torch.arange(total).expand(2, -1), count)

    assert found.tolist() == [targets] * 2
    assert others.tolist() == [[i for i in range(total) if i not in targets]] * 2


def test_an_average_keeps_its_length() -> None:
    """Equal patches average to themselves: the deviation of the docstring."""
    states = torch.randn(1, 1, 6).expand(1, 5, 6)

    averaged = join(states, torch.randn(1, 5, 4), index(0, 1), index(2, 3, 4))

    torch.testing.assert_close(averaged, states[:, :2])


def test_a_target_that_nothing_joined_stays() -> None:
    """It is not halved."""
    keys = torch.tensor([[[1.0, 0], [0, 1], [0, 2]]])
    states = torch.randn(1, 3, 6)

    averaged = join(states, keys, index(0, 1), index(2))

    assert torch.equal(averaged[:, 0], states[:, 0])
    torch.testing.assert_close(averaged[:, 1], (states[:, 1] + states[:, 2]) / 2)


def index(*patches: int) -> Tensor:
    """Return indices of one image."""
    return torch.tensor([patches])


@pytest.mark.parametrize("contextual", [-0.1, 1.0, float("nan")])
def test_an_impossible_split_is_refused(contextual: float) -> None:
    """The error names the value and the range."""
    with pytest.raises(EfficarchError, match=rf"contextual is {contextual}; .* in \[0, 1\)"):
        VisionZip(0.5, contextual=contextual)
