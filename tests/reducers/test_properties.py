"""Claims every token-reduction method has to hold; a new row is tested without a new test."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from efficarch.errors import EfficarchError
from efficarch.models.base import Subject
from efficarch.models.vit import recorded_tokens
from efficarch.reducers.base import Reducer, parts
from efficarch.reducers.downsample import Downsample
from efficarch.reducers.exact_tail import ExactTail
from efficarch.reducers.merging import Merger
from efficarch.reducers.pruning import Pruner
from tests.models.samples import DEPTH, leaving, noise, tiny
from tests.reducers.samples import (
    AVERAGING,
    INEXACT,
    METHODS,
    ONLY_KEEP,
    PRUNING,
    REDUCING,
    WITH_KEEP,
    build,
    copied,
    every,
    family_of,
    kept_indices,
    prefix_of,
    reduced,
    tokens_of,
    traces,
)

SHRUNK = {16: 6, 25: 12, 24: 12}
"""Patches of 4 x 4, 5 x 5 and 4 x 6 at keep 0.5: the grids 2 x 3, 3 x 4 and 3 x 4."""

MERGED = {
    "decreasing": {16: [16, 13, 10, 9, 8], 25: [25, 20, 17, 14, 13], 24: [24, 19, 16, 13, 12]},
    "parabolic": {16: [16, 13, 11, 9, 8], 25: [25, 21, 18, 15, 13], 24: [24, 20, 17, 14, 12]},
}
"""Patches entering each block and leaving the last: 8 or 12 merges, 4 : 3 : 2 : 1 where they
decrease, 16 : 15 : 12 : 7 along a parabola."""


def stated(reducer: Reducer, patches: int, prefix: int) -> list[int]:
    """Return the tokens entering each block and leaving the last, as the README's table says."""
    left = [patches] * (DEPTH + 1)
    for part in parts(reducer):
        if isinstance(part, Downsample):
            left = [SHRUNK[patches]] * (DEPTH + 1)
        elif isinstance(part, Merger):
            left = MERGED[part.schedule][left[0]]
        elif isinstance(part, Pruner):
            left = [staged(left[0], part.after, block) for block in range(DEPTH + 1)]
    tokens = [prefix + count for count in left]
    return [*tokens[:-1], 1] if isinstance(parts(reducer)[-1], ExactTail) else tokens


def staged(patches: int, after: tuple[int, ...], block: int) -> int:
    """Return the patches entering a block: every stage keeps the same fraction, half in all."""
    stages, done = len(after), sum(index < block for index in after)
    # the least count with (count / patches) ** stages >= 0.5 ** done, in whole numbers
    return next(k for k in range(1, patches + 1) if k**stages * 2**done >= patches**stages)


def counted(encoder: Subject, reducer: Reducer, pixels: Tensor) -> list[int]:
    """Return the tokens entering each block and leaving the last."""
    with reducer.attach(encoder.model):
        with recorded_tokens(encoder.model) as tokens:
            encoder.embed(pixels)
        last = leaving(encoder, DEPTH - 1, pixels)
    return [*tokens, last.shape[1]]


class BodyError(Exception):
    """What the body of a ``with`` raises in these tests."""


@pytest.fixture
def pixels(encoder: Subject) -> Tensor:
    """Return three images of noise in the encoder's size."""
    return noise(encoder.model.config.image_size)


@every(*METHODS)
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


@every(*METHODS)
def test_it_leaves_no_trace_after_an_error(encoder: Subject, name: str, pixels: Tensor) -> None:
    """A body that raises makes no difference, and its error comes through."""
    before, left = encoder.embed(pixels), traces(encoder.model)

    with pytest.raises(BodyError):
        raise_inside(encoder, build(name), pixels)

    assert traces(encoder.model) == left
    assert torch.equal(encoder.embed(pixels), before)


@every(*METHODS)
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


@every(*REDUCING)
def test_it_leaves_traces_inside(encoder: Subject, name: str) -> None:
    """The look at the modules that finds nothing after the context finds something inside it."""
    before = traces(encoder.model)

    with build(name).attach(encoder.model):
        assert traces(encoder.model) != before


@every(*ONLY_KEEP)
def test_keep_1_changes_nothing(encoder: Subject, name: str, pixels: Tensor) -> None:
    """At keep 1 the output is bit-identical to the dense model's."""
    assert torch.equal(reduced(encoder, build(name, 1.0), pixels), encoder.embed(pixels))


@every(*ONLY_KEEP)
def test_keep_1_hooks_nothing(encoder: Subject, name: str) -> None:
    """At keep 1 there is no overhead to measure."""
    before = traces(encoder.model)

    with build(name, 1.0).attach(encoder.model):
        assert traces(encoder.model) == before


@every(*METHODS)
def test_it_is_deterministic(encoder: Subject, name: str, pixels: Tensor) -> None:
    """Two passes in one context and one in the next give the same, bit by bit."""
    with build(name).attach(encoder.model):
        first, second = encoder.embed(pixels), encoder.embed(pixels)

    assert torch.equal(first, second)
    assert torch.equal(first, reduced(encoder, build(name), pixels))


@every(*METHODS)
def test_it_does_not_mix_images(encoder: Subject, name: str, pixels: Tensor) -> None:
    """An image alone gives what it gives within a batch."""
    together = reduced(encoder, build(name), pixels)
    alone = torch.cat([reduced(encoder, build(name), image) for image in pixels.split(1)])

    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


@every(*METHODS)
def test_token_counts_are_as_stated(encoder: Subject, name: str, pixels: Tensor) -> None:
    """Every block sees as many tokens as the table's text and the schedule say."""
    patches = (encoder.model.config.image_size // 14) ** 2

    assert counted(encoder, build(name), pixels) == stated(build(name), patches, prefix_of(encoder))


@pytest.mark.parametrize("name", METHODS)
def test_images_need_not_be_square(name: str) -> None:
    """On images of 4 x 6 patches, where the family takes them, counts are as stated too."""
    oblong = noise(56, width=84)
    encoder = tiny("dinov2")
    alone = torch.cat([reduced(encoder, build(name), image) for image in oblong.split(1)])

    assert counted(encoder, build(name), oblong) == stated(build(name), 24, 1)
    torch.testing.assert_close(reduced(encoder, build(name), oblong), alone, rtol=1e-5, atol=1e-5)


@every(*WITH_KEEP)
def test_batches_of_another_size_follow(encoder: Subject, name: str, pixels: Tensor) -> None:
    """One context serves batches of different sizes, as in a suite's last and shorter one."""
    with build(name).attach(encoder.model):
        three, one = encoder.embed(pixels), encoder.embed(pixels[:1])

    torch.testing.assert_close(one, three[:1], rtol=1e-5, atol=1e-5)


@every(*METHODS)
def test_the_embedding_keeps_its_shape(encoder: Subject, name: str, pixels: Tensor) -> None:
    """Fewer tokens inside give no other output than before: one finite embedding per image."""
    embedding = reduced(encoder, build(name), pixels)

    assert embedding.shape == encoder.embed(pixels).shape
    assert embedding.isfinite().all()


@every(*INEXACT)
def test_reducing_has_an_effect(encoder: Subject, name: str, pixels: Tensor) -> None:
    """At keep 0.5 the embedding is another one; a method that does nothing is noticed."""
    assert not torch.allclose(
        reduced(encoder, build(name), pixels), encoder.embed(pixels), atol=1e-3
    )


@every(*(name for name in PRUNING if name not in AVERAGING))
def test_pruning_keeps_cls_first_and_patches_in_order(
    encoder: Subject, name: str, pixels: Tensor
) -> None:
    """Row 0 stays row 0, and the patches left are in ascending order without repetition."""
    pruner = replace(build(name), after=(1,))
    prefix = prefix_of(encoder)
    kept = kept_indices(encoder, pruner, pixels)

    assert (kept[:, :prefix] == 0).all()
    assert (kept.diff(dim=1) > 0).all()


@every(*METHODS)
def test_bfloat16_runs(encoder: Subject, name: str, pixels: Tensor) -> None:
    """In bfloat16 the output stays bfloat16 and finite."""
    half = copied(encoder, torch.bfloat16)

    embedding = reduced(half, build(name), pixels.bfloat16())

    assert embedding.dtype == torch.bfloat16
    assert embedding.isfinite().all()


@every(*METHODS)
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


@every(*PRUNING, "downsample")
def test_the_smallest_keep_leaves_cls_and_a_patch(
    encoder: Subject, name: str, pixels: Tensor
) -> None:
    """However small keep is, one patch stays."""
    with build(name, 1e-9).attach(encoder.model):
        assert leaving(encoder, DEPTH - 1, pixels).shape[1] == prefix_of(encoder) + 1


@every(*WITH_KEEP)
def test_a_keep_that_spares_nothing_is_no_special_case(
    encoder: Subject, name: str, pixels: Tensor
) -> None:
    """At a keep just below 1 every patch stays, whatever the hooks do to it."""
    assert (
        counted(encoder, build(name, 0.999), pixels)[:DEPTH]
        == [tokens_of(family_of(encoder), encoder.model.config.image_size)] * DEPTH
    )
