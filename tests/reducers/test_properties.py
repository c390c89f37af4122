"""Claims every token-reduction method has to hold; a new row is tested without a new test."""

import pytest
import torch
from torch import Tensor, nn

from efficarch.errors import EfficarchError
from efficarch.models.base import Subject
from efficarch.models.vit import recorded_tokens
from efficarch.reducers.base import Reducer
from tests.models.samples import DEPTH, leaving, noise
from tests.reducers.samples import (
    METHODS,
    ONLY_KEEP,
    PRUNING,
    REDUCING,
    WITH_KEEP,
    build,
    copied,
    kept_indices,
    reduced,
    traces,
)

TOKENS = {
    ("none", 17): [17, 17, 17, 17, 17],
    ("random", 17): [17, 17, 9, 9, 9],
    ("norm", 17): [17, 17, 9, 9, 9],
    # 8 merges, 4 : 3 : 2 : 1
    ("tome", 17): [17, 14, 11, 10, 9],
    ("exact-tail", 17): [17, 17, 17, 17, 1],
    ("tome+exact-tail", 17): [17, 14, 11, 10, 1],
    ("none", 26): [26, 26, 26, 26, 26],
    # half of 25 patches, rounded up
    ("random", 26): [26, 26, 14, 14, 14],
    ("norm", 26): [26, 26, 14, 14, 14],
    # 12 merges, 4 : 3 : 2 : 1
    ("tome", 26): [26, 21, 18, 15, 14],
    ("exact-tail", 26): [26, 26, 26, 26, 1],
    ("tome+exact-tail", 26): [26, 21, 18, 15, 1],
}
"""Tokens entering each block and leaving the last, CLS included, at keep 0.5."""


class BodyError(Exception):
    """What the body of a ``with`` raises in these tests."""


@pytest.fixture
def pixels(encoder: Subject) -> Tensor:
    """Return three images of noise in the encoder's size."""
    return noise(encoder.model.config.image_size)


@pytest.mark.parametrize("name", METHODS)
def test_it_leaves_no_trace(encoder: Subject, name: str, pixels: Tensor) -> None:
    """After the context the output is bit-identical, and every module has what it had."""
    before, left = encoder.embed(pixels), traces(encoder.model)

    reduced(encoder, build(name), pixels)

    assert traces(encoder.model) == left
    assert torch.equal(encoder.embed(pixels), before)


def raise_inside(encoder: Subject, reducer: Reducer, pixels: Tensor) -> None:
    """Embed under a method and raise before its context ends."""
    with reducer.attach(encoder.model):
        encoder.embed(pixels)
        raise BodyError


@pytest.mark.parametrize("name", METHODS)
def test_it_leaves_no_trace_after_an_error(encoder: Subject, name: str, pixels: Tensor) -> None:
    """A body that raises makes no difference, and its error comes through."""
    before, left = encoder.embed(pixels), traces(encoder.model)

    with pytest.raises(BodyError):
        raise_inside(encoder, build(name), pixels)

    assert traces(encoder.model) == left
    assert torch.equal(encoder.embed(pixels), before)


@pytest.mark.parametrize("name", METHODS)
def test_a_failed_forward_pass_does_not_spoil_the_next(
    encoder: Subject, name: str, pixels: Tensor
) -> None:
    """A pass that dies inside a block, out of memory say, changes nothing for the one after it."""
    broken = copied(encoder)
    expected = reduced(broken, build(name), pixels[:1])
    endings = ("o_proj", "out_proj", "output.dense")
    second = [m for n, m in broken.model.named_modules() if n.endswith(endings)][1]

    def fail(_module: nn.Module, _args: object) -> None:
        raise BodyError

    with build(name).attach(broken.model):
        handle = second.register_forward_pre_hook(fail)
        with pytest.raises(BodyError):
            broken.embed(pixels)
        handle.remove()
        assert torch.equal(broken.embed(pixels[:1]), expected)


@pytest.mark.parametrize("name", REDUCING)
def test_it_leaves_traces_inside(encoder: Subject, name: str) -> None:
    """The look at the modules that finds nothing after the context finds something inside it."""
    before = traces(encoder.model)

    with build(name).attach(encoder.model):
        assert traces(encoder.model) != before


@pytest.mark.parametrize("name", ONLY_KEEP)
def test_keep_1_changes_nothing(encoder: Subject, name: str, pixels: Tensor) -> None:
    """At keep 1 the output is bit-identical to the dense model's."""
    assert torch.equal(reduced(encoder, build(name, 1.0), pixels), encoder.embed(pixels))


@pytest.mark.parametrize("name", ONLY_KEEP)
def test_keep_1_hooks_nothing(encoder: Subject, name: str) -> None:
    """At keep 1 there is no overhead to measure."""
    before = traces(encoder.model)

    with build(name, 1.0).attach(encoder.model):
        assert traces(encoder.model) == before


@pytest.mark.parametrize("name", METHODS)
def test_it_is_deterministic(encoder: Subject, name: str, pixels: Tensor) -> None:
    """Two passes in one context and one in the next give the same, bit by bit."""
    with build(name).attach(encoder.model):
        first, second = encoder.embed(pixels), encoder.embed(pixels)

    assert torch.equal(first, second)
    assert torch.equal(first, reduced(encoder, build(name), pixels))


@pytest.mark.parametrize("name", METHODS)
def test_it_does_not_mix_images(encoder: Subject, name: str, pixels: Tensor) -> None:
    """An image alone gives what it gives within a batch."""
    together = reduced(encoder, build(name), pixels)
    alone = torch.cat([reduced(encoder, build(name), image) for image in pixels.split(1)])

    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_token_counts_are_as_stated(encoder: Subject, name: str, pixels: Tensor) -> None:
    """Every block sees as many tokens as the table's text and the schedule say."""
    with build(name).attach(encoder.model):
        with recorded_tokens(encoder.model) as tokens:
            encoder.embed(pixels)
        last = leaving(encoder, DEPTH - 1, pixels)

    assert [*tokens, last.shape[1]] == TOKENS[name, tokens[0]]


@pytest.mark.parametrize("name", WITH_KEEP)
def test_batches_of_another_size_follow(encoder: Subject, name: str, pixels: Tensor) -> None:
    """One context serves batches of different sizes, as in a suite's last and shorter one."""
    with build(name).attach(encoder.model):
        three, one = encoder.embed(pixels), encoder.embed(pixels[:1])

    torch.testing.assert_close(one, three[:1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_the_embedding_keeps_its_shape(encoder: Subject, name: str, pixels: Tensor) -> None:
    """Fewer tokens inside give no other output than before: one finite embedding per image."""
    embedding = reduced(encoder, build(name), pixels)

    assert embedding.shape == encoder.embed(pixels).shape
    assert embedding.isfinite().all()


@pytest.mark.parametrize("name", ["random", "norm", "tome"])
def test_reducing_has_an_effect(encoder: Subject, name: str, pixels: Tensor) -> None:
    """At keep 0.5 the embedding is another one; a method that does nothing is noticed."""
    assert not torch.allclose(
        reduced(encoder, build(name), pixels), encoder.embed(pixels), atol=1e-3
    )


@pytest.mark.parametrize("name", PRUNING)
def test_pruning_keeps_cls_first_and_patches_in_order(
    encoder: Subject, name: str, pixels: Tensor
) -> None:
    """Row 0 stays row 0, and the patches left are in ascending order without repetition."""
    kept = kept_indices(encoder, build(name), pixels)

    assert (kept[:, 0] == 0).all()
    assert (kept.diff(dim=1) > 0).all()


@pytest.mark.parametrize("name", METHODS)
def test_bfloat16_runs(encoder: Subject, name: str, pixels: Tensor) -> None:
    """In bfloat16 the output stays bfloat16 and finite."""
    half = copied(encoder, torch.bfloat16)

    embedding = reduced(half, build(name), pixels.bfloat16())

    assert embedding.dtype == torch.bfloat16
    assert embedding.isfinite().all()


@pytest.mark.parametrize("name", METHODS)
def test_the_session_s_dtype_reaches_every_block(encoder: Subject, name: str) -> None:
    """In bfloat16 no block's output silently widens."""
    half = copied(encoder, torch.bfloat16)
    pixels = noise(encoder.model.config.image_size).bfloat16()

    with build(name).attach(half.model):
        dtypes = {leaving(half, index, pixels).dtype for index in range(DEPTH)}

    assert dtypes == {torch.bfloat16}


@pytest.mark.parametrize("keep", [0, -0.5, 1.5, float("nan")], ids="keep={}".format)
@pytest.mark.parametrize("name", WITH_KEEP)
def test_an_impossible_keep_is_refused(name: str, keep: float) -> None:
    """The error names the value and the range."""
    with pytest.raises(EfficarchError, match=rf"keep is {keep}; it must lie in \(0, 1\]"):
        build(name, keep)


@pytest.mark.parametrize("name", REDUCING)
def test_an_unsupported_model_is_refused(name: str) -> None:
    """The error names the blocks that would do."""
    with (
        pytest.raises(
            EfficarchError,
            match="known blocks: CLIPEncoderLayer, Dinov2Layer, SiglipEncoderLayer, ViTLayer",
        ),
        build(name).attach(nn.Linear(2, 2)),
    ):
        pass


@pytest.mark.parametrize("name", REDUCING)
def test_a_refused_model_keeps_no_trace(name: str) -> None:
    """A model that was refused is as it was."""
    model = nn.Linear(2, 2)
    before = traces(model)

    with pytest.raises(EfficarchError), build(name).attach(model):
        pass

    assert traces(model) == before


@pytest.mark.parametrize("name", PRUNING)
def test_the_smallest_keep_leaves_cls_and_a_patch(
    encoder: Subject, name: str, pixels: Tensor
) -> None:
    """However small keep is, one patch stays."""
    with build(name, 1e-9).attach(encoder.model):
        assert leaving(encoder, DEPTH - 1, pixels).shape[1] == 2
