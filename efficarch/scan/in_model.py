"""Running the scans of a transformers Mamba on code of our own, layer by layer, leaving no trace.

``transformers`` looks its scan up as a global of the mixer's module
(``models/mamba/modeling_mamba.py``, ``models/mamba2/modeling_mamba2.py``, 5.17 to 5.23). Each mixer
gets, on the instance, its own class's ``forward`` with that one name bound to something else:
projections, convolution and caches stay the model's own code, and other models stay as they are.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FunctionType, MethodType
from typing import Any

from torch import nn

from efficarch.errors import EfficarchError

SCANS = {"MambaMixer": "mamba_selective_scan", "Mamba2Mixer": "mamba2_chunk_scan"}
"""Per mixer class of transformers, the global under which it calls its scan."""

LayerScan = Callable[[int], Callable[..., Any]]
"""Given a layer's index, returns what stands in for its scan, with the arguments of the original:
``(u, delta, A, B, C, D=, z=, delta_bias=, delta_softplus=, return_last_state=, ...)`` for Mamba,
``(x, dt, A, B, C, chunk_size=, D=, dt_bias=, dt_softplus=, return_final_states=, ...)`` for
Mamba-2. `layer_scans` makes them of backends.
"""


def mixers(model: nn.Module) -> list[nn.Module]:
    """Return the Mamba mixers of a model in the order of its layers.

    Raises:
        EfficarchError: it has none.
    """
    found = [module for module in model.modules() if type(module).__name__ in SCANS]
    if not found:
        raise EfficarchError(
            f"{type(model).__name__} has no Mamba mixer whose scan could be replaced; "
            f"known: {', '.join(SCANS)}"
        )
    return found


@contextmanager
def replaced_scans(model: nn.Module, scan: LayerScan) -> Iterator[None]:
    """Run every mixer's full-sequence scan on ``scan(layer)`` while the context lasts.

    Single decode steps keep the model's own state update.

    Raises:
        EfficarchError: the model has no mixer, or one whose scan is already replaced.
    """
    with ExitStack() as undo:
        for layer, mixer in enumerate(mixers(model)):
            if "forward" in vars(mixer):
                raise EfficarchError(
                    f"the scan of layer {layer} is replaced already; leave that context first"
                )
            mixer.forward = _rebound(mixer, scan(layer))
            undo.callback(mixer.__delattr__, "forward")
        yield


def _rebound(mixer: nn.Module, scan: Callable[..., Any]) -> MethodType:
    """Return the mixer's forward with the name of its scan bound to ``scan``."""
    kind = type(mixer)
    forward = inspect.unwrap(kind.forward)
    name = SCANS[kind.__name__]
    if not isinstance(forward, FunctionType) or name not in forward.__globals__:
        raise EfficarchError(
            f"{kind.__name__} of this transformers version does not call {name}; "
            "use transformers 5.17 to 5.23"
        )
    bound = FunctionType(
        forward.__code__,
        {**forward.__globals__, name: scan},
        forward.__name__,
        forward.__defaults__,
        forward.__closure__,
    )
    bound.__kwdefaults__ = forward.__kwdefaults__
    return MethodType(bound, mixer)
