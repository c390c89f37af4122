"""A selective-scan backend against causal attention."""

from torch import Tensor

from efficarch.contests.base import Arm, Contest, Costs
from efficarch.probe import peak_bytes
from efficarch.quality import cosine_rows, summarise
from efficarch.record import Quality, Weights
from efficarch.scan import ScanInputs
from efficarch.scan.attention import causal_attention, synthetic_qkv
from efficarch.scan.backends import Backend
from efficarch.scan.flops import attention_flops, scan_flops
from efficarch.scan.naive import scan as oracle


def scan_contest(backend: Backend, inputs: ScanInputs, *, heads: int, seed: int) -> Contest:
    """Set a selective-scan backend against causal attention of the same width and length.

    CosSim is that of the output at each position with the float64 oracle's. FLOPs are counted by
    formula, since a scan consists of what torch's counter leaves out.
    """
    u = inputs.u
    batch, channels, length = u.shape
    head_dim = channels // heads
    qkv = synthetic_qkv(
        batch=batch,
        heads=heads,
        head_dim=head_dim,
        length=length,
        seed=seed,
        device=u.device,
        dtype=u.dtype,
    )
    subject = Arm(call=lambda: backend.run(inputs))
    reference = Arm(call=lambda: causal_attention(*qkv))
    exact, output = oracle(inputs.double()), backend.run(inputs)
    if not isinstance(exact, Tensor) or not isinstance(output, Tensor):
        raise TypeError("a scan without return_last_state returns one tensor")
    positions = (batch * length, channels)
    similarity = cosine_rows(
        output.transpose(1, 2).reshape(positions), exact.transpose(1, 2).reshape(positions)
    )
    kind = u.device.type
    flops = scan_flops(batch=batch, channels=channels, state=inputs.state, length=length)
    attention = attention_flops(batch=batch, heads=heads, head_dim=head_dim, length=length)
    return Contest(
        subject=subject,
        reference=reference,
        costs=Costs((length,), flops, peak_bytes(subject.call, kind)),
        reference_costs=Costs((length,), attention, peak_bytes(reference.call, kind)),
        cossim=summarise(similarity),
        cossim_items=(),
        quality=Quality(),
        items=batch * length,
        weights=Weights.NONE,
        source=f"synthetic inputs, {channels} channels, state {inputs.state}, {heads} heads",
        backend=backend.name,
    )
