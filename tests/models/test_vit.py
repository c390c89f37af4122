"""Claims about the one view of every family's blocks."""

import inspect

import pytest
import torch
from torch import Tensor, nn

from efficarch.errors import EfficarchError
from efficarch.models.vit import Block, blocks_of, patch_convolution, recorded_tokens, torch_dtype
from tests.models.samples import DEPTH, FAMILIES, WITH_CLS, entering, noise, tiny


def takes_mask(block: Block) -> bool:
    """Whether the layer takes an attention mask; DINOv2's does not before transformers 5.23."""
    return "attention_mask" in inspect.signature(block.module.forward).parameters


def by_transformers(block: Block, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return what the layer computes itself."""
    output: Tensor = block.module(x, attention_mask=mask) if takes_mask(block) else block.module(x)
    return output


@pytest.mark.parametrize("index", range(DEPTH), ids="block{}".format)
@pytest.mark.parametrize("family", FAMILIES)
def test_attend_and_feed_forward_are_the_layer(family: str, index: int) -> None:
    """The two halves together are what the transformers layer computes itself."""
    block = blocks_of(tiny(family).model)[index]
    x = entering(tiny(family), index, noise())

    ours = block.feed_forward(block.attend(x))
    theirs = by_transformers(block, x)

    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bias_is_added_as_the_layer_adds_its_mask(family: str) -> None:
    """The bias argument and transformers' attention_mask mean the same."""
    block = blocks_of(tiny(family).model)[1]
    if not takes_mask(block):
        pytest.skip("this transformers has no mask on this layer to compare with")
    x = entering(tiny(family), 1, noise())
    bias = torch.randn(3, 1, 1, x.shape[1])

    ours = block.feed_forward(block.attend(x, bias))
    theirs = by_transformers(block, x, bias)

    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(ours, by_transformers(block, x), atol=1e-3)


@pytest.mark.parametrize("queries", [1, 5])
@pytest.mark.parametrize("family", FAMILIES)
def test_asking_for_some_queries_gives_their_rows(family: str, queries: int) -> None:
    """Fewer queries change which rows come out, not what they hold."""
    block = blocks_of(tiny(family).model)[0]
    x = entering(tiny(family), 0, noise())

    some = block.attend(x, queries=queries)

    torch.testing.assert_close(some, block.attend(x)[:, :queries], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_come_in_order(family: str) -> None:
    """Block i is the i-th layer that a forward pass calls."""
    called: list[nn.Module] = []
    blocks = blocks_of(tiny(family).model)

    def note(module: nn.Module, _args: object) -> None:
        called.append(module)

    handles = [block.module.register_forward_pre_hook(note) for block in blocks]
    tiny(family).embed(noise())
    for handle in handles:
        handle.remove()

    assert len(blocks) == DEPTH
    assert called == [block.module for block in blocks]


def test_an_unknown_model_is_refused() -> None:
    """The error names the model's class and the blocks that would do."""
    with pytest.raises(
        EfficarchError,
        match=r"Linear has no block .*; known blocks: CLIPEncoderLayer, Dinov2Layer, Siglip",
    ):
        blocks_of(nn.Linear(2, 2))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_patch_convolution_cuts_the_image(family: str) -> None:
    """It turns the pixels into as many cells as the model has patches."""
    cut = patch_convolution(tiny(family).model)(noise())

    assert cut.shape == (3, 64, 4, 4)
    assert cut.shape[2] * cut.shape[3] == entering(tiny(family), 0, noise()).shape[1] - (
        family in WITH_CLS
    )


def test_blocks_without_pixels_are_refused() -> None:
    """A stack of blocks is no image encoder; the error says what to name instead."""
    stack = nn.ModuleList(block.module for block in blocks_of(tiny("vit").model))
    stack.config = tiny("vit").model.config

    with pytest.raises(EfficarchError, match=r"ModuleList has no convolution .* whole image enc"):
        patch_convolution(stack)


def test_recorded_tokens_stops_recording() -> None:
    """Tokens are recorded per forward pass inside the context, and nothing after it."""
    subject = tiny("dinov2")

    with recorded_tokens(subject.model) as tokens:
        subject.embed(noise())
    subject.embed(noise())

    assert tokens == [17] * DEPTH


def test_recorded_tokens_stops_after_an_error() -> None:
    """A forward pass that raises leaves no recorder behind."""
    subject = tiny("dinov2")

    with pytest.raises(ValueError, match="channel"), recorded_tokens(subject.model) as tokens:
        subject.embed(torch.zeros(1, 2, 56, 56))
    subject.embed(noise())

    assert tokens == []


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)],
    ids=["float32", "bfloat16", "float16"],
)
def test_dtypes_by_name(name: str, dtype: torch.dtype) -> None:
    """A record's dtype name is torch's own."""
    assert torch_dtype(name) is dtype


@pytest.mark.parametrize("name", ["nn", "float33"], ids=["not a dtype", "not in torch"])
def test_an_unknown_dtype_is_refused(name: str) -> None:
    """Whatever is no dtype is named beside those that are."""
    with pytest.raises(EfficarchError, match=f"unknown dtype '{name}'; known: float32, bfloat16"):
        torch_dtype(name)
