"""What the tests of the Triton kernels run in processes of their own, as ``python -m``.

Triton decides when it is imported whether kernels run in its interpreter, so a test session cannot
have both that and its compiler. Prints one JSON object: what each case found wrong, or null.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from efficarch.scan import BACKENDS, ScanInputs, naive, triton_scan
from efficarch.scan.parity import Case, difference
from tests.scan.samples import largest_error

# B batch, D channels, N state size, L length


def compared(inputs: ScanInputs) -> str | None:
    """Say what differs from the float64 oracle beyond the tolerances of the dtype."""
    return difference(BACKENDS["triton"], inputs)


def lengths() -> dict[str, str | None]:
    """Run every length of the parity suite that an interpreter can, with one and two groups."""
    cases = [Case(n, groups=groups) for n in (1, 7, 63) for groups in (1, 2)]
    cases += [Case(372, batch=1), Case(372, groups=2, batch=1, softplus=False, gate=False)]
    return {str(case): compared(case.inputs()) for case in cases}


def halves() -> dict[str, str | None]:
    """Run half precision, whose recurrence is in float32 all the same."""
    return {
        f"{dtype} {groups}": compared(Case(40, groups=groups).inputs().to(dtype))
        for dtype in (torch.bfloat16, torch.float16)
        for groups in (1, 2)
    }


def shapes() -> dict[str, str | None]:
    """Run states that need padding, channels that fill no block or several, parts left out."""
    cases = [Case(5, state=state) for state in (1, 2, 5, 16, 100, 256)]
    cases += [Case(5, channels=channels) for channels in (1, 31, 32, 33, 70)]
    cases += [Case(5, channels=72, groups=2, batch=3), Case(5, channels=6, groups=6)]
    for name in ("skip", "gate", "softplus"):
        cases += [replace(Case(9, channels=40), **{name: False})]
    cases += [Case(9, skip=False, gate=False, softplus=False)]
    return {str(case): compared(case.inputs()) for case in cases}


def chunks() -> dict[str, str | None]:
    """Cut one length in all ways that differ: each has to give what one chunk gives."""
    inputs = Case(16, channels=40).inputs()
    whole = triton_scan.scan(inputs, chunk=16, return_last_state=True)
    found = {"whole": compared(inputs)}
    for chunk in (1, 5, 8, 15, 64):
        parts = triton_scan.scan(inputs, chunk=chunk, return_last_state=True)
        errors = [largest_error(*pair) for pair in zip(parts, whole, strict=True)]
        found[str(chunk)] = None if max(errors) <= 1e-5 else str(errors)
    return found


def strides() -> dict[str, str | None]:
    """Run tensors that are views of larger ones, transposed, or one value repeated."""
    inputs = Case(20, channels=6).inputs()

    def gaps(x: Tensor) -> Tensor:
        wide = torch.full((*(2 * size for size in x.shape),), float("nan"))
        view = wide[tuple(slice(1, None, 2) for _ in x.shape)]
        return view.copy_(x)

    def transposed(x: Tensor) -> Tensor:
        return x.transpose(-1, -2).contiguous().transpose(-1, -2) if x.ndim > 1 else x

    def repeated(x: Tensor) -> Tensor:
        return x[..., :1].expand_as(x)

    return {
        change.__name__: compared(
            replace(inputs, **{name: change(x) for name, x in inputs.tensors().items()})
        )
        for change in (gaps, transposed, repeated)
    }


def values() -> dict[str, str | None]:
    """Run steps of zero, steps so small that rounding eats them, and NaN."""
    inputs = Case(12).inputs()
    still = replace(inputs, delta=torch.zeros_like(inputs.u), delta_bias=None, delta_softplus=False)
    return {
        "zero step": compared(still),
        "small steps": _small_steps(),
        "no decay": compared(replace(inputs, A=torch.zeros_like(inputs.A))),
        "strong decay": compared(replace(inputs, A=1e4 * inputs.A)),
        "closed gate": compared(replace(inputs, z=-500 * inputs.u.abs())),
        "nan": _nan(inputs),
    }


def _small_steps() -> str | None:
    """Without decay and with ones elsewhere the output is the sum of the steps so far."""
    ones = torch.ones(1, 1, 6)
    raw = torch.tensor([-20.0, -10.0, -6.9, -3.0, 0.5, 30.0]).reshape(1, 1, 6)
    inputs = ScanInputs(ones, raw, torch.zeros(1, 1), ones, ones, delta_softplus=True)
    out, exact = triton_scan.scan(inputs), naive.scan(inputs.double())
    assert isinstance(out, Tensor)
    assert isinstance(exact, Tensor)
    worst = float(((out.double() - exact).abs() / exact).max())
    return None if worst <= 5e-7 else f"a step is off by {worst:.2g} of itself"


def _nan(inputs: ScanInputs) -> str | None:
    u = inputs.u.clone()
    u[1, 2, 5] = float("nan")
    out, state = triton_scan.scan(replace(inputs, u=u), chunk=4, return_last_state=True)
    expected = torch.zeros_like(out, dtype=torch.bool)
    expected[1, 2, 5:] = True
    right = torch.equal(out.isnan(), expected) and torch.equal(
        state.isnan().any(-1), expected[..., -1]
    )
    return None if right else f"NaN at {out.isnan().nonzero().tolist()}"


def compiled() -> dict[str, str | None]:
    """Compile every kernel for an NVIDIA GPU of compute capability 9.0, which needs none."""
    from efficarch.scan import triton_kernels

    found = {}
    for name in ("ends_kernel", "carry_kernel", "scan_kernel"):
        kernel = getattr(triton_kernels, name)
        for dtype in ("fp32", "bf16", "fp16"):
            found[f"{name} {dtype}"] = _compile(kernel, dtype, states=16)
        found[f"{name} 256 states"] = _compile(kernel, "fp32", states=256)
    bare = ("bias", "skip", "z", "starts")
    found["scan_kernel bare"] = _compile(triton_kernels.scan_kernel, "fp32", 16, without=bare)
    return found


def _compile(kernel: Any, dtype: str, states: int, without: tuple[str, ...] = ()) -> str | None:
    """Compile a kernel; data that moves between lanes would go through shared memory."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    fixed = {"SOFTPLUS": True, "BLOCK": triton_scan.BLOCK, "STATES": states}
    types = dict.fromkeys(("u", "delta", "z", "out"), f"*{dtype}")
    types |= dict.fromkeys(("length", "chunk", "chunks", "groups", "width"), "i32")
    signature, constants = {}, {}
    for name in kernel.arg_names:
        if name in fixed or name in without:
            signature[name], constants[name] = "constexpr", fixed.get(name)
        else:
            signature[name] = types.get(name, "*fp32")
    binary = triton.compile(
        ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs={}),
        target=GPUTarget("cuda", 90, 32),
        options={
            "num_warps": max(1, states // triton_scan.STATES_PER_WARP),
            "enable_fp_fusion": True,
        },
    )
    if not binary.asm["cubin"]:
        return "no machine code"
    shared = int(binary.metadata.shared)
    return None if shared == 0 or states > 32 else f"{shared} bytes of shared memory"


GROUPS: dict[str, Callable[[], dict[str, str | None]]] = {
    each.__name__: each for each in (lengths, halves, shapes, chunks, strides, values, compiled)
}

if __name__ == "__main__":
    json.dump(GROUPS[sys.argv[1]](), sys.stdout)
