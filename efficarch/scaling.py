"""How latency grows with sequence length: slopes, a nested test and where two curves cross.

Slopes and the nested test are fitted only where compute dominates: at lengths whose median is at
least ``DOMINATES`` times the latency at length 1, from the length on that the suite stated
beforehand (``Sweep.fitted_from``). A fixed cost T0 in T = T0 + c N^p makes the local slope
p (1 - T0 / T), so short lengths flatter both sides and are left out.
A machine that changes its speed slows a whole round, all lengths of it alike, so what a round has
in common is taken off before the median over the rounds (one step of median polish, Tukey,
Exploratory Data Analysis, chapter 11).
What the data do not show is said in words (`Refusal`); nothing is extrapolated.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from math import exp, inf, log

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from efficarch.record import Estimate, Scaling, Sweep
from efficarch.stats import AT_ONCE, CONFIDENCE, blocks, median

# K lengths, R rounds, S bootstrap draws
Floats = NDArray[np.float64]
Draws = NDArray[np.int64]

DOMINATES = 10.0
MIN_LENGTHS = 5
RESAMPLES = 1_999
ROUNDING = 1e-9
"""Slopes of exact power laws differ by less."""
LINEAR_SHARE, QUADRATIC_SHARE = 0.05, 0.80
"""Most and least of the time at the longest length that the quadratic term of a linear and of a
quadratic curve explains."""


@dataclass(frozen=True)
class Refusal:
    """Why a figure cannot be given."""

    reason: str


@dataclass(frozen=True)
class Slope:
    """The exponent of a power law: ordinary least squares of log latency on log length.

    ``estimate`` has the 95 % interval b -+ t(K - 2) s / sqrt(Sxx). The two checks: the percentile
    bootstrap over rounds, and the slope without the smallest of the lengths.
    """

    estimate: Estimate
    lengths: tuple[int, ...]
    fitted_ms: tuple[float, ...]
    """The line at ``lengths``."""
    resampled: Estimate
    without_smallest: float

    @property
    def disagreements(self) -> tuple[str, ...]:
        """Say which check contradicts the estimate; empty where none does."""
        found = []
        b, boot, short = self.estimate, self.resampled, self.without_smallest
        if boot.high < b.low or boot.low > b.high:
            found.append(
                f"resampled rounds give {boot.value:.3f} [{boot.low:.3f}, {boot.high:.3f}]"
            )
        if not b.low - ROUNDING <= short <= b.high + ROUNDING:
            found.append(f"without length {self.lengths[0]:,} it is {short:.3f}")
        return tuple(found)


class Growth(Enum):
    """What the nested test makes of a curve."""

    LINEAR = "linear"
    QUADRATIC = "quadratic"
    BETWEEN = "between linear and quadratic"
    UNCLEAR = "cannot be told"


@dataclass(frozen=True)
class Nested:
    """T = a + b N against T = a + b N + c N^2, with relative errors: residuals are divided by T.

    ``share`` is c N^2 over the fitted latency at the longest length, with the interval of c.
    ``aicc_gain`` is how much lower the AICc (Hurvich & Tsai 1989) of the quadratic model is;
    ``None`` below six lengths, where it is not defined.
    """

    growth: Growth
    share: Estimate
    aicc_gain: float | None


@dataclass(frozen=True)
class Crossover:
    """The length from which the subject is faster, to the longest length measured.

    ``length`` is ``None`` where there is none among those measured: then ``always`` says whether
    the subject is faster at all of them or slower at the longest. Bounds of the 95 % interval are
    ``0`` below the ``shortest`` length and infinite above the ``longest``.
    """

    length: float | None
    low: float
    high: float
    shortest: int
    longest: int
    always: bool

    def __str__(self) -> str:
        if self.length is None:
            return f"below {self.shortest:,}" if self.always else f"none up to {self.longest:,}"
        low = f"below {self.shortest:,}" if self.low == 0 else f"{self.low:,.0f}"
        high = f"beyond {self.longest:,}" if self.high == inf else f"{self.high:,.0f}"
        return f"{self.length:,.0f} [{low}, {high}]"


def dominating(sweep: Sweep) -> tuple[int, ...]:
    """Return the indices of the lengths a fit may use; see the module."""
    return tuple(
        index
        for index, (length, rounds) in enumerate(zip(sweep.lengths, sweep.rounds_ms, strict=True))
        if length >= sweep.fitted_from and median(rounds) >= DOMINATES * sweep.floor_ms
    )


def fit_slope(sweep: Sweep, seed: int = 0) -> Slope | Refusal:
    """Return the log-log slope where compute dominates, or why there is none."""
    chosen = dominating(sweep)
    if len(chosen) < MIN_LENGTHS:
        return _too_few(sweep, chosen)
    lengths = tuple(sweep.lengths[index] for index in chosen)
    x = np.log(np.array(lengths, float))  # [K]
    y = _typical(sweep, chosen, _once(sweep))  # [K, 1]
    estimate, line = _line(x, y[:, 0])
    drawn = _drawn(sweep, seed, len(chosen), lambda draws: _typical(sweep, chosen, draws))
    draws = _slopes(x, drawn)  # [S]
    low, high = _tails(draws)
    return Slope(
        estimate=estimate,
        lengths=lengths,
        fitted_ms=tuple(float(value) for value in np.exp(line)),
        resampled=Estimate(float(np.median(draws)), low, high),
        without_smallest=float(_slopes(x[1:], y[1:])[0]),
    )


def _too_few(sweep: Sweep, chosen: Sequence[int]) -> Refusal:
    stated = f" from {sweep.fitted_from:,} on" if sweep.fitted_from > 1 else ""
    return Refusal(
        f"compute dominates at {len(chosen)} of {len(sweep.lengths)} lengths{stated} (latency at "
        f"least {DOMINATES:.0f} times the {sweep.floor_ms:.3f} ms of length 1), a slope needs "
        f"{MIN_LENGTHS}; measure longer ones, on an idle machine"
    )


def _once(sweep: Sweep) -> Draws:
    """Return the draw that is the sweep itself, [1, R]."""
    return np.arange(len(sweep.rounds_ms[0]))[None]


def _drawn(
    sweep: Sweep, seed: int, lengths: int, typical: Callable[[Draws], Floats]
) -> Floats:  # [K, S]
    """Return what is typical of rounds drawn with replacement, at so many lengths.

    Whole rounds, since a round shares its conditions; a few draws at a time, since ``typical`` [S,
    R] -> [K, S] takes K S R values.
    """
    rounds = len(sweep.rounds_ms[0])
    rng = np.random.default_rng(seed)
    sizes = blocks(RESAMPLES, AT_ONCE // (lengths * rounds))
    found = [typical(rng.integers(rounds, size=(size, rounds))) for size in sizes]
    # as ``typical`` lays them out: sums run in the order of memory, and round accordingly
    return np.asfortranarray(np.concatenate(found, axis=1))


def _typical(sweep: Sweep, chosen: Sequence[int], draws: Draws) -> Floats:  # [S, R] -> [K, S]
    """Return typical log latencies at the chosen lengths, without what rounds have in common."""
    logs = np.log(np.array([sweep.rounds_ms[index] for index in chosen]))[:, draws]  # [K, S, R]
    common = np.median(logs - np.median(logs, axis=2, keepdims=True), axis=0)  # [S, R]
    typical: Floats = np.median(logs - common, axis=2)
    return typical


def _line(x: Floats, y: Floats) -> tuple[Estimate, Floats]:  # [K], [K] -> slope, [K]
    """Return the least-squares slope with its t interval, and the line at ``x``."""
    deviation = x - x.mean()
    spread = float(deviation @ deviation)
    slope = float(deviation @ y) / spread
    line = y.mean() + slope * deviation
    residual = y - line
    freedom = len(x) - 2
    error = (float(residual @ residual) / freedom / spread) ** 0.5
    half = _t_quantile(freedom) * error
    return Estimate(slope, slope - half, slope + half), line


def _slopes(x: Floats, y: Floats) -> Floats:  # [K], [K, S] -> [S]
    deviation = x - x.mean()
    slopes: Floats = deviation @ y / (deviation @ deviation)
    return slopes


def _t_quantile(freedom: int) -> float:
    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))


def _tails(draws: Floats) -> tuple[float, float]:  # [S]
    tail = (1 - CONFIDENCE) / 2
    # whole draws and nothing between them: some may be infinite
    low, high = np.quantile(draws, (tail, 1 - tail), method="nearest")
    return float(low), float(high)


def fit_nested(sweep: Sweep) -> Nested | Refusal:
    """Return the nested test where compute dominates, or why there is none."""
    chosen = dominating(sweep)
    if len(chosen) < MIN_LENGTHS:
        return _too_few(sweep, chosen)
    # in units of the longest length, so that c is already c N^2 there
    n = np.array([sweep.lengths[at] / sweep.lengths[chosen[-1]] for at in chosen])  # [K]
    t = np.exp(_typical(sweep, chosen, _once(sweep))[:, 0])  # [K]
    model = np.stack([np.ones_like(n), n, n**2], axis=1) / t[:, None]  # [K, 3]
    wanted = np.ones_like(n)  # [K]
    (_, _, c), left = _least_squares(model, wanted)
    _, left_linear = _least_squares(model[:, :2], wanted)
    freedom = len(n) - 3
    spread = _spread_of_last(model)
    if spread is None:
        lengths = [f"{sweep.lengths[chosen[at]]:,}" for at in (0, -1)]
        return Refusal(f"lengths {' to '.join(lengths)} are too alike to tell a curve from a line")
    half = _t_quantile(freedom) * (left / freedom * spread) ** 0.5
    # all weights are 1 / T, so the fitted latency at the longest length is T there, up to its error
    last = float(t[-1])
    share = Estimate(c / last, (c - half) / last, (c + half) / last)
    return Nested(_growth(share), share, _aicc_gain(len(n), left_linear, left))


def _spread_of_last(model: Floats) -> float | None:  # [K, P]
    """Return the variance of the last coefficient for residuals of variance 1.

    ``None`` where the columns are too alike for it.
    """
    if np.linalg.matrix_rank(model) < model.shape[1]:
        return None
    try:
        variance = float(np.linalg.inv(model.T @ model)[-1, -1])
    except np.linalg.LinAlgError:
        return None
    return variance if variance > 0 else None


def _least_squares(model: Floats, wanted: Floats) -> tuple[list[float], float]:
    """Return the coefficients and the sum of squared residuals; [K, P], [K]."""
    coefficients = np.linalg.lstsq(model, wanted, rcond=None)[0]
    residual = wanted - model @ coefficients
    return [float(value) for value in coefficients], float(residual @ residual)


def _growth(share: Estimate) -> Growth:
    linear = share.low <= 0 <= share.high or abs(share.value) < LINEAR_SHARE
    quadratic = share.value > QUADRATIC_SHARE
    if linear and quadratic:
        return Growth.UNCLEAR
    if linear:
        return Growth.LINEAR
    return Growth.QUADRATIC if quadratic else Growth.BETWEEN


def _aicc_gain(count: int, linear: float, quadratic: float) -> float | None:
    """AICc of the linear less that of the quadratic model; parameters include the variance."""
    if count < MIN_LENGTHS + 1:
        return None
    tiny = np.finfo(float).tiny
    scores = [
        count * log(max(left, tiny) / count) + 2 * p + 2 * p * (p + 1) / (count - p - 1)
        for left, p in ((linear, 3), (quadratic, 4))
    ]
    return scores[0] - scores[1]


def crossover(scaling: Scaling, seed: int = 0) -> Crossover | Refusal:
    """Return from which length on the subject is faster, with its 95 % interval over rounds.

    Both sides of a round are compared with each other, at the lengths of either that both enclose;
    logarithms of latency are interpolated over the logarithm of the length.
    """
    subject, reference = scaling.subject, scaling.reference
    shortest = max(subject.lengths[0], reference.lengths[0])
    longest = min(subject.lengths[-1], reference.lengths[-1])
    lengths = sorted(n for n in {*subject.lengths, *reference.lengths} if shortest <= n <= longest)
    if len(lengths) < 2:
        return Refusal(
            f"lengths {subject.lengths[0]:,} to {subject.lengths[-1]:,} and "
            f"{reference.lengths[0]:,} to {reference.lengths[-1]:,} do not overlap"
        )
    x = np.log(np.array(lengths, float))  # [K]
    ratio = _log_latency(subject, x) - _log_latency(reference, x)  # [K, R]

    def typical(draws: Draws) -> Floats:  # [S, R] -> [K, S]
        medians: Floats = np.median(ratio[:, draws], axis=2)
        return medians

    (point,), points = (
        np.array([_crossing(x, column) for column in each.T])
        for each in (typical(_once(subject)), _drawn(subject, seed, len(x), typical))
    )
    low, high = (0.0 if end == -inf else exp(end) if end < inf else inf for end in _tails(points))
    here = exp(point) if abs(point) < inf else None
    return Crossover(here, low, high, shortest, longest, always=bool(point == -inf))


def _log_latency(sweep: Sweep, x: Floats) -> Floats:  # [K] -> [K, R]
    """Return the log latencies of every round at log lengths."""
    own = np.log(np.array(sweep.lengths, float))
    y = np.log(np.array(sweep.rounds_ms))  # [own K, R]
    return np.stack([np.interp(x, own, column) for column in y.T], axis=1)


def _crossing(x: Floats, ratio: Floats) -> float:  # [K], [K]
    """Return the log length after which a log ratio stays below 0; -inf if it always is."""
    slower = np.flatnonzero(ratio >= 0)
    if not len(slower):
        return -inf
    last = int(slower[-1])
    if last == len(x) - 1:
        return inf
    share = ratio[last] / (ratio[last] - ratio[last + 1])
    return float(x[last] + share * (x[last + 1] - x[last]))
