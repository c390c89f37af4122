"""The selective scan on the CPU in C++: vectors of channels, states in registers, own exponential.

The recurrence of Mamba (arXiv 2312.00752, section 3.2; Euler input term ``delta * B * u`` as in
the reference code) and its fused multi-resolution form, whose plain twin is
``efficarch/scan/mrss/sequential.py``. The kernels are in ``native``; they compile on first use.
"""

import torch
from torch import Tensor

from efficarch.errors import EfficarchError
from efficarch.scan import native_library
from efficarch.scan.base import ScanInputs, ScanOutput, needs_gradients
from efficarch.scan.mrss.ladder import Ladder, are_equal
from efficarch.scan.mrss.plan import Plan
from efficarch.scan.native_library import missing

__all__ = ["missing", "mrss_scan", "scan"]

# B batch, D channels, N state size, L length, G groups of channels that share B and C


def scan(inputs: ScanInputs, *, return_last_state: bool = False) -> ScanOutput:
    """Run the scan of ``inputs``, any length, on the threads of ``torch.set_num_threads``.

    Computes in the dtype of ``u``, at least float32; float64 is correct, not fast. Returns
    [B, D, L] in the dtype and, where it is dense, the memory layout of ``u``, and, if asked, the
    last state [B, D, N] in the computing dtype. Half dtypes, B and C, and sequences in which
    neither steps nor channels adjoin in memory are copied first. Blocks of channels do not depend
    on each other, so the result is the same bit for bit for any number of threads.

    Raises:
        EfficarchError: tensors not on the CPU or in need of gradients, or no working compiler.
    """
    return _run(inputs, None, return_last_state)


def mrss_scan(inputs: ScanInputs, plan: Plan, *, return_last_state: bool = False) -> ScanOutput:
    """Run the fused multi-resolution scan: the updates of ``plan.deferred`` [B, L] are deferred.

    A deferred token runs one exponential for all its states, as in
    ``efficarch.scan.mrss.sequential.scan``. Where the plain scan needs no more, since the states of
    each channel decay alike, and for a plan that defers nothing the plain scan itself runs.

    Raises:
        ValueError: the plan was made for inputs of another shape.
        EfficarchError: as for ``scan``.
    """
    plan.check_matches(inputs.u.shape[0], inputs.length)
    deferred = plan.deferred.contiguous() if plan.defers else None  # [B, L]
    return _run(inputs, deferred, return_last_state)


def exp(x: Tensor) -> Tensor:
    """Return e^x of a float32 tensor as softplus and gate compute it; for testing them."""
    native_library.load()
    result: Tensor = torch.ops.efficarch.exponential(x.contiguous(), False)
    return result


def exp2(x: Tensor) -> Tensor:
    """Return 2^x of a finite float32 tensor as the recurrence computes it; to test and time it."""
    native_library.load()
    result: Tensor = torch.ops.efficarch.exponential(x.contiguous(), True)
    return result


def _run(inputs: ScanInputs, deferred: Tensor | None, return_last_state: bool) -> ScanOutput:
    _check(inputs)
    native_library.load()
    dtype = inputs.working_dtype
    A = inputs.A.to(dtype).contiguous()
    base = rung = None
    if are_equal(A):  # one exponential serves all states of a step, deferred or not
        base, deferred = A[:, 0].contiguous(), None
    elif deferred is not None:
        ladder = Ladder(A)
        base, rung = ladder.base, ladder.rung
    out, state = torch.ops.efficarch.scan(
        _sequences(inputs.u, dtype),
        _sequences(inputs.delta, dtype),
        A,
        inputs.grouped_B.transpose(-1, -2).contiguous(),  # [B, G, L, N]
        inputs.grouped_C.transpose(-1, -2).contiguous(),  # [B, G, L, N]
        None if inputs.D is None else inputs.D.to(dtype).contiguous(),
        None if inputs.z is None else _sequences(inputs.z, dtype),
        None if inputs.delta_bias is None else inputs.delta_bias.to(dtype).contiguous(),
        inputs.delta_softplus,
        deferred,
        base,
        None if rung is None else rung.int(),
    )
    out = out.to(inputs.u.dtype)
    return (out, state) if return_last_state else out


def _check(inputs: ScanInputs) -> None:
    if inputs.u.device.type != "cpu":
        raise EfficarchError(
            f"the cpp backend runs on the CPU and got a tensor on {inputs.u.device}; use chunked"
        )
    if needs_gradients(inputs.tensors()):
        raise EfficarchError(
            "the cpp backend has no gradients and an input requires one; "
            "use chunked, or torch.no_grad()"
        )


def _sequences(x: Tensor, dtype: torch.dtype) -> Tensor:  # [B, D, L] -> [B, D, L]
    """Return ``x`` in ``dtype`` with steps or channels adjoining, the layouts the kernel reads."""
    x = x.detach().to(dtype)
    return x if 1 in (x.stride(1), x.stride(2)) else x.contiguous()
