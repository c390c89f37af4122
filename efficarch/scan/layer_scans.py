"""Selective-scan backends behind the call that a transformers Mamba makes for its scan.

What stands in for the model's own scan has its signature; see `in_model.LayerScan`. A Mamba-2 head
is P channels that share one decay, one step, B and C, so its recurrence (arXiv 2405.21060,
section 2.2) is a selective scan whose A has equal entries: any backend of ours can run it.
"""

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from efficarch.errors import EfficarchError
from efficarch.scan import naive, parity
from efficarch.scan.backends import Backend, choose
from efficarch.scan.base import ScanInputs, ScanOutput
from efficarch.scan.in_model import mixers, replaced_scans

# B batch, L length, D channels, N state size, H heads, P channels of a head, G groups

OWN = "transformers"
"""The scan that transformers itself would run."""

Run = Callable[[ScanInputs, bool], ScanOutput]
"""Runs a scan; the flag asks for the last state too."""

UNLIMITED = (0.0, float("inf"))


class BackendRun:
    """A backend by its name or ``auto``, chosen and held to parity when it first runs."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._row: Backend | None = None

    def __call__(self, inputs: ScanInputs, return_last_state: bool) -> ScanOutput:
        """Run a scan.

        Raises:
            EfficarchError: the backend cannot take these inputs, cannot run here or is wrong.
        """
        if self._row is None:
            self._row = choose(self._name, inputs)
            parity.require(self._row, inputs.u.device.type, inputs.u.dtype)
        return self._row.run(inputs, return_last_state=return_last_state)

    @property
    def used(self) -> str | None:
        """The name of the backend that ran, once one has."""
        return None if self._row is None else self._row.name


def oracle_scans(model: nn.Module) -> AbstractContextManager[None]:
    """Run the scans of a model one step at a time in float64, rounded to its dtype afterwards."""
    return scans_by_layer(model, lambda _: _exact)


def backend_scans(model: nn.Module, run: Run | None) -> AbstractContextManager[None]:
    """Run the scans of a model on a backend; ``None`` leaves it as it is."""
    return nullcontext() if run is None else scans_by_layer(model, lambda _: run)


def scans_by_layer(model: nn.Module, run: Callable[[int], Run]) -> AbstractContextManager[None]:
    """Run the scan of each layer on what ``run`` returns for its index."""
    kinds = [type(mixer).__name__ for mixer in mixers(model)]
    return replaced_scans(model, lambda layer: _STAND_INS[kinds[layer]](run(layer)))


def foreign_kernels(model: nn.Module) -> dict[str, str]:
    """Return which operations of the mixers transformers took from another package, and which.

    It takes them from ``mamba_ssm`` and ``causal_conv1d`` as soon as these can be imported, whether
    or not they run on the device of the model.
    """
    found = {}
    for kind in {type(mixer) for mixer in mixers(model)}:
        for name, value in inspect.unwrap(kind.forward).__globals__.items():
            wrapped = inspect.getclosurevars(value).nonlocals if inspect.isfunction(value) else {}
            if wrapped.get("is_new_implementation") is True:
                found[name] = str(wrapped["implementation"].__module__).split(".")[0]
    return found


def _selective(run: Run) -> Callable[..., ScanOutput]:
    def mamba_selective_scan(
        u: Tensor,  # [B, D, L], as are delta and z
        delta: Tensor,
        A: Tensor,  # [D, N]
        B: Tensor,  # [B, N, L], as is C
        C: Tensor,
        D: Tensor | None = None,  # [D], as is delta_bias
        z: Tensor | None = None,
        delta_bias: Tensor | None = None,
        delta_softplus: bool = False,
        return_last_state: bool = False,
        use_mambapy: bool = False,
        use_associative_scan: bool = False,
    ) -> ScanOutput:
        """Run the scan; what chooses among transformers' own paths does not matter here."""
        del use_mambapy, use_associative_scan
        inputs = ScanInputs(u, delta, A, B, C, D, z, delta_bias, delta_softplus)
        return run(inputs, return_last_state)

    return mamba_selective_scan


def _ssd(run: Run) -> Callable[..., ScanOutput]:
    def mamba2_chunk_scan(
        x: Tensor,  # [B, L, H, P]
        dt: Tensor,  # [B, L, H]
        A: Tensor,  # [H], as are D and dt_bias
        B: Tensor,  # [B, L, G, N], as is C
        C: Tensor,
        chunk_size: int,
        D: Tensor | None = None,
        z: Tensor | None = None,
        return_final_states: bool = False,
        dt_bias: Tensor | None = None,
        dt_softplus: bool = False,
        initial_states: Tensor | None = None,
        dt_limit: tuple[float, float] = UNLIMITED,
    ) -> ScanOutput:
        """Run the scan of [B, L, H, P]; the state is [B, H, P, N]."""
        del chunk_size
        if initial_states is not None or z is not None:
            raise EfficarchError(
                "a scan of ours starts from an empty state and applies no gate; prefill the whole "
                "sequence at once, or use the scan of transformers"
            )
        steps = _steps(dt, dt_bias, softplus=dt_softplus, limit=dt_limit)  # [B, L, H]
        output = run(_per_channel(x, steps, A, (B, C), D), return_final_states)
        if isinstance(output, Tensor):
            return output.transpose(1, 2).reshape(x.shape)
        y, state = output  # [B, D, L], [B, D, N]
        return y.transpose(1, 2).reshape(x.shape), state.unflatten(1, x.shape[2:])

    return mamba2_chunk_scan


_STAND_INS: dict[str, Callable[[Run], Callable[..., ScanOutput]]] = {
    "MambaMixer": _selective,
    "Mamba2Mixer": _ssd,
}


def _steps(
    dt: Tensor, bias: Tensor | None, *, softplus: bool, limit: tuple[float, float]
) -> Tensor:  # [B, L, H]
    """Return the step sizes as transformers makes them: biased, softplus, limited."""
    steps = dt if bias is None else dt + bias.to(dt.dtype)
    steps = F.softplus(steps) if softplus else steps
    return steps.clamp(min=limit[0], max=limit[1])


def _per_channel(
    x: Tensor, steps: Tensor, A: Tensor, projections: tuple[Tensor, Tensor], D: Tensor | None
) -> ScanInputs:
    """Write a Mamba-2 scan as a selective scan of H * P channels, those of a head alike."""
    width = x.shape[-1]
    B, C = (each.permute(0, 2, 3, 1) for each in projections)  # [B, G, N, L]
    wide = torch.promote_types(x.dtype, torch.float32)
    return ScanInputs(
        u=x.flatten(2).transpose(1, 2),
        delta=steps.to(x.dtype).repeat_interleave(width, dim=2).transpose(1, 2),
        A=A.to(wide).repeat_interleave(width)[:, None].expand(-1, B.shape[2]),
        B=B,
        C=C,
        D=None if D is None else D.to(wide).repeat_interleave(width),
    )


def _exact(inputs: ScanInputs, return_last_state: bool) -> ScanOutput:
    output = naive.scan(inputs.double(), return_last_state=return_last_state)
    if isinstance(output, Tensor):
        return output.to(inputs.u.dtype)
    return output[0].to(inputs.u.dtype), output[1].to(inputs.working_dtype)
