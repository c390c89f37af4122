"""A selective-scan backend against causal attention, at one length or over many."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from efficarch.contests.base import Arm, Call, Contest, Costs, LengthArm, ScalingContest
from efficarch.probe import peak_bytes
from efficarch.quality import cosine_rows, summarise
from efficarch.record import CosSim, Quality, Weights
from efficarch.scan import ScanInputs
from efficarch.scan.attention import causal_attention, synthetic_qkv
from efficarch.scan.backends import Backend
from efficarch.scan.base import ScanOutput
from efficarch.scan.flops import attention_flops, scan_flops, ssd_flops
from efficarch.scan.naive import scan as oracle
from efficarch.scan.ssd import SsdBackend, SsdInputs
from efficarch.scan.ssd.naive import scan as ssd_oracle

ORACLE_LENGTH = 2048
"""Longest sequence of a scaling contest whose output is compared with the oracle's."""


@dataclass(frozen=True)
class Attention:
    """Causal attention of the width and batch of a scan, on seeded inputs of its own.

    ``like`` is a tensor of the scan's inputs: its device, its dtype, its first size the batch.
    """

    like: Tensor
    heads: int
    head_dim: int
    seed: int

    def call_at(self, length: int) -> Call:
        """Return a call at a length; its inputs are drawn here."""
        qkv = synthetic_qkv(
            batch=self.like.shape[0],
            heads=self.heads,
            head_dim=self.head_dim,
            length=length,
            seed=self.seed,
            device=self.like.device,
            dtype=self.like.dtype,
        )
        return lambda: causal_attention(*qkv)

    def flops_at(self, length: int) -> int:
        """Return the FLOPs of a call at a length."""
        batch = self.like.shape[0]
        return attention_flops(batch=batch, heads=self.heads, head_dim=self.head_dim, length=length)


def scan_contest(backend: Backend, inputs: ScanInputs, *, heads: int, seed: int) -> Contest:
    """Set a selective-scan backend against causal attention of the same width and length.

    CosSim is that of the output at each position with the float64 oracle's. FLOPs are counted by
    formula, since a scan consists of what torch's counter leaves out.
    """
    return _against_attention(
        backend.name,
        lambda: backend.run(inputs),
        Attention(inputs.u, heads, inputs.channels // heads, seed),
        length=inputs.length,
        flops=_flops(inputs, inputs.length),
        cossim=_cossim(backend, inputs),
        source=_source(inputs, heads),
    )


def ssd_contest(backend: SsdBackend, inputs: SsdInputs, *, seed: int) -> Contest:
    """Set a backend of Mamba-2's scan against causal attention of the same heads and length.

    CosSim and FLOPs: as in `scan_contest`.
    """
    heads, head_dim, state = inputs.heads, inputs.head_dim, inputs.state
    exact, output = _tensor(ssd_oracle(inputs.double())), _tensor(backend.run(inputs))
    return _against_attention(
        backend.name,
        lambda: backend.run(inputs),
        Attention(inputs.x, heads, head_dim, seed),
        length=inputs.length,
        flops=ssd_flops(
            batch=inputs.x.shape[0],
            heads=heads,
            head_dim=head_dim,
            state=state,
            length=inputs.length,
        ),
        cossim=summarise(cosine_rows(*(each.flatten(2).flatten(0, 1) for each in (output, exact)))),
        source=f"synthetic inputs, {heads} heads of {head_dim}, state {state}",
    )


def _against_attention(
    name: str,
    scan: Call,
    attention: Attention,
    *,
    length: int,
    flops: int,
    cossim: CosSim,
    source: str,
) -> Contest:
    reference, kind = Arm(call=attention.call_at(length)), attention.like.device.type
    return Contest(
        subject=Arm(call=scan),
        reference=reference,
        costs=Costs((length,), flops, peak_bytes(scan, kind)),
        reference_costs=Costs(
            (length,), attention.flops_at(length), peak_bytes(reference.call, kind)
        ),
        cossim=cossim,
        cossim_items=(),
        quality=Quality(),
        items=attention.like.shape[0] * length,
        weights=Weights.NONE,
        source=source,
        backend=name,
    )


def scan_scaling_contest(
    backend: Backend,
    inputs: Callable[[int], ScanInputs],
    *,
    lengths: tuple[tuple[int, ...], tuple[int, ...]],
    fitted_from: tuple[int, int],
    heads: int,
    seed: int,
) -> ScalingContest:
    """Set a backend against causal attention over sequence length.

    Args:
        backend: the scan under test.
        inputs: returns the inputs of a length; of every length the same but for it.
        lengths: those of the scan and those of attention.
        fitted_from: where the slope of the scan and that of attention are fitted from.
        heads: heads of the attention.
        seed: of the attention's inputs.

    CosSim is that with the float64 oracle at the scan's longest length up to ``ORACLE_LENGTH``,
    since the oracle takes one step at a time.
    """
    checked = inputs(max((n for n in lengths[0] if n <= ORACLE_LENGTH), default=lengths[0][0]))
    attention = Attention(checked.u, heads, checked.channels // heads, seed)

    def scan_at(length: int) -> Call:
        prepared = inputs(length)
        return lambda: backend.run(prepared)

    return ScalingContest(
        subject=LengthArm(
            scan_at, lengths[0], lambda length: _flops(checked, length), fitted_from[0]
        ),
        reference=LengthArm(attention.call_at, lengths[1], attention.flops_at, fitted_from[1]),
        cossim=lambda: _cossim(backend, checked),
        batch=checked.u.shape[0],
        weights=Weights.NONE,
        source=_source(checked, heads),
        backend=backend.name,
    )


def _flops(inputs: ScanInputs, length: int) -> int:
    return scan_flops(
        batch=inputs.u.shape[0], channels=inputs.channels, state=inputs.state, length=length
    )


def _cossim(backend: Backend, inputs: ScanInputs) -> CosSim:
    exact, output = _tensor(oracle(inputs.double())), _tensor(backend.run(inputs))
    return summarise(cosine_rows(by_position(output), by_position(exact)))


def by_position(y: Tensor) -> Tensor:
    """Return a scan's output [B, D, L] as one row per position, [B * L, D]."""
    return y.transpose(1, 2).flatten(0, 1)


def _tensor(output: ScanOutput) -> Tensor:
    if not isinstance(output, Tensor):
        raise TypeError("a scan without return_last_state returns one tensor")
    return output


def _source(inputs: ScanInputs, heads: int) -> str:
    return f"synthetic inputs, {inputs.channels} channels, state {inputs.state}, {heads} heads"
