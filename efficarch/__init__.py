"""Benchmark harness and performance gate for efficiency-oriented deep-learning architectures.

Importing this package imports nothing else; a public name brings its module when it is first asked
for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from efficarch.errors import EfficarchError
    from efficarch.gate import Outcome, Verdict, check_limits, compare
    from efficarch.record import Cell, CosSim, Estimate, Limits, Machine, Measurement, Run

__all__ = [
    "Cell",
    "CosSim",
    "EfficarchError",
    "Estimate",
    "Limits",
    "Machine",
    "Measurement",
    "Outcome",
    "Run",
    "Verdict",
    "check_limits",
    "compare",
]

__version__ = "0.1.0"

_HOMES = {
    "EfficarchError": "errors",
    "Outcome": "gate",
    "Verdict": "gate",
    "check_limits": "gate",
    "compare": "gate",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # the command line starts by importing this package, and has to end in a sentence where a
    # dependency is missing
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'record')}"), name)
