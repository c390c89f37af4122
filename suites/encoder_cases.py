"""The cases every image encoder is measured in."""

from efficarch.reducers import REDUCERS, Method

JOINED = REDUCERS["tome+exact-tail"]
MEASURED = ("none", "random", "norm", "tome", "exact-tail")
"""The methods that have limits in `budgets.toml`."""

SHORT = ("none", "random", "tome", "exact-tail")


def encoder_cases(model: str) -> list[tuple[Method, float | None, int]]:
    """Return (method, keep, batch): every method at batch 8, the middle keep ratio at batch 1."""
    throughput = _cases(model, keeps=[1.0, 0.7, 0.5])
    throughput += [(JOINED, keep) for keep in (0.7, 0.5, 0.25)]
    single_image = [*_cases(model, keeps=[0.5]), (JOINED, 0.5)]
    return [(*case, 8) for case in throughput] + [(*case, 1) for case in single_image]


def _cases(model: str, *, keeps: list[float]) -> list[tuple[Method, float | None]]:
    return [case for case in REDUCERS.cases(model, keeps=keeps) if case[0].name in MEASURED]


def short_cases(model: str) -> list[tuple[Method, float | None, int]]:
    """Return (method, keep, batch): the control, random, ToMe and the exact tail if it suits."""
    cases = REDUCERS.cases(model, keeps=[0.5])
    return [(method, keep, 8) for method, keep in cases if method.name in SHORT]
