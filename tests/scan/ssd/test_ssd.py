"""Claims about the function, its inputs, its table, and the packages behind two of its rows."""

import inspect
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.models.mamba2 import modeling_mamba2

from efficarch.errors import EfficarchError, UnknownNameError
from efficarch.scan import kernel_packages
from efficarch.scan.ssd import (
    SSD_BACKENDS,
    SsdInputs,
    choose,
    fla,
    mamba_ssm,
    parity,
    ssd,
    ssd_backend,
    synthetic_inputs,
)
from efficarch.scan.ssd import naive as oracle
from efficarch.scan.ssd.parity import Case

TRANSFORMERS_SCAN = inspect.unwrap(modeling_mamba2.mamba2_chunk_scan)

RUNNABLE = [
    name for name, row in SSD_BACKENDS.items() if "cpu" in row.devices and row.missing() is None
]


@pytest.mark.parametrize("name", SSD_BACKENDS)
def test_every_row_describes_itself(name: str) -> None:
    """Its name is its key, and no text is empty."""
    row = SSD_BACKENDS[name]

    assert row.name == name
    assert row.summary
    assert row.source


def test_the_names_are_those_of_mamba_ssm() -> None:
    """mamba_chunk_scan_combined's own, without its chunk size; options by keyword."""
    parameters = inspect.signature(ssd).parameters

    assert list(parameters) == [
        *("x", "dt", "A", "B", "C", "D", "z", "dt_bias", "dt_softplus"),
        *("return_final_states", "backend"),
    ]
    assert next(p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY) == "D"


@pytest.mark.parametrize("name", RUNNABLE)
def test_ssd_runs_the_named_backend(name: str) -> None:
    """It returns what the backend returns, with and without the state."""
    inputs = Case(50).inputs()
    named = vars(inputs)

    out, state = ssd(**named, return_final_states=True, backend=name)

    assert torch.equal(out, ssd_backend(name).run(inputs))
    assert torch.equal(out, ssd(**named, backend=name))
    assert state.shape == (2, 4, 4, 8)


def test_auto_is_cpp_and_chunked_for_gradients() -> None:
    """On the CPU; the C++ kernel has no gradients."""
    inputs = Case(8).inputs()
    learning = replace(inputs, x=inputs.x.clone().requires_grad_())

    assert choose("auto", inputs).name in ("cpp", "chunked")
    assert choose("auto", learning).name == "chunked"
    with torch.no_grad():
        assert choose("auto", learning).name == choose("auto", inputs).name


def test_an_unknown_backend_gets_a_hint() -> None:
    """A typing mistake names the backend that was meant."""
    with pytest.raises(UnknownNameError, match="unknown backend 'chunky'; did you mean 'chunked'"):
        ssd(**vars(Case(4).inputs()), backend="chunky")


@pytest.mark.parametrize("name", ["mamba_ssm", "fla"])
def test_a_backend_that_cannot_run_here_is_refused(name: str) -> None:
    """A named backend is never replaced; one sentence gives the shape and the way out."""
    with pytest.raises(EfficarchError, match=r"cannot run: x has shape \(2, 4, 4, 4\), .* on cpu"):
        ssd(**vars(Case(4).inputs()), backend=name)


WRONG = {
    "x": (torch.zeros(2, 7, 4), r"x has shape \(2, 7, 4\), expected \(batch, length, heads"),
    "dt": (torch.zeros(2, 6, 4), r"dt has shape \(2, 6, 4\), expected .* = \(2, 7, 4\)"),
    "A": (torch.zeros(4, 8), r"A has shape \(4, 8\), expected \(heads,\) = \(4,\)"),
    "B": (torch.zeros(2, 7, 8), r"B has shape \(2, 7, 8\), expected \(batch, length, groups"),
    "C": (torch.zeros(2, 7, 2, 8), r"C has shape \(2, 7, 2, 8\), expected .* = \(2, 7, 1, 8\)"),
    "D": (torch.zeros(4, 4), r"D has shape \(4, 4\), expected \(heads,\) = \(4,\)"),
    "z": (torch.zeros(2, 7, 16), r"z has shape \(2, 7, 16\), expected .* = \(2, 7, 4, 4\)"),
    "dt_bias": (torch.zeros(3), r"dt_bias has shape \(3,\), expected \(heads,\) = \(4,\)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_shape_is_named_with_the_expected_one(name: str) -> None:
    """The error says which tensor, what shape it has and what shape it should have."""
    tensor, sentence = WRONG[name]

    with pytest.raises(ValueError, match=sentence):
        replace(Case(7).inputs(), **{name: tensor})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"x": torch.zeros(2, 0, 4, 4)}, r"x has shape \(2, 0, 4, 4\), .* each at least 1"),
        ({"B": torch.zeros(2, 7, 3, 8)}, r"B has shape \(2, 7, 3, 8\), .* divides the 4 heads"),
        ({"B": torch.zeros(2, 7, 1, 257)}, r"B has shape \(2, 7, 1, 257\), .* of 1 to 256"),
        ({"A": torch.zeros(4, dtype=torch.complex64)}, "complex64 on cpu, expected float32 or"),
        (
            {"dt": torch.zeros(2, 7, 4).half()},
            r"dt has .*float16 on cpu, expected torch.float32, as x",
        ),
    ],
    ids=["empty", "groups", "state", "complex", "dtypes"],
)
def test_other_nonsense_is_refused(changes: dict[str, Tensor], sentence: str) -> None:
    """One sentence with the shape in it."""
    with pytest.raises(ValueError, match=sentence):
        replace(Case(7).inputs(), **changes)


def test_a_step_below_zero_is_refused() -> None:
    """States would grow without bound; the bias counts."""
    inputs = Case(7, softplus=False).inputs()
    below = replace(inputs, dt_bias=inputs.dt_bias - 1)

    with pytest.raises(ValueError, match=r"dt has shape \(2, 7, 4\) and, bias .* dt_softplus=True"):
        ssd(**vars(below))
    assert ssd(**vars(replace(below, dt_softplus=True))).shape == (2, 7, 4, 4)


def test_synthetic_inputs_repeat_with_their_seed() -> None:
    """The same seed draws the same numbers; decays and steps are those of a fresh layer."""
    sizes = {"batch": 1, "heads": 24, "head_dim": 64, "state": 128, "length": 33}
    first, again, other = (
        synthetic_inputs(**sizes, seed=seed, device="cpu", dtype=torch.float32)
        for seed in (0, 0, 1)
    )

    assert torch.equal(first.x, again.x)
    assert not torch.equal(first.x, other.x)
    assert first.B.shape == (1, 33, 1, 128)
    assert -16 <= float(first.A.min()) < float(first.A.max()) <= -1
    assert first.dt_softplus


def chunk_scan(x: Tensor, *args: Any, z: Tensor | None, **named: Any) -> Any:
    """Stand in for mamba-ssm: the same call, answered by transformers, which applies no gate."""
    output = TRANSFORMERS_SCAN(x, *args, **named)
    out, state = output if named["return_final_states"] else (output, None)
    out = (out if z is None else out * F.silu(z)).to(x.dtype)
    return (out, state) if named["return_final_states"] else out


def simple_gla(
    *, q: Tensor, k: Tensor, v: Tensor, g: Tensor, scale: float, output_final_state: bool
) -> tuple[Tensor, Tensor | None]:
    """Stand in for fla-core: its documented recurrence, S = exp(g) S + k v^T and o = scale q S."""
    state = torch.zeros(*k.shape[::2], k.shape[3], v.shape[3])  # [B, H, N, P]
    outputs = []
    for t in range(q.shape[1]):
        gate = g[:, t].exp()[..., None, None]
        state = gate * state + k[:, t, :, :, None].float() * v[:, t, :, None].float()
        outputs.append(scale * (q[:, t, :, None].float() @ state)[:, :, 0])
    return torch.stack(outputs, 1).to(v.dtype), state if output_final_state else None


MAMBA_SSM = ("mamba_ssm.ops.triton.ssd_combined", "mamba_chunk_scan_combined", chunk_scan)
FLA = ("fla.ops.simple_gla", "chunk_simple_gla", simple_gla)


@pytest.mark.parametrize(
    ("module", "entry", "dtype"),
    [
        pytest.param(mamba_ssm, MAMBA_SSM, torch.float32, id="mamba_ssm"),
        pytest.param(fla, FLA, torch.float32, id="fla"),
        pytest.param(fla, FLA, torch.bfloat16, id="fla-bfloat16"),
        pytest.param(fla, FLA, torch.float16, id="fla-float16"),
    ],
)
def test_packages_are_called_as_they_ask(
    module: Any, entry: tuple[str, str, Any], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code with the package's arguments in its place gives the scan, with names and layouts."""
    asked, function, stand_in = entry

    def load(name: str) -> SimpleNamespace:
        assert name == asked
        return SimpleNamespace(**{function: stand_in})

    monkeypatch.setattr(module, "import_module", load)
    row = replace(ssd_backend("naive"), run=module.scan)

    parity.require(row, "cpu", dtype)


def test_fla_is_diagnosed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Absent, without a GPU, or broken: one sentence says which and what to do."""
    monkeypatch.setattr(fla, "find_spec", lambda name: None)
    assert fla.missing() == "fla-core is not installed; pip install fla-core"

    monkeypatch.setattr(fla, "find_spec", lambda name: object())
    monkeypatch.setattr(fla, "no_cuda", lambda: "no GPU")
    assert fla.missing() == "no GPU"

    def fail(name: str) -> None:
        raise OSError(f"libtriton.so: undefined symbol in {name}\nand more")

    monkeypatch.setattr(fla, "no_cuda", lambda: None)
    monkeypatch.setattr(kernel_packages, "import_module", fail)
    assert fla.missing() == (
        "fla-core is broken: importing fla.ops.simple_gla raises OSError (libtriton.so: undefined "
        "symbol in fla.ops.simple_gla); mend that or pip uninstall fla-core"
    )


def test_the_oracle_by_hand() -> None:
    """h1 = 0.5*2*3 = 3; h2 = exp(-1)*3 + 1*1*4; y = h C + D x."""
    inputs = SsdInputs(
        x=torch.tensor([3.0, 4.0]).double().view(1, 2, 1, 1),
        dt=torch.tensor([0.5, 1.0]).double().view(1, 2, 1),
        A=torch.tensor([-1.0]).double(),
        B=torch.tensor([2.0, 1.0]).double().view(1, 2, 1, 1),
        C=torch.tensor([10.0, 100.0]).double().view(1, 2, 1, 1),
        D=torch.tensor([1000.0]).double(),
    )
    last = 3 * torch.exp(torch.tensor(-1.0).double()) + 4

    out, state = oracle.scan(inputs, return_last_state=True)

    assert out.flatten().tolist() == pytest.approx([3030.0, 4000 + 100 * float(last)])
    assert state.flatten().tolist() == pytest.approx([float(last)])
