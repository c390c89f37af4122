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
from efficarch.scan.flops import attention_flops, scan_flops
from efficarch.scan.naive import scan as oracle

ORACLE_LENGTH = 2048
"""Longest sequence of a scaling contest whose output is compared with the oracle's."""


@dataclass(frozen=True)
class Attention:
    """Causal attention of the width and batch of a scan's inputs, on seeded ones of its own."""

    like: ScanInputs
    heads: int
    seed: int

    def call_at(self, length: int) -> Call:
        """Return a call at a length; its inputs are drawn here."""
        u = self.like.u
        qkv = synthetic_qkv(
            batch=u.shape[0],
            heads=self.heads,
            head_dim=self.head_dim,
            length=length,
            seed=self.seed,
            device=u.device,
            dtype=u.dtype,
        )
        return lambda: causal_attention(*qkv)

    def flops_at(self, length: int) -> int:
        """Return the FLOPs of a call at a length."""
        batch = self.like.u.shape[0]
        return attention_flops(batch=batch, heads=self.heads, head_dim=self.head_dim, length=length)

    @property
    def head_dim(self) -> int:
        """E, the width of one head."""
        return self.like.channels // self.heads


def scan_contest(backend: Backend, inputs: ScanInputs, *, heads: int, seed: int) -> Contest:
    """Set a selective-scan backend against causal attention of the same width and length.

    CosSim is that of the output at each position with the float64 oracle's. FLOPs are counted by
    formula, since a scan consists of what torch's counter leaves out.
    """
    batch, length = inputs.u.shape[0], inputs.length
    attention = Attention(inputs, heads, seed)
    subject = Arm(call=lambda: backend.run(inputs))
    reference = Arm(call=attention.call_at(length))
    kind = inputs.u.device.type
    return Contest(
        subject=subject,
        reference=reference,
        costs=Costs((length,), _flops(inputs, length), peak_bytes(subject.call, kind)),
        reference_costs=Costs(
            (length,), attention.flops_at(length), peak_bytes(reference.call, kind)
        ),
        cossim=_cossim(backend, inputs),
        cossim_items=(),
        quality=Quality(),
        items=batch * length,
        weights=Weights.NONE,
        source=_source(inputs, heads),
        backend=backend.name,
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
    attention = Attention(checked, heads, seed)

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
    exact, output = oracle(inputs.double()), backend.run(inputs)
    if not isinstance(exact, Tensor) or not isinstance(output, Tensor):
        raise TypeError("a scan without return_last_state returns one tensor")
    positions = (inputs.u.shape[0] * inputs.length, inputs.channels)
    similarity = cosine_rows(
        output.transpose(1, 2).reshape(positions), exact.transpose(1, 2).reshape(positions)
    )
    return summarise(similarity)


def _source(inputs: ScanInputs, heads: int) -> str:
    return f"synthetic inputs, {inputs.channels} channels, state {inputs.state}, {heads} heads"
