"""Benchmark harness and performance gate for efficiency-oriented deep-learning architectures.

Importing this package imports neither torch nor pytest, and a public name loads when first asked
for: the package is part of every pytest start where it is installed.
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

_MODULES = {
    "efficarch.errors": ("EfficarchError",),
    "efficarch.gate": ("Outcome", "Verdict", "check_limits", "compare"),
    "efficarch.record": (
        "Cell",
        "CosSim",
        "Estimate",
        "Limits",
        "Machine",
        "Measurement",
        "Run",
    ),
}

# hidden from type checkers, to whom every name would then exist
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Load the module of a public name."""
        for module, names in _MODULES.items():
            if name in names:
                value = globals()[name] = getattr(import_module(module), name)
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
