"""How close a reduced output stays to its reference: CosSim, and what is shown beside it.

Everything is worked in float64. Output that is not finite counts as the worst there is, on either
side: it must never pass a floor or look good in a column.

# n images (or tokens), c channels, k classes
"""

from math import log

import torch
from torch import Tensor
from torch.nn import functional

from efficarch.record import CosSim

BROKEN_NATS = 1000.0
"""What a distribution with a number in it that is not finite counts as."""
TIE = 1e-9
"""Similarities closer than this are equal: two copies of one image differ by rounding alone."""


def cosine_rows(subject: Tensor, reference: Tensor) -> Tensor:  # [n, c], [n, c] -> [n]
    """Return the cosine similarity of each row with its reference, in float64.

    A row that is not finite has similarity -1: broken output must never pass a floor.
    """
    similarity = functional.cosine_similarity(subject.double(), reference.double(), dim=-1)
    return similarity.nan_to_num(nan=-1.0).clamp(-1.0, 1.0)


def summarise(similarity: Tensor) -> CosSim:
    """Return mean, 5th percentile and minimum of row similarities."""
    return CosSim(
        mean=float(similarity.mean()),
        p5=float(similarity.quantile(0.05)),
        minimum=float(similarity.min()),
        items=similarity.numel(),
    )


def centred(subject: Tensor, reference: Tensor) -> float:  # [n, c], [n, c]
    """Return the mean CosSim after the reference rows' mean was taken off both sides.

    Embeddings that all lie in one direction are similar whatever became of them; around their mean
    they are not. A reference row that is not finite spoils the mean, and so every row.
    """
    mean = reference.double().mean(dim=0)
    return float(cosine_rows(subject.double() - mean, reference.double() - mean).mean())


def unrelated(reference: Tensor) -> float:  # [n, c]
    """Return the mean CosSim over all pairs of different rows: what a useless method would reach.

    With a row that is not finite it is 1, so that nothing stands out above it.
    """
    unit = functional.normalize(reference.double(), dim=-1)
    count = unit.shape[0]
    # the square of the sum holds every pair twice, and every row with itself
    pairs = unit.sum(dim=0).square().sum() - unit.square().sum()
    return float((pairs / (count * (count - 1))).nan_to_num(nan=1.0))


def retrieval(subject: Tensor, reference: Tensor) -> float:  # [n, c], [n, c]
    """Return the share of rows that are more similar to their own reference than to any other.

    R@1 with the subject as query and the reference rows as gallery; a tie is a miss, so a gallery
    that collapsed to one point finds nothing. A reference row that is not finite fails every query.
    """
    query = functional.normalize(subject.double(), dim=-1)
    gallery = functional.normalize(reference.double(), dim=-1)
    similarity = query @ gallery.T  # [n, n]
    own = similarity.diagonal()
    itself = torch.eye(len(own), dtype=torch.bool, device=own.device)
    # max and > let NaN through as NaN and as false: a miss
    nearest_other = similarity.masked_fill(itself, -torch.inf).max(dim=-1).values
    return float((own > nearest_other + TIE).double().mean())


def class_logits(images: Tensor, texts: Tensor, scale: float) -> Tensor:  # [n, c], [k, c] -> [n, k]
    """Return scaled cosine similarities of images and class prompts, CLIP (arXiv 2103.00020).

    SigLIP (arXiv 2303.15343) puts a sigmoid on each such logit plus one bias for all. Given that
    exactly one class is right, those independent probabilities are the softmax of the logits, and
    the bias cancels: its predictions over a list of classes are read as CLIP's are.
    """
    unit = functional.normalize(images.double(), dim=-1)
    return scale * (unit @ functional.normalize(texts.double(), dim=-1).T)


def agreement(subject: Tensor, reference: Tensor) -> float:  # logits [n, k], [n, k]
    """Return the share of images with the same top-1 class; none where a logit is not finite."""
    same = subject.argmax(dim=-1) == reference.argmax(dim=-1)
    return float((same & _finite(subject, reference)).double().mean())


def divergence_nats(subject: Tensor, reference: Tensor, *, worst: float) -> float:
    """Return the mean KL(reference || subject) of class predictions, in nats.

    Args:
        subject: logits, [n, k].
        reference: logits, [n, k].
        worst: what an image counts whose logits are not finite; infinity would spoil the run file.
    """
    log_p, log_q = reference.log_softmax(dim=-1), subject.log_softmax(dim=-1)
    rows = (log_p.exp() * (log_p - log_q)).sum(dim=-1).clamp_min(0)  # rounding goes below zero
    return float(torch.where(_finite(subject, reference), rows, worst).mean())


def worst_divergence_nats(scale: float, classes: int) -> float:
    """Return a bound no KL between two predictions from `class_logits` exceeds.

    Logits lie in [-scale, scale], so no class is less probable than exp(-2 * scale) / classes.
    """
    return 2 * scale + log(classes)


def accuracy_kept(subject: Tensor, reference: Tensor, labels: Tensor) -> float | None:
    """Return top-1 accuracy over the reference's: logits [n, k], [n, k] and class indices [n].

    An image with a logit that is not finite on either side is lost. ``None`` where the reference
    gets no image right, since nothing can be kept then.
    """
    right = reference.argmax(dim=-1) == labels
    kept = (subject.argmax(dim=-1) == labels) & _finite(subject, reference)
    return float(kept.sum() / right.sum()) if right.any() else None


def _finite(subject: Tensor, reference: Tensor) -> Tensor:  # [n, k], [n, k] -> [n]
    return subject.isfinite().all(dim=-1) & reference.isfinite().all(dim=-1)


def kl_nats(subject: Tensor, reference: Tensor) -> Tensor:  # [n, v], [n, v] -> [n]
    """Return KL(reference || subject) of next-token logits in nats, in float64."""
    wanted, found = (side.double().log_softmax(dim=-1) for side in (reference, subject))
    nats = functional.kl_div(found, wanted, reduction="none", log_target=True).sum(dim=-1)
    # rounding can make it a hair negative
    return nats.nan_to_num(nan=BROKEN_NATS, posinf=BROKEN_NATS).clamp(min=0)
