"""The multi-resolution selective scan: updates of the state are deferred where little is lost."""

from efficarch.scan.mrss.attach import Observation, attached, observed
from efficarch.scan.mrss.plan import MAX_RUN, Plan
from efficarch.scan.mrss.planners import (
    PLANNERS,
    Planner,
    PlannerRow,
    Threshold,
    planner,
)
from efficarch.scan.mrss.run import EMISSIONS, chosen_backend, mrss_scan
from efficarch.scan.mrss.scores import SCORES, Score, score

__all__ = [
    "EMISSIONS",
    "MAX_RUN",
    "PLANNERS",
    "SCORES",
    "Observation",
    "Plan",
    "Planner",
    "PlannerRow",
    "Score",
    "Threshold",
    "attached",
    "chosen_backend",
    "mrss_scan",
    "observed",
    "planner",
    "score",
]
