"""Operation counts by formula, of the algorithm and not of an implementation of it.

A multiply-add is 2 FLOP and every other operation 1, the exponential included.
"""


def scan_flops(*, batch: int, channels: int, state: int, length: int) -> int:
    """Return the FLOP of one selective scan with its skip term, without softplus and gate.

    | per | operations | FLOP |
    |---|---|---|
    | batch, channel, state, step | ``delta * A`` 1, ``exp`` 1, ``(delta u) * B`` 1, | |
    | | ``decay * h +`` 2, ``C * h`` summed over the state 2 | 7 |
    | batch, channel, step | ``delta * u`` 1, ``D * u +`` 2 | 3 |

    The recurrence of arXiv 2312.00752 with the Euler input term. Published counts differ: 9 per
    state and step is common, for it counts a discretised B of its own per channel. A chunked
    backend executes more than this; comparing times with it credits only the necessary work.
    """
    return batch * channels * length * (7 * state + 3)


def deferral_spares(state: int) -> int:
    """Return the FLOP that deferring one update of one channel spares, as `scan_flops` counts.

    Its decay alone: ``delta * A`` and ``exp``, 2 per state. Everything else is done, then or when
    the run commits. Time spared is far more than this share: an exponential counts as 1 here.
    """
    return 2 * state


def ssd_flops(*, batch: int, heads: int, head_dim: int, state: int, length: int) -> int:
    """Return the FLOP of one Mamba-2 scan with its skip term, as the recurrence, without softplus.

    | per | operations | FLOP |
    |---|---|---|
    | batch, head, channel, state, step | ``(dt x) * B`` 1, ``decay * h +`` 2, | |
    | | ``C * h`` summed over the state 2 | 5 |
    | batch, head, channel, step | ``dt * x`` 1, ``D * x +`` 2 | 3 |
    | batch, head, step | ``dt * A`` 1, ``exp`` 1 | 2 |

    arXiv 2405.21060, section 2.2. Its chunked algorithm executes more than this.
    """
    return batch * heads * length * (head_dim * (5 * state + 3) + 2)


def attention_flops(*, batch: int, heads: int, head_dim: int, length: int) -> int:
    """Return the FLOP of causal attention: half of the two full matrix products, no softmax.

    q k^T and its product with v take ``2 * L * L * E`` each per head; the mask leaves half, the
    convention of FlashAttention (arXiv 2307.08691, section 4.1).
    """
    full = 2 * (2 * length * length * head_dim)
    return batch * heads * full // 2
