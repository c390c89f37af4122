"""The companions of CosSim in words: shown beside it, never gated."""

from efficarch.record import Measurement, Weights

from .formats import cossim, number


def companions(measured: Measurement) -> tuple[str, ...]:
    """Return a line for each companion that was measured; none on random weights."""
    if measured.weights is Weights.RANDOM:
        return ()
    quality = measured.quality
    figures = (
        ("centred", quality.centred, cossim),
        ("unrelated", quality.unrelated, cossim),
        ("R@1", quality.retrieval, _share),
        ("zero-shot same", quality.agreement, _share),
        ("zero-shot KL", quality.divergence_nats, number),
        ("accuracy kept", quality.accuracy_kept, _share),
        ("next token same", quality.next_token_agreement, _share),
        ("next token KL", quality.next_token_nats, number),
        ("answer KL", quality.answer_nats, number),
    )
    return tuple(f"{name} {write(value)}" for name, value, write in figures if value is not None)


def _share(value: float) -> str:
    return f"{value:.3f}"
