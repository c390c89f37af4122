"""Cases on which a selective-scan backend is held to the float64 oracle before it is timed."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from efficarch.errors import EfficarchError
from efficarch.scan import naive
from efficarch.scan.backends import Backend, Inputs, Row, Run
from efficarch.scan.base import ScanInputs, ScanOutput

# B batch, D channels, N state size, L length, G groups of channels that share B and C

TOLERANCES = {
    torch.float64: (0.0, 1e-9),
    torch.float32: (0.0, 1e-4),
    torch.float16: (3e-3, 5e-3),
    torch.bfloat16: (3e-2, 5e-2),
}
"""Per dtype, the relative and absolute tolerance against the oracle; of the half dtypes those of
mamba-ssm's own test (``tests/ops/test_selective_scan.py``), of the wide ones our tighter ones."""


@dataclass(frozen=True)
class Case:
    """One drawing of inputs with the sizes and distributions of mamba-ssm's own test.

    With ``strided``, the length comes last but steps do not adjoin in memory: the layout that a
    layer's projections leave behind.
    """

    length: int
    groups: int = 1
    batch: int = 2
    channels: int = 4
    state: int = 8
    skip: bool = True
    gate: bool = True
    bias: bool = True
    softplus: bool = True
    strided: bool = False
    seed: int = 0

    def inputs(self) -> ScanInputs:
        """Draw float32 inputs on the CPU: A = -0.5 U, delta = bias = 0.5 U, the rest normal."""
        rng = torch.Generator().manual_seed(self.seed)
        per_step = (self.batch, self.channels, self.length)
        projected = (self.batch, self.groups, self.state, self.length)
        drawn = ScanInputs(
            u=torch.randn(per_step, generator=rng),
            delta=0.5 * torch.rand(per_step, generator=rng),
            A=-0.5 * torch.rand(self.channels, self.state, generator=rng),
            B=torch.randn(projected, generator=rng),
            C=torch.randn(projected, generator=rng),
            D=torch.randn(self.channels, generator=rng) if self.skip else None,
            z=torch.randn(per_step, generator=rng) if self.gate else None,
            delta_bias=0.5 * torch.rand(self.channels, generator=rng) if self.bias else None,
            delta_softplus=self.softplus,
        )
        return _length_first(drawn) if self.strided else drawn


PREFLIGHT = (
    Case(1),
    Case(7, groups=2, gate=False),
    Case(63, skip=False, bias=False, softplus=False),
    # one block of a vector kernel and a rest, of channels and of states
    Case(130, channels=36, groups=2, state=5, softplus=False),
    Case(372, groups=2, state=16, strided=True),
    Case(1134, bias=False),
)
"""The few cases that a backend has to pass in every session before it is timed."""


class Drawn(Inputs, Protocol):
    """Inputs of a scan that can be had in another dtype and on another device."""

    @property
    def working_dtype(self) -> torch.dtype:
        """The dtype of the recurrence."""
        ...

    def to(self: "AnyDrawn", dtype: torch.dtype, device: str | None = None) -> "AnyDrawn":
        """Return a copy in ``dtype``."""
        ...


AnyDrawn = TypeVar("AnyDrawn", bound=Drawn)

Judge = Callable[[str, ScanOutput, Tensor, torch.dtype], str | None]
"""Given a name, what a backend returned, the oracle's and a dtype, says what is wrong."""


@dataclass(frozen=True)
class Standard(Generic[AnyDrawn]):
    """What the backends of one table are held to: an oracle, and the inputs to compare it on.

    ``judge`` says what is wrong with a tensor, or nothing. It is told the dtype that the tensor is
    due to: that of the inputs, for a last state at least float32 unless ``rounds_state``.
    """

    oracle: Run[AnyDrawn]
    cases: tuple[Callable[[], AnyDrawn], ...]
    judge: Judge
    rounds_state: bool = False

    def require(self, row: Row[AnyDrawn], device: str, dtype: torch.dtype) -> None:
        """Refuse to time a backend that is wrong; the cases run once per session.

        Raises:
            EfficarchError: an output or a last state is outside the tolerances.
        """
        wrong = _first_failure(self, row, torch.device(device).type, dtype)
        if wrong is not None:
            raise EfficarchError(
                f"backend {row.name!r} is wrong on {device} in {dtype}, so it is not timed: {wrong}"
            )

    def difference(self, row: Row[AnyDrawn], inputs: AnyDrawn) -> str | None:
        """Say what differs from the oracle by more than the tolerances, or nothing."""
        with torch.no_grad():
            # what is timed is the call without the last state
            alone = row.run(inputs)
            output, state = row.run(inputs, return_last_state=True)
            expected, last = self.oracle(inputs.to(torch.float64), return_last_state=True)
        narrow = next(iter(inputs.tensors().values())).dtype
        wide = narrow if self.rounds_state else inputs.working_dtype
        return (
            self.judge("output", alone, expected, narrow)
            or self.judge("output beside the last state", output, expected, narrow)
            or self.judge("last state", state, last, wide)
        )


def misshapen(name: str, actual: ScanOutput, expected: Tensor) -> str | None:
    """Say that something is no tensor of the oracle's shape, or nothing."""
    if not isinstance(actual, Tensor):
        return f"its {name} is a {type(actual).__name__} and not one tensor"
    if actual.shape != expected.shape:
        return f"its {name} has shape {tuple(actual.shape)} and not {tuple(expected.shape)}"
    return None


def outside(name: str, actual: ScanOutput, expected: Tensor, dtype: torch.dtype) -> str | None:
    """Say that an element is outside ``TOLERANCES``, or nothing."""
    if not isinstance(actual, Tensor) or actual.shape != expected.shape:
        return misshapen(name, actual, expected)
    rtol, atol = TOLERANCES[dtype]
    error = (actual.double() - expected).abs()
    # written so that NaN is outside
    if bool((error <= atol + rtol * expected.abs()).all()):
        return None
    return f"its {name} differs from the oracle's by up to {float(error.max()):.2g}"


STANDARD = Standard(naive.scan, tuple(case.inputs for case in PREFLIGHT), outside)


def require(backend: Backend, device: str, dtype: torch.dtype) -> None:
    """Refuse to time a selective-scan backend that is wrong; the cases run once per session.

    Raises:
        EfficarchError: an output or a last state is outside ``TOLERANCES``.
    """
    STANDARD.require(backend, device, dtype)


def difference(backend: Backend, inputs: ScanInputs) -> str | None:
    """Say what differs from the oracle by more than ``TOLERANCES``, or nothing."""
    return STANDARD.difference(backend, inputs)


@cache
def _first_failure(
    standard: Standard[AnyDrawn], row: Row[AnyDrawn], device: str, dtype: torch.dtype
) -> str | None:
    for case in standard.cases:
        drawn = case().to(dtype, device)
        problem = standard.difference(row, drawn)
        if problem is not None:
            return f"{problem} on inputs {_shapes(drawn)}"
    return None


def _shapes(inputs: Inputs) -> str:
    return ", ".join(f"{name} {tuple(x.shape)}" for name, x in inputs.tensors().items())


def _length_first(inputs: ScanInputs) -> ScanInputs:
    """Lay the length out before the axis it follows, [.., X, L] in the memory of [.., L, X]."""
    changed = {
        name: tensor.transpose(-1, -2).contiguous().transpose(-1, -2)
        for name in ("u", "delta", "B", "C", "z")
        if (tensor := getattr(inputs, name)) is not None
    }
    return replace(inputs, **changed)
