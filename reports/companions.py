"""The companions of CosSim in words: shown beside it, never gated."""

from efficarch.record import Measurement, Weights

from .formats import cossim, number


def companions(measured: Measurement) -> tuple[str, ...]:
    """Return lines of the companions that were measured; none on random weights."""
    if measured.weights is Weights.RANDOM:
        return ()
    quality = measured.quality
    groups = (
        (("centred", quality.centred, cossim), ("unrelated", quality.unrelated, cossim)),
        (("R@1", quality.retrieval, _share),),
        (
            ("zero-shot same", quality.agreement, _share),
            ("zero-shot KL", quality.divergence_nats, number),
        ),
        (("accuracy kept", quality.accuracy_kept, _share),),
        (
            ("next token same", quality.next_token_agreement, _share),
            ("next token KL", quality.next_token_nats, number),
        ),
        (("answer KL", quality.answer_nats, number),),
    )
    lines = [
        [f"{name} {write(value)}" for name, value, write in group if value is not None]
        for group in groups
    ]
    return tuple(", ".join(line) for line in lines if line)


def _share(value: float) -> str:
    return f"{value:.3f}"
