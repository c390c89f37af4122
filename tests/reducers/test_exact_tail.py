"""Claims about the exact tail: the same embedding for less work."""

import pytest

from efficarch.errors import EfficarchError
from efficarch.models.base import Subject
from efficarch.models.images import packaged_photos
from efficarch.models.vit import blocks_of
from efficarch.probe import count_flops
from efficarch.reducers.exact_tail import ExactTail
from tests.models.samples import DEPTH, WITH_CLS, leaving, noise, tiny
from tests.reducers.samples import encoders, reduced, traces

ON_CLS = pytest.mark.parametrize("encoder", encoders(WITH_CLS), indirect=True)


@ON_CLS
def test_it_is_exact(encoder: Subject) -> None:
    """The embedding is the dense one up to rounding."""
    pixels = noise(encoder.model.config.image_size)
    dense = encoder.embed(pixels)

    assert (reduced(encoder, ExactTail(), pixels) - dense).norm() <= 1e-5 * dense.norm()


def test_it_is_exact_on_pretrained_weights(dinov2_small: Subject) -> None:
    """On the real DINOv2-small and real photos too, image by image."""
    pixels = dinov2_small.prepare(packaged_photos()[:2])
    dense = dinov2_small.embed(pixels)

    error = (reduced(dinov2_small, ExactTail(), pixels) - dense).norm(dim=-1)

    assert (error <= 1e-5 * dense.norm(dim=-1)).all()


@ON_CLS
def test_it_computes_cls_only(encoder: Subject) -> None:
    """One row leaves the last block, which is the first row of the dense one."""
    pixels = noise(encoder.model.config.image_size)
    dense = leaving(encoder, DEPTH - 1, pixels)

    with ExactTail().attach(encoder.model):
        row = leaving(encoder, DEPTH - 1, pixels)

    assert row.shape == (3, 1, 64)
    assert (row - dense[:, :1]).norm() <= 1e-5 * dense[:, :1].norm()


@ON_CLS
def test_it_spares_what_it_says(encoder: Subject) -> None:
    """Query, output projection, MLP and attention rows of all patches, counted by formula."""
    pixels = noise(encoder.model.config.image_size)
    block = blocks_of(encoder.model)[-1]
    batch, tokens, width = leaving(encoder, DEPTH - 1, pixels).shape
    weights = [block.query.weight, block.output.weight]
    weights += [p for p in block.mlp.parameters() if p.ndim == 2]
    per_row = sum(2 * weight.numel() for weight in weights) + 2 * (2 * tokens * width)

    dense = count_flops(lambda: encoder.embed(pixels))
    with ExactTail().attach(encoder.model):
        reduced_flops = count_flops(lambda: encoder.embed(pixels))

    assert dense - reduced_flops == batch * (tokens - 1) * per_row


def test_a_model_without_cls_is_refused() -> None:
    """SigLIP pools its patches: the error says so, names models that do, and leaves no trace."""
    model = tiny("siglip").model
    before = traces(model)

    with (
        pytest.raises(
            EfficarchError,
            match=r"SiglipVisionModel has no CLS token: .* use exact-tail on CLIP, DINOv2 or ViT",
        ),
        ExactTail().attach(model),
    ):
        pass

    assert traces(model) == before
