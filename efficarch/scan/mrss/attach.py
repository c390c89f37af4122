"""Deferring updates in every mixer of a transformers Mamba or Mamba-2, leaving no trace."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from torch import Tensor, nn

from efficarch.scan.base import ScanInputs, ScanOutput
from efficarch.scan.layer_scans import Run, scans_by_layer
from efficarch.scan.mrss.plan import Plan
from efficarch.scan.mrss.planners import Planner
from efficarch.scan.mrss.run import chosen_backend, mrss_scan

# B batch, D channels, L length


@dataclass(frozen=True)
class Observation:
    """One scan of one layer: what went in, what was deferred, and what came out.

    ``ssm`` and ``exact`` [B, D, L] are the SSM term, without skip term and gate, of the scan with
    deferred updates and of the plain scan of the same inputs, both on ``backend``.
    """

    layer: int
    backend: str
    inputs: ScanInputs
    plan: Plan
    ssm: Tensor
    exact: Tensor


def attached(
    model: nn.Module,
    planner: Planner | Callable[[int], Planner],
    *,
    backend: str = "auto",
    emission: str = "readout",
    observe: Callable[[Observation], None] | None = None,
) -> AbstractContextManager[None]:
    """Defer state updates in every mixer's full-sequence scan while the context lasts.

    Args:
        model: a transformers Mamba or Mamba-2.
        planner: for all layers, or a function from a layer's index to its planner.
        backend: as for `mrss_scan`.
        emission: as for `mrss_scan`.
        observe: is given an `Observation` of every scan; each then costs three scans.

    Raises:
        EfficarchError: the model has no mixer, or one whose scan is already replaced; when it
            runs, as `mrss_scan`.
    """

    def of_layer(layer: int) -> Run:
        mine = planner(layer) if callable(planner) else planner

        def run(inputs: ScanInputs, return_last_state: bool) -> ScanOutput:
            plan = mine.plan(inputs)
            if observe is not None:
                observe(observed(layer, inputs, plan, backend=backend, emission=emission))
            return mrss_scan(
                inputs,
                plan,
                backend=backend,
                emission=emission,
                return_last_state=return_last_state,
            )

        return run

    return scans_by_layer(model, of_layer)


def observed(
    layer: int,
    inputs: ScanInputs,
    plan: Plan,
    *,
    backend: str = "auto",
    emission: str = "readout",
) -> Observation:
    """Return both scans of one layer's inputs, without skip term and gate.

    Raises:
        EfficarchError: as `mrss_scan`.
    """
    bare = replace(inputs, D=None, z=None)
    row = chosen_backend(bare, backend, emission)
    ssm = mrss_scan(bare, plan, backend=row.name, emission=emission)
    exact = row.run(bare)
    assert isinstance(ssm, Tensor)
    assert isinstance(exact, Tensor)
    return Observation(layer, row.name, inputs, plan, ssm, exact)
