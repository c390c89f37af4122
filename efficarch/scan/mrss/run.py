"""One entry to the multi-resolution selective scan, whatever the backend and the emission."""

from efficarch.errors import EfficarchError, UnknownNameError
from efficarch.scan.backends import BACKENDS, Backend, choose
from efficarch.scan.base import ScanInputs, ScanOutput, skip_and_gate
from efficarch.scan.mrss import sequential
from efficarch.scan.mrss.compact import compact, expand, local
from efficarch.scan.mrss.plan import Plan

# B batch, D channels, N state size, L length

EMISSIONS = ("readout", "hold+local", "hold")
"""What a deferred token puts out, the nearest to the exact scan first."""


def _compiled(inputs: ScanInputs, plan: Plan, *, return_last_state: bool = False) -> ScanOutput:
    from efficarch.scan import cpp  # compiles on first use, and imports this package

    return cpp.mrss_scan(inputs, plan, return_last_state=return_last_state)


FUSED = {"cpp": _compiled, "naive": sequential.scan}
"""Backends whose own kernel defers updates, the fastest first: ``readout`` needs the state."""


def mrss_scan(
    inputs: ScanInputs,
    plan: Plan,
    *,
    backend: str = "auto",
    emission: str = "readout",
    return_last_state: bool = False,
) -> ScanOutput:
    """Run the scan of ``inputs`` with the state updates of ``plan.deferred`` [B, L] deferred.

    A deferred token puts out, before skip term and gate, with ``readout`` what the state its run
    began with and the run's inputs give now (`sequential`); with ``hold`` the output of the last
    committed token; with ``hold+local`` that and what the run's own inputs give. The last two run
    on every backend, over fewer steps (`compact`); a plan that defers nothing is the plain scan.

    Returns:
        As ``selective_scan``: [B, D, L] in the dtype of ``u``, with ``return_last_state`` also the
        state [B, D, N].

    Raises:
        ValueError: the plan was made for inputs of another shape.
        UnknownNameError: no backend or emission has this name.
        EfficarchError: the backend cannot take these inputs, cannot run here or has no readout.
    """
    plan.check_matches(inputs.u.shape[0], inputs.length)
    row = chosen_backend(inputs, backend, emission)
    if not plan.defers:
        return row.run(inputs, return_last_state=return_last_state)
    if emission == "readout":
        return FUSED[row.name](inputs, plan, return_last_state=return_last_state)
    compacted = compact(inputs, plan)
    y, state = row.run(compacted.inputs, return_last_state=True)  # [B, D, K], [B, D, N]
    out = expand(y, compacted)  # [B, D, L]
    if emission == "hold+local":
        out = out + local(inputs, plan)
    out = skip_and_gate(inputs, out)
    return (out, state) if return_last_state else out


def chosen_backend(inputs: ScanInputs, backend: str, emission: str) -> Backend:
    """Return the backend that `mrss_scan` runs, never another than the one named.

    Raises:
        UnknownNameError: no backend or emission has this name.
        EfficarchError: the backend cannot take these inputs, cannot run here or has no readout.
    """
    if emission not in EMISSIONS:
        raise UnknownNameError.of("emission", emission, list(EMISSIONS))
    row = choose(backend, inputs)
    if emission != "readout" or row.name in FUSED:
        return row
    if backend == "auto":
        return BACKENDS["naive"]
    raise EfficarchError(
        f"backend {backend!r} has no kernel that defers updates, which emission 'readout' needs; "
        f"use {' or '.join(FUSED)}, or emission 'hold+local'"
    )
