"""Scan backends behind the call that a transformers Mamba or Mamba-2 makes for its scan.

What stands in for the model's own scan has its signature; see `in_model.LayerScan`. A backend by
name is one of the selective scan for Mamba and one of SSD for Mamba-2. What is made for the
selective scan alone runs a Mamba-2 too, whose heads are channels that are alike.
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
from efficarch.scan.ssd import SsdBackend, SsdInputs
from efficarch.scan.ssd import choose as choose_ssd
from efficarch.scan.ssd import parity as ssd_parity
from efficarch.scan.ssd.base import per_channel, per_head

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
        self._selective: Backend | None = None
        self._ssd: SsdBackend | None = None

    def __call__(self, inputs: ScanInputs, return_last_state: bool) -> ScanOutput:
        """Run a selective scan.

        Raises:
            UnknownNameError: no backend of the selective scan has this name.
            EfficarchError: the backend cannot take these inputs, cannot run here or is wrong.
        """
        if self._selective is None:
            self._selective = choose(self._name, inputs)
            parity.require(self._selective, inputs.u.device.type, inputs.u.dtype)
        return self._selective.run(inputs, return_last_state=return_last_state)

    def ssd(self, inputs: SsdInputs, return_last_state: bool) -> ScanOutput:
        """Run an SSD scan.

        Raises:
            UnknownNameError: no backend of SSD has this name.
            EfficarchError: the backend cannot take these inputs, cannot run here or is wrong.
        """
        if self._ssd is None:
            self._ssd = choose_ssd(self._name, inputs)
            ssd_parity.require(self._ssd, inputs.x.device.type, inputs.x.dtype)
        return self._ssd.run(inputs, return_last_state=return_last_state)

    @property
    def used(self) -> str | None:
        """The name of the backend that ran, once one has."""
        row = self._selective or self._ssd
        return None if row is None else row.name


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
        wide = torch.promote_types(x.dtype, torch.float32)
        skip = None if D is None else D.to(wide)
        inputs = SsdInputs(x, steps.to(x.dtype), A.to(wide), B, C, skip)
        if isinstance(run, BackendRun):
            return run.ssd(inputs, return_final_states)
        return per_head(run(per_channel(inputs), return_final_states), inputs)

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


def _exact(inputs: ScanInputs, return_last_state: bool) -> ScanOutput:
    output = naive.scan(inputs.double(), return_last_state=return_last_state)
    if isinstance(output, Tensor):
        return output.to(inputs.u.dtype)
    return output[0].to(inputs.u.dtype), output[1].to(inputs.working_dtype)
