"""What every selective-scan backend takes, and the arithmetic before and after the recurrence.

Mamba, arXiv 2312.00752, section 3.2 and algorithm 2. As in the reference code, and unlike the
paper's equation 4, the input term is Euler's, ``delta * B * u``: only the decay is zero-order hold.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

# B batch, D channels, N state size, L length, G groups of channels that share B and C

ScanOutput: TypeAlias = Tensor | tuple[Tensor, Tensor]
"""The output [B, D, L]; with ``return_last_state`` also the state [B, D, N] after the last step."""

STEP_RANGE = (1e-3, 1e-1)
"""Step sizes of a freshly initialised Mamba layer (arXiv 2312.00752, section 3.6)."""

MAX_STATE = 256
"""The largest state size, that of mamba-ssm's kernel, so that any backend can take over."""

PARAMETERS = ("A", "D", "delta_bias")
"""What belongs to the layer and stays wide beside half-precision activations."""

HALF = (torch.bfloat16, torch.float16)
WIDE = (torch.float64, torch.float32)
FLOATS = (*WIDE, *HALF)


@dataclass(frozen=True, eq=False)
class ScanInputs:
    """The arguments of one selective scan, checked, in mamba-ssm's layout.

    ``u``, ``delta``, ``z`` are [B, D, L]; ``A`` [D, N] is real, N at most ``MAX_STATE``; ``B``,
    ``C`` are [B, N, L], or [B, G, N, L] where the D channels fall into G equal runs; ``D``,
    ``delta_bias`` are [D]. ``A``, ``D`` and ``delta_bias`` are float32 or float64; the others share
    one dtype of ``FLOATS``. All are on one device.

    Only shapes, dtypes and devices are looked at, never a value: that would read the whole tensor,
    and on CUDA wait for it. NaN and infinity pass, and what depends on them comes out as NaN; steps
    below zero are refused by ``selective_scan``.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit together, or a complex ``A``.
    """

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None = None
    z: Tensor | None = None
    delta_bias: Tensor | None = None
    delta_softplus: bool = False

    def __post_init__(self) -> None:
        if self.u.ndim != 3 or self.u.numel() == 0:
            raise ValueError(
                f"u has shape {tuple(self.u.shape)}, expected (batch, channels, length), "
                "each at least 1"
            )
        batch, channels, length = self.u.shape
        if self.A.ndim != 2 or self.A.shape[0] != channels or self.A.is_complex():
            raise ValueError(
                f"A has shape {tuple(self.A.shape)} and dtype {self.A.dtype}, expected a real "
                f"(channels, state) = ({channels}, state)"
            )
        for name in ("delta", "z"):
            expect_shape(name, getattr(self, name), "(batch, channels, length)", self.u.shape)
        for name in ("D", "delta_bias"):
            expect_shape(name, getattr(self, name), "(channels,)", (channels,))
        self._check_state()
        self._check_groups()
        per_group = (batch, self.groups, self.state, length)
        for name in ("B", "C"):
            expect_shape(
                name, _grouped(getattr(self, name)), "(batch, groups, state, length)", per_group
            )
        check_dtypes_and_devices(self.tensors(), wide=PARAMETERS)

    def _check_state(self) -> None:
        if not 1 <= self.state <= MAX_STATE:
            raise ValueError(
                f"A has shape {tuple(self.A.shape)}, expected a state (its second axis) of "
                f"1 to {MAX_STATE}"
            )

    def _check_groups(self) -> None:
        for name, tensor in (("B", self.B), ("C", self.C)):
            if tensor.ndim not in (3, 4):
                raise ValueError(
                    f"{name} has shape {tuple(tensor.shape)}, expected (batch, state, length) "
                    "or (batch, groups, state, length)"
                )
        if self.groups == 0 or self.channels % self.groups:
            raise ValueError(
                f"B has shape {tuple(self.B.shape)}, expected a number of groups that divides "
                f"the {self.channels} channels"
            )

    @property
    def channels(self) -> int:
        """D, the number of channels."""
        return self.u.shape[1]

    @property
    def state(self) -> int:
        """N, the state size of one channel."""
        return self.A.shape[1]

    @property
    def length(self) -> int:
        """L, the number of steps."""
        return self.u.shape[2]

    @property
    def groups(self) -> int:
        """G, the number of groups of channels; 1 where B has no group axis."""
        return _grouped(self.B).shape[1]

    @property
    def grouped_B(self) -> Tensor:
        """B as [B, G, N, L], in ``working_dtype``."""
        return _grouped(self.B).to(self.working_dtype)

    @property
    def grouped_C(self) -> Tensor:
        """C as [B, G, N, L], in ``working_dtype``."""
        return _grouped(self.C).to(self.working_dtype)

    @property
    def working_dtype(self) -> torch.dtype:
        """The dtype of the recurrence: that of ``u``, at least float32."""
        return torch.promote_types(self.u.dtype, torch.float32)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that are there by their names."""
        return {name: each for name, each in vars(self).items() if isinstance(each, Tensor)}

    def to(self, dtype: torch.dtype, device: torch.device | str | None = None) -> "ScanInputs":
        """Return a copy in ``dtype``; ``A``, ``D`` and ``delta_bias`` stay float32 or wider."""
        wide = torch.promote_types(dtype, torch.float32)
        tensors: dict[str, Any] = {
            name: tensor.to(device=device, dtype=wide if name in PARAMETERS else dtype)
            for name, tensor in self.tensors().items()
        }
        return replace(self, **tensors)

    def double(self) -> "ScanInputs":
        """Return a float64 copy, the input of the oracle."""
        return self.to(torch.float64)


def needs_gradients(tensors: Mapping[str, Tensor]) -> bool:
    """Whether autograd would record what is computed from these tensors."""
    return torch.is_grad_enabled() and any(x.requires_grad for x in tensors.values())


def require_no_negative_step(inputs: ScanInputs) -> None:
    """Refuse steps below zero, which let states grow without bound; one reading of ``delta``.

    After a softplus there are none, so nothing is read. On another device than the CPU nothing is
    checked: the answer would have to be waited for. NaN is not below zero.

    Raises:
        ValueError: a step, bias included, is below zero.
    """
    if not inputs.delta_softplus:
        refuse_negative_steps("delta", inputs.delta, inputs.delta_bias, axis=1)


def refuse_negative_steps(name: str, steps: Tensor, bias: Tensor | None, axis: int) -> None:
    """Refuse steps on the CPU of which one is below zero with its bias, which lies on ``axis``.

    Raises:
        ValueError: one is.
    """
    if steps.device.type != "cpu":
        return
    others = tuple(each for each in range(steps.ndim) if each != axis)
    lowest = steps.detach().amin(dim=others).to(torch.promote_types(steps.dtype, torch.float32))
    if bias is not None:
        lowest = lowest + bias.detach().to(lowest.dtype)
    if bool((lowest < 0).any()):
        raise ValueError(
            f"{name} has shape {tuple(steps.shape)} and, bias included, a step of "
            f"{float(lowest[lowest < 0].min()):.3g}, expected none below 0; "
            f"pass {name}_softplus=True or clamp it"
        )


def step_sizes(inputs: ScanInputs) -> Tensor:
    """Return delta after its bias and softplus, [B, D, L] in ``working_dtype``."""
    delta = inputs.delta.to(inputs.working_dtype)  # [B, D, L]
    if inputs.delta_bias is not None:
        delta = delta + inputs.delta_bias.to(delta.dtype)[:, None]
    return F.softplus(delta) if inputs.delta_softplus else delta


def skip_and_gate(inputs: ScanInputs, y: Tensor) -> Tensor:
    """Return ``(y + D * u) * silu(z)`` in the dtype of ``u``, [B, D, L] -> [B, D, L]."""
    if inputs.D is not None:
        y = y + inputs.D.to(y.dtype)[:, None] * inputs.u.to(y.dtype)
    if inputs.z is not None:
        y = y * F.silu(inputs.z.to(y.dtype))
    return y.to(inputs.u.dtype)


def synthetic_inputs(
    *,
    batch: int,
    channels: int,
    state: int,
    length: int,
    seed: int,
    device: torch.device | str,
    dtype: torch.dtype,
) -> ScanInputs:
    """Return seeded inputs with the statistics of a freshly initialised Mamba layer.

    ``A = -(1..N)``, ``D = 1``; ``u``, ``B``, ``C`` are standard normal; step sizes are log-uniform
    over channels in ``STEP_RANGE`` and vary by about a tenth over tokens. Drawn on the CPU in
    float32, so every device gets the same numbers.
    """
    rng = torch.Generator().manual_seed(seed)
    low, high = (math.log(step) for step in STEP_RANGE)
    steps = torch.exp(low + (high - low) * torch.rand(channels, generator=rng))  # [D]
    inputs = ScanInputs(
        u=torch.randn(batch, channels, length, generator=rng),
        delta=0.1 * torch.randn(batch, channels, length, generator=rng),
        A=-torch.arange(1.0, state + 1).repeat(channels, 1),
        B=torch.randn(batch, state, length, generator=rng),
        C=torch.randn(batch, state, length, generator=rng),
        D=torch.ones(channels),
        # the inverse of softplus: log(exp(x) - 1), written so that small x keep their digits
        delta_bias=steps + torch.log(-torch.expm1(-steps)),
        delta_softplus=True,
    )
    return inputs.to(dtype, device)


def _grouped(tensor: Tensor) -> Tensor:
    return tensor if tensor.ndim == 4 else tensor[:, None]  # [B, G, N, L]


def expect_shape(name: str, tensor: Tensor | None, axes: str, shape: tuple[int, ...]) -> None:
    """Refuse a tensor whose shape is another one.

    Raises:
        ValueError: it is.
    """
    if tensor is not None and tuple(tensor.shape) != tuple(shape):
        raise ValueError(
            f"{name} has shape {tuple(tensor.shape)}, expected {axes} = {tuple(shape)}"
        )


def check_dtypes_and_devices(tensors: dict[str, Tensor], wide: tuple[str, ...]) -> None:
    """Refuse tensors that do not share the device and dtype of the first; ``wide`` stay wide.

    Raises:
        ValueError: one on another device, one of ``wide`` below float32, or another of another
            dtype than the first, which is one of ``FLOATS``.
    """
    leading, first = next(iter(tensors.items()))
    for name, tensor in tensors.items():
        if tensor.device != first.device:
            wanted = f"{first.device}, as {leading}; move one of them"
        elif tensor.dtype not in (WIDE if name in wide else FLOATS):
            wanted = "float32 or float64" if name in wide else "a floating dtype of 16 to 64 bits"
        elif name not in wide and tensor.dtype != first.dtype:
            wanted = f"{first.dtype}, as {leading}; convert one of them"
        else:
            continue
        raise ValueError(
            f"{name} has shape {tuple(tensor.shape)}, {tensor.dtype} on {tensor.device}, "
            f"expected {wanted}"
        )
