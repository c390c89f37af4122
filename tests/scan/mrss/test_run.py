"""Claims about running a plan: fused and unfused, on every backend."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from efficarch.errors import EfficarchError, UnknownNameError
from efficarch.scan import BACKENDS, ScanInputs, cpp, naive
from efficarch.scan.mrss import EMISSIONS, MAX_RUN, Plan, Planner, mrss_scan, planner, sequential
from efficarch.scan.mrss.ladder import MULTIPLES, Ladder
from efficarch.scan.mrss.run import FUSED
from efficarch.scan.signals import Size, signal_inputs
from tests.scan.samples import largest_error, random_inputs

ON_CPU = [name for name, row in BACKENDS.items() if "cpu" in row.devices and row.missing() is None]
COMPILED = pytest.mark.skipif(cpp.missing() is not None, reason=str(cpp.missing()))


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    """Run as the suites do, without autograd."""
    with torch.inference_mode():
        yield


def bare(inputs: ScanInputs) -> ScanInputs:
    """Leave out skip term and gate."""
    return replace(inputs, D=None, z=None)


def layer(length: int, state: int = 16, channels: int = 20, name: str = "ar1-0.9") -> ScanInputs:
    """Return the inputs of a small layer; its channels fill one vector and part of a second."""
    return signal_inputs(name, Size(2, channels, state, length), seed=length)


def similarity(inputs: ScanInputs, plan: Plan, emission: str) -> Tensor:
    """Return the CosSim of the SSM term of each token with the exact one, [B, L]."""
    inputs = bare(inputs)
    y = mrss_scan(inputs, plan, backend="naive", emission=emission)
    assert isinstance(y, Tensor)
    return torch.nn.functional.cosine_similarity(y, naive.scan(inputs), dim=1)


def assert_same(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> None:
    """Compare outputs and last states, in the scale of the expected ones."""
    for mine, theirs in zip(found, expected, strict=True):
        assert largest_error(mine, theirs) <= 2e-5 * max(1.0, float(theirs.abs().max()))


def assert_twins(inputs: ScanInputs, planner: Planner) -> None:
    """Compare the compiled kernel with its plain twin, outputs and last states."""
    plan = planner.plan(inputs)

    found = cpp.mrss_scan(inputs, plan, return_last_state=True)

    assert_same(found, sequential.scan(inputs, plan, return_last_state=True))


@COMPILED
@pytest.mark.parametrize("name", ["random", "stride", "step-size"])
@pytest.mark.parametrize("length", [1, 3, 7, 63, 64, 65, 66, 130, 200])
def test_the_kernel_is_its_twin(length: int, name: str) -> None:
    """Runs across tiles, short sequences, skip term, gate, bias and softplus."""
    inputs = layer(length)

    assert_twins(inputs, planner(name, 0.6))


@COMPILED
@pytest.mark.parametrize("state", [1, 2, 5, 8, 16, 19, 64, 256])
@pytest.mark.parametrize("name", ["ar1-0.0", "piecewise"])
def test_the_kernel_is_its_twin_for_any_state(state: int, name: str) -> None:
    """Fewer states than fill the registers, more, and a part of them left over."""
    inputs = layer(90, state=state, name=name)

    assert_twins(inputs, planner("stride", 0.875))


@COMPILED
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_kernel_is_its_twin_where_rates_differ(groups: int, dtype: torch.dtype) -> None:
    """Channels whose rates have nothing in common, groups, and both dtypes."""
    inputs = random_inputs(70, groups=groups).to(dtype)

    assert_twins(inputs, planner("random", 0.5))


@COMPILED
@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("step", [0.0, 1e-6, 1.0, 1e6, 1e20, 1e37])
def test_runs_of_any_length_in_time_are_finite(step: float, counted: bool) -> None:
    """Also where the polynomial that settles a run would overflow beside a decay of zero."""
    inputs = replace(random_inputs(64), delta_softplus=False, delta_bias=None)
    A = -torch.arange(1.0, inputs.state + 1) * torch.linspace(0.3, 3, inputs.channels)[:, None]
    A[:, 0] *= 0.9 if counted else 0.1
    u, delta = inputs.u / max(1, step), torch.full_like(inputs.delta, step)
    inputs = replace(inputs, A=A, delta=delta, u=u)
    assert (Ladder(A).rung is None) == counted

    assert_twins(inputs, planner("stride", 0.875))
    assert cpp.mrss_scan(inputs, planner("stride", 0.875).plan(inputs)).isfinite().all()


@COMPILED
def test_the_layout_does_not_matter() -> None:
    """Channels next to each other in memory, as transformers lays delta out."""
    inputs = layer(100)
    turned = replace(
        inputs,
        **{
            name: getattr(inputs, name).transpose(1, 2).contiguous().transpose(1, 2)
            for name in ("u", "delta", "z")
        },
    )
    plan = planner("stride", 0.5).plan(inputs)

    assert torch.equal(cpp.mrss_scan(turned, plan), cpp.mrss_scan(inputs, plan))


@pytest.mark.parametrize(
    ("name", "emission"),
    [
        (name, emission)
        for name in ON_CPU
        for emission in EMISSIONS
        if emission != "readout" or name in FUSED
    ],
)
def test_nothing_deferred_is_the_plain_scan(name: str, emission: str) -> None:
    """Bit for bit, state included."""
    inputs = layer(80)
    plan = planner("none", 0.0).plan(inputs)

    found = mrss_scan(inputs, plan, backend=name, emission=emission, return_last_state=True)

    expected = BACKENDS[name].run(inputs, return_last_state=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(found, expected, strict=True))


@pytest.mark.parametrize("emission", ["hold", "hold+local"])
@pytest.mark.parametrize("name", ON_CPU)
def test_any_backend_runs_the_compacted_scan(name: str, emission: str) -> None:
    """Unchanged, with the same result; rows that commit fewer tokens than others included."""
    inputs = random_inputs(50, groups=2)
    deferred = planner("random", 0.5).plan(inputs).deferred
    plan = Plan(deferred & torch.tensor([[True], [False]]))

    found, expected = (
        mrss_scan(inputs, plan, backend=each, emission=emission, return_last_state=True)
        for each in (name, "naive")
    )

    assert_same(found, expected)
    plain = naive.scan(inputs, return_last_state=True)
    assert largest_error(found[1][1], plain[1][1]) <= 1e-4
    assert largest_error(found[0][1], plain[0][1]) <= 1e-3


def test_hold_repeats_the_last_committed_output() -> None:
    """Before skip term and gate; with its own inputs added it comes nearer."""
    inputs = bare(layer(60))
    plan = planner("stride", 0.5).plan(inputs)

    y = mrss_scan(inputs, plan, backend="naive", emission="hold")

    assert isinstance(y, Tensor)
    deferred = plan.deferred[0].nonzero().flatten()
    assert torch.equal(y[..., deferred], y[..., deferred - 1])
    near = similarity(inputs, plan, "hold+local").mean()
    assert similarity(inputs, plan, "hold").mean() < near


def test_readout_needs_a_kernel_of_its_own() -> None:
    """Other backends say so and what to do; auto takes one that has it."""
    inputs = layer(20)
    plan = planner("stride", 0.5).plan(inputs)

    with pytest.raises(EfficarchError, match=r"'chunked' has no kernel .* use cpp or naive"):
        mrss_scan(inputs, plan, backend="chunked")
    with pytest.raises(UnknownNameError, match="did you mean 'readout'"):
        mrss_scan(inputs, plan, emission="readot")
    assert_same(
        mrss_scan(inputs, plan, return_last_state=True),
        sequential.scan(inputs, plan, return_last_state=True),
    )


@pytest.mark.parametrize("emission", EMISSIONS)
def test_a_plan_for_other_inputs_is_refused(emission: str) -> None:
    """Both shapes are named."""
    plan = planner("stride", 0.5).plan(layer(30))

    with pytest.raises(ValueError, match=r"the plan has shape \(2, 30\), the inputs .*\(2, 20\)"):
        mrss_scan(layer(20), plan, backend="naive", emission=emission)


@pytest.mark.parametrize("emission", ["readout", "hold"])
def test_mamba2_decays_exactly(emission: str) -> None:
    """States that decay alike: the last state is the exact one, if B rests where none is read."""
    inputs = layer(400)
    A = inputs.A[:, :1].expand(-1, 16) * torch.linspace(0.5, 16, 20)[:, None]
    steady = inputs.B[..., ::MAX_RUN].repeat_interleave(MAX_RUN, dim=-1)
    inputs = replace(inputs, A=A, B=steady)
    # a run ends before B changes
    deferred = torch.arange(400).remainder(MAX_RUN) != MAX_RUN - 1
    deferred[0] = False
    plan = Plan(deferred.expand(2, -1))

    _, state = mrss_scan(inputs, plan, backend="naive", emission=emission, return_last_state=True)

    _, exact = naive.scan(inputs.double(), return_last_state=True)
    assert float((state - exact).norm() / exact.norm()) <= 1e-5


def test_the_readout_is_causal_given_the_plan() -> None:
    """Other inputs later change nothing before them, not even within the run."""
    inputs = layer(40)
    later = replace(inputs, u=inputs.u.clone(), B=inputs.B.clone())
    later.u[..., 21:] = 7
    later.B[..., 21:] = -3
    plan = Plan(
        (torch.arange(40).remainder(4) != 0).logical_and(torch.arange(40) < 39).expand(2, -1)
    )

    first, second = (sequential.scan(each, plan) for each in (inputs, later))

    assert torch.equal(first[..., :21], second[..., :21])
    assert not torch.equal(first[..., 21:], second[..., 21:])


@pytest.mark.parametrize("name", ["ar1-0.99", "piecewise"])
def test_redundant_signals_are_scanned_well(name: str) -> None:
    """At half the updates and more the readout keeps to the floors set for it."""
    inputs = layer(600, channels=64, name=name)

    found = similarity(inputs, planner("stride", 0.65).plan(inputs), "readout")

    assert found.mean() >= 0.99
    assert found.quantile(0.05) >= 0.97


def test_holding_fails_without_redundancy() -> None:
    """Of independent tokens nothing can be held: 35 % of them are simply wrong."""
    iid, slow = layer(400, channels=64, name="ar1-0.0"), layer(400, channels=64, name="ar1-0.99")
    plan = planner("random", 0.35).plan(iid)

    assert similarity(iid, plan, "hold").mean() < 0.8
    assert similarity(iid, plan, "hold+local").mean() < 0.95
    assert similarity(slow, plan, "hold").mean() > 0.9


def test_the_readout_fails_where_rates_have_no_ladder() -> None:
    """A ladder that all channels share does not fit channels unlike each other."""
    inputs = layer(400, channels=64, name="ar1-0.9")
    rng = torch.Generator().manual_seed(0)
    unlike = replace(inputs, A=inputs.A.gather(1, torch.rand(64, 16, generator=rng).argsort(1)))
    plan = planner("stride", 0.65).plan(inputs)

    assert similarity(inputs, plan, "readout").mean() > 0.995
    assert similarity(unlike, plan, "readout").mean() < 0.99


COUNTED = tuple(range(1, 257))


@pytest.mark.parametrize("multiples", [COUNTED, MULTIPLES, (1, 1, 1, 1), (1,), (0, 0, 0)])
def test_the_ladder_fits_what_it_can(multiples: tuple[int, ...]) -> None:
    """Rates that are its own multiples have no error; no rates at all are no trouble."""
    own = -torch.tensor([multiples]).double() * torch.tensor([[0.3], [2.0]]).double()

    assert torch.allclose(Ladder(own).rates, own)


@pytest.mark.parametrize(("multiples", "looks"), [(COUNTED, False), (MULTIPLES, True)])
def test_the_ladder_counts_where_that_fits(multiples: tuple[int, ...], looks: bool) -> None:
    """Rates near 1, 2, 3, ... on average over the channels need not be looked up."""
    rng = torch.Generator().manual_seed(0)
    unlike = torch.randn(200, len(multiples), generator=rng)
    A = -torch.tensor(multiples) * torch.exp(0.2 * unlike)

    assert (Ladder(A).rung is not None) == looks


def test_the_ladder_stays_within_half_a_rung() -> None:
    """Rates between two multiples, all channels alike, are off by no more than that."""
    A = -torch.arange(1.0, 100).square().repeat(2, 1).clamp(max=250)

    off = (Ladder(A).rates / A).log().abs()

    assert Ladder(A).rung is not None
    assert float(off.max()) < 0.27
    assert float(off.mean()) < 0.11


@COMPILED
@pytest.mark.parametrize("multiples", [MULTIPLES, (3, 1, 2), (5, 5, 5, 5)])
def test_the_kernel_is_its_twin_on_any_ladder(multiples: tuple[int, ...]) -> None:
    """Rates that are counted, looked up, in any order, and all alike, over more than one tile."""
    inputs = layer(150, state=len(multiples))
    inputs = replace(inputs, A=-torch.tensor(multiples).float().repeat(20, 1) * 1.1)

    assert_twins(inputs, planner("step-size", 0.6))


@COMPILED
def test_states_that_decay_alike_are_read_exactly() -> None:
    """One exponential serves all of them in any step: the kernel runs the plain scan itself."""
    inputs = layer(150)
    alike = replace(inputs, A=inputs.A[:, :1].expand(-1, 16))
    plan = planner("stride", 0.875).plan(alike)

    found = cpp.mrss_scan(alike, plan)

    assert torch.equal(found, cpp.scan(alike))
    assert largest_error(found, naive.scan(alike.double())) <= 1e-5
