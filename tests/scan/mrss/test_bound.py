"""The error bound of the fused multi-resolution scan, as a property of its plain twin.

With the ladder's rates r, ``eta = |r - A| / min(|r|, |A|)``, ``a_p = delta_p u_p``, h the exact
state and ``kappa = min(0.2 eta^4, 1)`` the error E of the state obeys, elementwise over channels
and states,

    E_e <= exp(A span) E_a + kappa (|h_a| + E_a) + (eta / e) sum over the run's p of |a_p B_p|

from one commit a to the next e: what a run began with decays exactly to the third order. Then
``|y^ - y| <= |C| . E`` at a committed token, and at a deferred one t

    |y^_t - y_t| <= |C_t| . (exp(A s) E_a + (eta / e) (|h_a| + E_a + sum of |a_p B_p|))

where ``s`` is the time since the commit a, and the sum is over pending p.
"""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from efficarch.scan import ScanInputs, naive
from efficarch.scan.base import step_sizes
from efficarch.scan.mrss import Plan, planner, sequential
from efficarch.scan.mrss.ladder import Ladder

CHANNELS, STATE, LENGTH = 3, 6, 40


def drawn(seed: int, spread: float, step: float) -> ScanInputs:
    """Return float64 inputs: how unlike the channels' rates are, how large the steps."""
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    return ScanInputs(
        u=normal(1, CHANNELS, LENGTH),
        delta=step * normal(1, CHANNELS, LENGTH).exp(),
        A=-torch.arange(1.0, STATE + 1).double() * (spread * normal(CHANNELS, STATE)).exp(),
        B=normal(1, STATE, LENGTH),
        C=normal(1, STATE, LENGTH),
    )


def mismatch(rates: Tensor, A: Tensor) -> Tensor:
    """Return eta, [D, N]."""
    return (rates - A).abs() / torch.minimum(rates.abs(), A.abs())


def bounds(inputs: ScanInputs, plan: Plan) -> tuple[Tensor, Tensor]:
    """Return the bound of the last state's error [D, N] and of each output's [D, L]."""
    delta, A = step_sizes(inputs)[0], inputs.A
    added = (delta * inputs.u[0]).abs()
    B, C = inputs.B[0], inputs.C[0].abs()
    rates = Ladder(A).rates
    eta = mismatch(rates, A)
    off, kappa = eta / math.e, (0.2 * eta**4).clamp(max=1)
    exact = torch.zeros_like(A)  # the state as the plain scan has it
    started, error, since = exact, torch.zeros_like(A), torch.zeros(CHANNELS).double()
    pending, seen = torch.zeros_like(A), []
    for t in range(LENGTH):
        exact = torch.exp(delta[:, t, None] * A) * exact
        exact = exact + (delta * inputs.u[0])[:, t, None] * B[:, t]
        since = since + delta[:, t]
        decay = torch.exp(since[:, None] * A)
        pending = pending + added[:, t, None] * B[:, t].abs()
        if plan.deferred[0, t]:
            wrong = decay * error + off * (started.abs() + error + pending)
        else:
            wrong = error = decay * error + kappa * (started.abs() + error) + off * pending
            started, since = exact, torch.zeros_like(since)
            pending = torch.zeros_like(A)
        seen.append((C[:, t] * wrong).sum(-1))
    return error, torch.stack(seen, dim=-1)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    spread=st.sampled_from([0.0, 0.1, 1.0]),
    step=st.sampled_from([1e-3, 1e-2, 0.1, 1.0]),
    saving=st.floats(0, 0.875),
)
def test_no_error_is_beyond_the_bound(seed: int, spread: float, step: float, saving: float) -> None:
    """Neither that of the last state nor that of any output."""
    inputs = drawn(seed, spread, step)
    plan = planner("random", saving).plan(inputs)
    y, state = naive.scan(inputs, return_last_state=True)

    found, last = sequential.scan(inputs, plan, return_last_state=True)

    of_state, of_output = bounds(inputs, plan)
    assert ((last - state)[0].abs() <= of_state + 1e-12).all()
    assert ((found - y)[0].abs() <= of_output + 1e-12).all()


@settings(deadline=None)
@given(
    seed=st.integers(0, 10**6),
    spread=st.sampled_from([0.03, 0.1, 0.3, 1.0, 3.0]),
    elapsed=st.floats(0, 1e6) | st.floats(0, 30) | st.sampled_from([0.0, 1e30]),
)
def test_what_a_run_began_with_is_settled(seed: int, spread: float, elapsed: float) -> None:
    """To the fourth power of the mismatch, and never to more than it was, for any rates."""
    A = drawn(seed, spread, 1.0).A
    ladder = Ladder(A)
    times = torch.full((1, CHANNELS), elapsed, dtype=torch.float64)

    kept = ladder.decays(times) + ladder.settlement(times)

    kappa = (0.2 * mismatch(ladder.rates, A) ** 4).clamp(max=1)
    assert ((kept - torch.exp(elapsed * A)).abs() <= kappa + 1e-12).all()
    assert (kept.abs() <= 1 + 1e-12).all()


def test_settling_is_nearer_than_the_ladder_alone() -> None:
    """By two orders, at rates as unlike as a trained layer's."""
    ladder = Ladder(A := drawn(0, 0.14, 1.0).A)
    times = torch.linspace(0, 3, 50, dtype=torch.float64)[:, None].expand(-1, CHANNELS)
    exact, rounded = torch.exp(times[..., None] * A), ladder.decays(times)

    settled = rounded + ladder.settlement(times)

    assert (settled - exact).abs().max() < (rounded - exact).abs().max() / 100


def test_the_bound_is_no_formality() -> None:
    """Errors come within a tenth of it, and on slow decays it is smaller than the outputs."""
    inputs = drawn(0, 0.1, 1e-2)
    plan = planner("stride", 0.5).plan(inputs)
    exact = naive.scan(inputs)
    error = (sequential.scan(inputs, plan) - exact)[0].abs()

    _, bound = bounds(inputs, plan)

    assert error.max() > 1e-6
    assert (error / bound.clamp(min=1e-12)).max() > 0.1
    assert bound.mean() < exact.abs().mean()
