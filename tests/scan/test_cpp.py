"""Claims about the C++ scan: the oracle's results at any shape, layout, dtype and thread count."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from efficarch.errors import EfficarchError
from efficarch.scan import ScanInputs, backend, cpp, naive
from efficarch.scan.parity import Case, difference
from tests.scan.samples import bare_inputs, largest_error, random_inputs

CPP = backend("cpp")

SHAPES = [
    # around the width of a vector, that of a tile of steps, and what fits into registers
    *(Case(100, channels=channels) for channels in (1, 3, 8, 15, 16, 17, 40)),
    *(Case(70, channels=5, state=state) for state in (1, 2, 3, 7, 15, 16, 17, 31, 64, 256)),
    *(Case(length, channels=17) for length in (1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129)),
    *(Case(70, channels=24, groups=groups, state=5) for groups in (1, 2, 3, 8, 24)),
    *(Case(70, channels=20, batch=batch, groups=2) for batch in (1, 3)),
    *(Case(70, channels=20, skip=skip, gate=not skip) for skip in (True, False)),
    Case(70, channels=20, softplus=False),
    Case(70, channels=20, skip=False, gate=False, softplus=False),
]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run on some threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def laid_out(inputs: ScanInputs, sequences: str) -> ScanInputs:
    """Return the same numbers in another memory layout."""
    layouts = {
        "channels-adjoin": lambda x: x.transpose(-1, -2).contiguous().transpose(-1, -2),
        "neither-adjoins": lambda x: x.repeat_interleave(2, -1)[..., ::2],
        "part-of-longer": lambda x: torch.cat([x, x], -1)[..., : x.shape[-1]],
        "part-of-wider": lambda x: torch.cat([x, x], -2)[..., : x.shape[-2], :],
        "unaligned": lambda x: torch.cat([x[..., :1], x], -1)[..., 1:],
    }
    changed = {
        name: layouts[sequences](value) if value.ndim > 1 else value.repeat_interleave(2)[::2]
        for name, value in vars(inputs).items()
        if isinstance(value, Tensor)
    }
    return replace(inputs, **changed)


@pytest.mark.parametrize("case", SHAPES, ids=str)
def test_matches_the_oracle(case: Case) -> None:
    """Output and last state stay within 1e-4 of the float64 oracle at any shape."""
    assert difference(CPP, case.inputs()) is None


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.bfloat16, torch.float16], ids=["fp64", "bf16", "fp16"]
)
def test_matches_the_oracle_in_other_dtypes(dtype: torch.dtype) -> None:
    """Half inputs are computed in float32, float64 ones in float64."""
    inputs = Case(200, channels=20, groups=2).inputs().to(dtype)

    out, state = cpp.scan(inputs, return_last_state=True)

    assert difference(CPP, inputs) is None
    assert out.dtype == dtype
    assert state.dtype == torch.promote_types(dtype, torch.float32)


@pytest.mark.parametrize(
    "layout",
    ["channels-adjoin", "neither-adjoins", "part-of-longer", "part-of-wider", "unaligned"],
)
def test_the_layout_in_memory_does_not_matter(layout: str) -> None:
    """Views are read where they are, or copied; the numbers come out the same to the last bit."""
    inputs = Case(100, channels=20, groups=2).inputs()

    assert torch.equal(cpp.scan(laid_out(inputs, layout)), cpp.scan(inputs))


def test_expanded_inputs() -> None:
    """One row repeated without memory of its own is read as if it had some."""
    inputs = random_inputs(50, batch=1)
    shared = replace(
        inputs,
        u=inputs.u[:, :1].expand(2, 4, 50),
        **{name: getattr(inputs, name).expand(2, -1, -1) for name in ("delta", "z")},
        **{name: getattr(inputs, name).expand(2, -1, -1, -1) for name in ("B", "C")},
    )

    assert difference(CPP, shared) is None


def test_the_output_is_laid_out_as_u() -> None:
    """What comes in channels last goes out channels last, without a copy in between."""
    inputs = laid_out(random_inputs(50), "channels-adjoin")

    assert cpp.scan(inputs).stride() == inputs.u.stride()


@pytest.mark.parametrize("channels", [16, 100], ids="channels={}".format)
def test_threads_change_nothing(channels: int) -> None:
    """One thread, two or three give the same bits."""
    inputs = Case(300, channels=channels, groups=2).inputs()
    with threads(1):
        expected = cpp.scan(inputs, return_last_state=True)

    for count in (2, 3):
        with threads(count):
            actual = cpp.scan(inputs, return_last_state=True)
        assert torch.equal(actual[0], expected[0])
        assert torch.equal(actual[1], expected[1])


def test_long_sequences() -> None:
    """Errors do not pile up over 20,000 steps: at most 100 roundings of the largest output."""
    inputs = Case(20_000, batch=1).inputs()

    expected = naive.scan(inputs.double())

    assert largest_error(cpp.scan(inputs), expected) <= 100 * 2**-24 * expected.abs().max()


def test_a_split_scan_is_the_whole_scan() -> None:
    """The state after the first part, decayed, is what the second part adds to."""
    inputs = bare_inputs(150)
    first, second = (_part(inputs, part) for part in (slice(0, 70), slice(70, 150)))

    out, state = cpp.scan(inputs, return_last_state=True)
    out_1, state_1 = cpp.scan(first, return_last_state=True)
    out_2, state_2 = cpp.scan(second, return_last_state=True)
    elapsed = second.delta.cumsum(-1)[:, :, None]  # [B, D, 1, L]
    carried = torch.exp(elapsed * inputs.A[..., None]) * state_1[..., None]  # [B, D, N, L]

    torch.testing.assert_close(out, torch.cat([out_1, out_2 + (carried * second.C).sum(2)], -1))
    torch.testing.assert_close(state, state_2 + carried[..., -1])


def test_a_zero_step_is_the_identity() -> None:
    """Steps of size zero leave the state as it is, to the last bit."""
    inputs = bare_inputs(40).to(torch.float32)
    inputs.delta[..., 25:] = 0

    state = cpp.scan(inputs, return_last_state=True)[1]

    expected = cpp.scan(_part(inputs, slice(0, 25)), return_last_state=True)[1]
    assert torch.equal(state, expected)


def test_no_decay_is_a_sum() -> None:
    """With A = 0 the last state is the sum of delta * u * B, over 5,000 steps."""
    inputs = bare_inputs(5_000)
    still = replace(inputs, A=torch.zeros_like(inputs.A)).to(torch.float32)

    state = cpp.scan(still, return_last_state=True)[1]

    summed = ((inputs.delta * inputs.u)[:, :, None] * inputs.B).sum(-1)  # [B, D, N]
    assert largest_error(state, summed) <= 1e-3


@pytest.mark.parametrize("rate", [1e-4, 1.0, 1e4, 1e30], ids="rate={}".format)
@pytest.mark.parametrize("step", [1e-6, 1.0, 1e4, 1e30], ids="step={}".format)
def test_any_decay_stays_finite(rate: float, step: float) -> None:
    """A step may forget all or nothing; products of huge rates and steps are a decay of zero."""
    inputs = bare_inputs(100).to(torch.float32)
    inputs = replace(
        inputs, A=torch.full_like(inputs.A, -rate), delta=torch.full_like(inputs.delta, step)
    )

    out = cpp.scan(inputs)

    expected = naive.scan(inputs.double())
    assert out.isfinite().all()
    assert ((out - expected).abs() <= 1e-4 * (1 + expected.abs().max())).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["u", "delta", "z"])
def test_what_is_not_finite_stays_where_it_belongs(name: str, value: float) -> None:
    """It reaches its own channel from its step on, as in the oracle, and no other."""
    inputs = Case(100, channels=20).inputs()
    clean = cpp.scan(inputs)
    getattr(inputs, name)[1, 3, 40] = value

    out = cpp.scan(inputs)

    expected = naive.scan(inputs)
    assert torch.equal(out.isfinite(), expected.isfinite())
    elsewhere = torch.ones_like(out, dtype=torch.bool)
    elsewhere[1, 3, 40:] = False
    assert torch.equal(out[elsewhere], clean[elsewhere])


def test_the_exponential_of_the_recurrence() -> None:
    """2^x is within 2.5 ulp wherever it is a normal number, and exact at whole x."""
    x = torch.cat([torch.linspace(-126, 127.49, 1_000_003), -torch.logspace(-30, 0, 10_000)])
    whole = torch.arange(-126.0, 128.0)

    assert largest_ulps(cpp.exp2(x), torch.exp2(x.double())) <= 2.5
    assert torch.equal(cpp.exp2(whole), torch.exp2(whole.double()).float())


def test_the_ends_of_the_exponential_of_the_recurrence() -> None:
    """Below the normal numbers nothing is left to speak of; above all numbers is infinity."""
    low = torch.cat([torch.linspace(-150, -126, 10_001), torch.tensor([-1e4, -3e38])])
    high = torch.tensor([128.0, 129.0, 200.0, 1e4, 3e38])

    assert largest_error(cpp.exp2(low), torch.exp2(low.double())) <= 2**-126
    assert (cpp.exp2(low) >= 0).all()
    assert cpp.exp2(high).isposinf().all()
    assert cpp.exp2(torch.tensor([float("nan")] * 20)).isnan().all()


def test_the_exponential_of_softplus_and_gate() -> None:
    """e^x adds to the error of 2^x that of x / ln 2, a relative one, and so grows with x."""
    x = torch.linspace(-87.3, 88.3, 1_000_003)

    ulps = (cpp.exp(x) - torch.exp(x.double())).abs() / ulp(torch.exp(x.double()))

    assert (ulps <= 2.5 + 1.25 * x.abs()).all()


def test_the_ends_of_the_exponential_of_softplus_and_gate() -> None:
    """Infinite arguments and NaN give what they give everywhere."""
    infinity = float("inf")
    x = torch.tensor([-infinity, -1e30, -200.0, 0.0, 200.0, 1e30, infinity, float("nan")])

    assert str(cpp.exp(x).tolist()) == "[0.0, 0.0, 0.0, 1.0, inf, inf, inf, nan]"


def test_gradients_are_refused() -> None:
    """It has none, says so, and runs where none are wanted."""
    inputs = random_inputs(5)
    inputs.u.requires_grad_()

    with pytest.raises(EfficarchError, match=r"has no gradients .* use chunked, or torch.no_grad"):
        cpp.scan(inputs)
    with torch.no_grad():
        assert not cpp.scan(inputs).requires_grad


def test_another_device_is_refused() -> None:
    """The error names where the tensor is."""
    with pytest.raises(EfficarchError, match="runs on the CPU and got a tensor on meta; use chunk"):
        cpp.scan(random_inputs(5).to(torch.float32, "meta"))


def largest_ulps(actual: Tensor, expected: Tensor) -> float:
    """Return the largest error in units of the last place of the expected float32."""
    return float(((actual - expected).abs() / ulp(expected)).max())


def ulp(expected: Tensor) -> Tensor:
    """Return the distance between neighbouring normal float32 numbers around a float64 number."""
    return torch.exp2(torch.frexp(expected).exponent.double() - 24)


def _part(inputs: ScanInputs, part: slice) -> ScanInputs:
    cut = {name: getattr(inputs, name)[..., part] for name in ("u", "delta", "B", "C")}
    return replace(inputs, **cut)
