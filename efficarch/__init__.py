"""Benchmark harness and performance gate for efficiency-oriented deep-learning architectures.

Importing this package imports neither torch nor pytest.
"""

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
