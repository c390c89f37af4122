"""Claims about dropping inside the tower: the whole tower under masks gives the same."""

from typing import Any

import pytest
import torch
from torch import Tensor

from efficarch.models.base import LanguageSubject
from efficarch.reducers.tower_block import CHUNK, TowerBlock, attention_received
from tests.models.samples import picture, prompted, reduced_qwen


@pytest.fixture(scope="session")
def qwen() -> LanguageSubject:
    """Return the reduced model."""
    return reduced_qwen()


def turned(x: Tensor, place: tuple[int, int]) -> Tensor:
    """Rotate one patch's query or key [64] by its row and column, pair by pair."""
    out = x.clone()
    for axis in (0, 1):
        for pair in range(16):
            # a pair is 32 channels apart; rows turn the first 16 pairs, columns the others
            angle = place[axis] * 10000.0 ** (-2 * pair / 32)
            a, b = x[16 * axis + pair], x[16 * axis + pair + 32]
            cos, sin = torch.tensor(angle).cos(), torch.tensor(angle).sin()
            out[16 * axis + pair], out[16 * axis + pair + 32] = a * cos - b * sin, b * cos + a * sin
    return out


def attend(block: Any, x: Tensor, places: list[tuple[int, int]], mask: Tensor) -> Any:
    """Return attention weights [H, N, N] and the block's output, the slow way."""
    split = block.attn.qkv(block.norm1(x)).view(len(x), 3, 4, 64)
    query, key = (
        torch.stack(
            [
                torch.stack([turned(split[n, part, h], places[n]) for h in range(4)])
                for n in range(len(x))
            ]
        )
        for part in (0, 1)
    )
    logits = torch.einsum("qhd,khd->hqk", query, key) / 8
    weights = logits.masked_fill(~mask, -torch.inf).softmax(dim=-1)
    mixed = torch.einsum("hqk,khd->qhd", weights, split[:, 2]).flatten(1)
    x = x + block.attn.proj(mixed)
    return weights, x + block.mlp(block.norm2(x))


def naive_tower(visual: Any, pixels: Tensor, rows: int, columns: int, keep: int) -> Any:
    """Return kept cells and merged features, with every patch carried along and masked instead."""
    places, cells = [], []
    for cell in range(rows * columns):
        for inner in range(4):
            places.append((cell // columns * 2 + inner // 2, cell % columns * 2 + inner % 2))
            cells.append(cell)
    window = [(row // 8, column // 8) for row, column in places]
    near = torch.tensor([[a == b for b in window] for a in window])
    stays = torch.ones(len(cells), dtype=torch.bool)
    x = visual.patch_embed(pixels)
    kept: list[int] = []
    for index, block in enumerate(visual.blocks):
        mask = (near if index not in (1, 3, 5, 7) else torch.ones_like(near)) & stays
        # a dropped patch attends to itself, so that its row stays finite; nobody reads it
        mask = mask | torch.eye(len(cells), dtype=torch.bool)
        weights, x = attend(block, x, places, mask)
        if index == 1:
            received = weights.mean(dim=(0, 1)).view(-1, 4).sum(dim=1).tolist()
            kept = sorted(sorted(range(len(received)), key=lambda c: -received[c])[:keep])
            stays = torch.tensor([cell in kept for cell in cells])
    return kept, visual.merger(x)[kept]


def test_the_tower_under_masks_is_the_same(qwen: LanguageSubject) -> None:
    """Which cells stay and what becomes of them, on an image with four ragged windows."""
    model: Any = qwen.model
    inputs = prompted(qwen)
    kept, wanted = naive_tower(model.model.visual, inputs["pixel_values"], 5, 6, keep=15)

    with TowerBlock(0.5).attach(model):
        found = model.model.visual(
            inputs["pixel_values"], grid_thw=inputs["image_grid_thw"]
        ).pooler_output

    assert found.any(dim=1).nonzero().flatten().tolist() == kept
    torch.testing.assert_close(found[kept], wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("keep", [0.1, 0.3, 0.9])
def test_the_prompt_loses_the_same_cells(qwen: LanguageSubject, keep: float) -> None:
    """What enters the language model are the tower's features of the kept cells, in order."""
    model: Any = qwen.model
    inputs = prompted(qwen, picture(), picture(seed=1))
    seen: list[Tensor] = []
    with TowerBlock(keep).attach(model):
        features = model.model.visual(
            inputs["pixel_values"], grid_thw=inputs["image_grid_thw"]
        ).pooler_output.view(2, 30, -1)
        handle = model.model.language_model.layers[0].register_forward_pre_hook(
            lambda _module, args: seen.append(args[0])
        )
        model(**inputs)
        handle.remove()

    for image in (0, 1):
        cells = features[image][features[image].any(dim=1)]
        torch.testing.assert_close(seen[0][image, 2 : 2 + len(cells)], cells)
        assert seen[0].shape[1] == 6 + len(cells)


def test_attention_received_matches_the_whole_map() -> None:
    """In chunks of queries it is the column sum of the map, shared out over queries."""
    queries, keys = torch.randn(2, 2, 3, CHUNK + 7, 8).unbind(0)

    received = attention_received(queries, keys)

    weights = torch.einsum("bhqd,bhkd->bhqk", queries, keys).div(8**0.5).softmax(dim=-1)
    torch.testing.assert_close(received, weights.mean(dim=(1, 2)))
    torch.testing.assert_close(received.sum(dim=1), torch.ones(2))
