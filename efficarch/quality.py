"""How close a reduced output stays to its reference."""

from torch import Tensor
from torch.nn import functional

from efficarch.record import CosSim

BROKEN_NATS = 1000.0
"""What a distribution with a number in it that is not finite counts as."""


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


def kl_nats(subject: Tensor, reference: Tensor) -> Tensor:  # [n, v], [n, v] -> [n]
    """Return KL(reference || subject) of next-token logits in nats, in float64."""
    wanted, found = (side.double().log_softmax(dim=-1) for side in (reference, subject))
    nats = functional.kl_div(found, wanted, reduction="none", log_target=True).sum(dim=-1)
    # rounding can make it a hair negative
    return nats.nan_to_num(nan=BROKEN_NATS, posinf=BROKEN_NATS).clamp(min=0)
