"""What is shown beside the CosSim of an encoder, and never gated."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from efficarch.models.base import Subject, TextHead
from efficarch.models.texts import EVERYDAY, prompt
from efficarch.quality import (
    accuracy_kept,
    agreement,
    centred,
    class_logits,
    divergence_nats,
    retrieval,
    unrelated,
    worst_divergence_nats,
)
from efficarch.record import Quality, Weights


@dataclass
class Companions:
    """The companions of one model's cells; every list of classes is embedded once."""

    subject: Subject
    _heads: dict[tuple[str, ...], TextHead] = field(default_factory=dict)

    def of(self, reduced: Tensor, dense: Tensor, labels: Sequence[str | None]) -> Quality:
        """Return what can be measured of embeddings [n, channels] of images with these labels.

        Nothing of random weights, where quality has no meaning, nor of a single image, which has
        no other to be told from.
        """
        if self.subject.weights is not Weights.PRETRAINED or len(labels) < 2:
            return Quality()
        reduced, dense = reduced.cpu(), dense.cpu()
        known = Quality(
            centred=centred(reduced, dense),
            unrelated=unrelated(dense),
            retrieval=retrieval(reduced, dense),
        )
        head = self._head(EVERYDAY)
        if head is None:
            return known
        subject, reference = _logits(head, reduced), _logits(head, dense)
        worst = worst_divergence_nats(head.scale, len(EVERYDAY))
        return replace(
            known,
            agreement=agreement(subject, reference),
            divergence_nats=divergence_nats(subject, reference, worst=worst),
            accuracy_kept=self._accuracy_kept(reduced, dense, labels),
        )

    def _accuracy_kept(
        self, reduced: Tensor, dense: Tensor, labels: Sequence[str | None]
    ) -> float | None:
        """Compare accuracy over the images' own classes: where all have one, and not all the same.

        Among one class every answer is right.
        """
        known = [label for label in labels if label is not None]
        classes = tuple(sorted(set(known)))
        if len(known) < len(labels) or len(classes) < 2:
            return None
        head = self._head(classes)
        if head is None:
            return None
        wanted = torch.tensor([classes.index(label) for label in known])
        return accuracy_kept(_logits(head, reduced), _logits(head, dense), wanted)

    def _head(self, classes: tuple[str, ...]) -> TextHead | None:
        if classes not in self._heads and self.subject.classify is not None:
            self._heads[classes] = self.subject.classify([prompt(name) for name in classes])
        return self._heads.get(classes)


def _logits(head: TextHead, embeddings: Tensor) -> Tensor:
    return class_logits(embeddings, head.embeddings, head.scale)
