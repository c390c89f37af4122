"""The cases every image encoder is measured in."""

from pathlib import Path

from efficarch.reducers import REDUCERS, Method
from efficarch.tuned import load_tuned

Case = tuple[Method, float | None, int]

THROUGHPUT: tuple[tuple[str, float | None], ...] = (
    ("none", None),
    ("norm", 0.5),
    # the control at several keep ratios, so that others can be compared with it at equal latency
    ("random", 0.7),
    ("random", 0.5),
    ("random", 0.25),
)

SHORT = ("none", "random", "tome", "exact-tail")

TUNED = load_tuned(Path(__file__).with_name("tuned.toml"))


def encoder_cases(model: str) -> list[Case]:
    """Return (method, keep, batch): every method at batch 1, chosen and tuned ones at batch 8."""
    chosen = [(REDUCERS[name], keep, 8) for name, keep in THROUGHPUT]
    tuned = [
        (REDUCERS[entry.method].variant(entry.name, entry.options), entry.keep, 8)
        for entry in TUNED
        if entry.model == model
    ]
    every = [(*case, 1) for case in REDUCERS.cases(model, keeps=[0.5]) if case[0].name != "none"]
    control = [(REDUCERS["random"], keep, 1) for keep in (0.7, 0.25)]
    # the method that does most per block: at keep 1 it must do nothing
    nothing = [(REDUCERS["reciprocal"], 1.0, 1)]
    return chosen + tuned + every + control + nothing


def short_cases(model: str) -> list[Case]:
    """Return (method, keep, batch): the control, random, ToMe and the exact tail if it suits."""
    cases = REDUCERS.cases(model, keeps=[0.5])
    return [(method, keep, 8) for method, keep in cases if method.name in SHORT]
