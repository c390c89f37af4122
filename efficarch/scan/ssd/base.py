"""What every SSD backend takes, and the arithmetic before and after the recurrence.

Mamba-2, arXiv 2405.21060, section 2.2: a selective scan with one decay per head. As in the
reference code, and as for Mamba, the input term is Euler's, ``dt * B * x``.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from efficarch.scan.base import (
    MAX_STATE,
    ScanInputs,
    ScanOutput,
    check_dtypes_and_devices,
    expect_shape,
    refuse_negative_steps,
)
from efficarch.scan.base import synthetic_inputs as synthetic_channels

# B batch, L length, H heads, P channels of a head, N state size, G groups of heads that share B
# and C

PARAMETERS = ("A", "D", "dt_bias")
"""What belongs to the layer and stays wide beside half-precision activations."""


@dataclass(frozen=True, eq=False)
class SsdInputs:
    """The arguments of one SSD scan, checked, in mamba-ssm's layout.

    ``x``, ``z`` are [B, L, H, P]; ``dt`` is [B, L, H]; ``B``, ``C`` are [B, L, G, N], where the H
    heads fall into G equal runs, N at most ``MAX_STATE``; ``A``, ``D``, ``dt_bias`` are [H].
    These three are float32 or float64, the others share one floating dtype, all are on one device.
    Only shapes, dtypes and devices are looked at, never a value.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit together.
    """

    x: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None = None
    z: Tensor | None = None
    dt_bias: Tensor | None = None
    dt_softplus: bool = False

    def __post_init__(self) -> None:
        if self.x.ndim != 4 or self.x.numel() == 0:
            raise ValueError(
                f"x has shape {tuple(self.x.shape)}, expected (batch, length, heads, channels of "
                "a head), each at least 1"
            )
        batch, length, heads, _ = self.x.shape
        expect_shape("dt", self.dt, "(batch, length, heads)", (batch, length, heads))
        expect_shape("z", self.z, "(batch, length, heads, channels)", self.x.shape)
        for name in PARAMETERS:
            expect_shape(name, getattr(self, name), "(heads,)", (heads,))
        self._check_groups()
        shared = (batch, length, self.groups, self.state)
        for name in ("B", "C"):
            expect_shape(name, getattr(self, name), "(batch, length, groups, state)", shared)
        check_dtypes_and_devices(self.tensors(), wide=PARAMETERS)

    def _check_groups(self) -> None:
        given = f"B has shape {tuple(self.B.shape)}, expected"
        if self.B.ndim != 4:
            raise ValueError(f"{given} (batch, length, groups, state)")
        if not 1 <= self.state <= MAX_STATE:
            raise ValueError(f"{given} a state (its last axis) of 1 to {MAX_STATE}")
        if self.groups == 0 or self.heads % self.groups:
            raise ValueError(f"{given} a number of groups that divides the {self.heads} heads")

    @property
    def length(self) -> int:
        """L, the number of steps."""
        return self.x.shape[1]

    @property
    def heads(self) -> int:
        """H, the number of heads."""
        return self.x.shape[2]

    @property
    def head_dim(self) -> int:
        """P, the number of channels of a head."""
        return self.x.shape[3]

    @property
    def groups(self) -> int:
        """G, the number of groups of heads."""
        return self.B.shape[2]

    @property
    def state(self) -> int:
        """N, the state size of one channel."""
        return self.B.shape[3]

    @property
    def working_dtype(self) -> torch.dtype:
        """The dtype of the recurrence: that of ``x``, at least float32."""
        return torch.promote_types(self.x.dtype, torch.float32)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that are there by their names."""
        return {name: each for name, each in vars(self).items() if isinstance(each, Tensor)}

    def to(self, dtype: torch.dtype, device: torch.device | str | None = None) -> "SsdInputs":
        """Return a copy in ``dtype``; ``A``, ``D`` and ``dt_bias`` stay float32 or wider."""
        wide = torch.promote_types(dtype, torch.float32)
        tensors: dict[str, Any] = {
            name: tensor.to(device=device, dtype=wide if name in PARAMETERS else dtype)
            for name, tensor in self.tensors().items()
        }
        return replace(self, **tensors)

    def double(self) -> "SsdInputs":
        """Return a float64 copy, the input of the oracle."""
        return self.to(torch.float64)


def require_no_negative_step(inputs: SsdInputs) -> None:
    """Refuse steps below zero; see the selective scan's function of this name.

    Raises:
        ValueError: a step, bias included, is below zero.
    """
    if not inputs.dt_softplus:
        refuse_negative_steps("dt", inputs.dt, inputs.dt_bias, axis=2)


def step_sizes(inputs: SsdInputs) -> Tensor:
    """Return dt after its bias and softplus, [B, L, H] in ``working_dtype``."""
    steps = inputs.dt.to(inputs.working_dtype)  # [B, L, H]
    if inputs.dt_bias is not None:
        steps = steps + inputs.dt_bias.to(steps.dtype)
    return F.softplus(steps) if inputs.dt_softplus else steps


def skip_and_gate(inputs: SsdInputs, y: Tensor) -> Tensor:
    """Return ``(y + D * x) * silu(z)`` in the dtype of ``x``, [B, L, H, P] -> [B, L, H, P]."""
    if inputs.D is not None:
        y = y + inputs.D.to(y.dtype)[:, None] * inputs.x.to(y.dtype)
    if inputs.z is not None:
        y = y * F.silu(inputs.z.to(y.dtype))
    return y.to(inputs.x.dtype)


def per_channel(inputs: SsdInputs) -> ScanInputs:
    """Write the scan as a selective scan of H * P channels, those of a head alike.

    A head is P channels that share one decay, one step, B and C (arXiv 2405.21060, section 2.2), so
    any backend of the selective scan can run it. In ``working_dtype``, at H * P steps a step.
    """
    width, dtype = inputs.head_dim, inputs.working_dtype
    B, C = (each.permute(0, 2, 3, 1).to(dtype) for each in (inputs.B, inputs.C))  # [B, G, N, L]
    return ScanInputs(
        u=inputs.x.flatten(2).transpose(1, 2).to(dtype),
        delta=step_sizes(inputs).repeat_interleave(width, dim=2).transpose(1, 2),
        A=inputs.A.to(dtype).repeat_interleave(width)[:, None].expand(-1, inputs.state),
        B=B,
        C=C,
        D=None if inputs.D is None else inputs.D.to(dtype).repeat_interleave(width),
        z=None if inputs.z is None else inputs.z.flatten(2).transpose(1, 2).to(dtype),
    )


def per_head(output: ScanOutput, inputs: SsdInputs) -> ScanOutput:
    """Return what the selective scan of ``per_channel(inputs)`` returned in the layout of SSD.

    [B, H P, L] -> [B, L, H, P] in the dtype of ``x``, and the state [B, H P, N] -> [B, H, P, N].
    """
    y, state = (output, None) if isinstance(output, Tensor) else output
    out = y.transpose(1, 2).reshape(inputs.x.shape).to(inputs.x.dtype)
    return out if state is None else (out, state.unflatten(1, inputs.x.shape[2:]))


def synthetic_inputs(
    *,
    batch: int,
    heads: int,
    head_dim: int,
    state: int,
    length: int,
    seed: int,
    device: torch.device | str,
    dtype: torch.dtype,
) -> SsdInputs:
    """Return seeded inputs with the statistics of a freshly initialised Mamba-2 layer.

    ``A`` is uniform in [-16, -1], ``D = 1`` (arXiv 2405.21060, the authors' code); the step sizes
    of heads are those that `scan.base.synthetic_inputs` gives channels; ``x``, ``B``, ``C`` are
    standard normal. One group. Drawn on the CPU in float32, so every device gets the same numbers.
    """
    drawn = synthetic_channels(
        batch=batch,
        channels=heads,
        state=state,
        length=length,
        seed=seed,
        device="cpu",
        dtype=torch.float32,
    )
    rng = torch.Generator().manual_seed(seed + 1)
    inputs = SsdInputs(
        x=torch.randn(batch, length, heads, head_dim, generator=rng),
        dt=drawn.delta.transpose(1, 2),
        A=-1 - 15 * torch.rand(heads, generator=rng),
        B=drawn.B.transpose(1, 2)[:, :, None],
        C=drawn.C.transpose(1, 2)[:, :, None],
        D=torch.ones(heads),
        dt_bias=drawn.delta_bias,
        dt_softplus=True,
    )
    return inputs.to(dtype, device)
