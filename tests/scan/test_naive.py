"""Claims about the oracle: the recurrence itself, on cases whose answer is known."""

from dataclasses import replace

import pytest
import torch
from transformers import MambaConfig
from transformers.models.mamba.modeling_mamba import MambaMixer

from efficarch.scan import ScanInputs, naive
from tests.scan.samples import bare_inputs, largest_error, random_inputs


def test_two_steps_by_hand() -> None:
    """h1 = 0.5*2*3 = 3; h2 = exp(-1)*3 + 1*1*4; y = C h + D u."""
    inputs = ScanInputs(
        u=torch.tensor([[[3.0, 4.0]]]).double(),
        delta=torch.tensor([[[0.5, 1.0]]]).double(),
        A=torch.tensor([[-1.0]]).double(),
        B=torch.tensor([[[2.0, 1.0]]]).double(),
        C=torch.tensor([[[10.0, 100.0]]]).double(),
        D=torch.tensor([1000.0]).double(),
    )
    last = 3 * torch.exp(torch.tensor(-1.0).double()) + 4

    out, state = naive.scan(inputs, return_last_state=True)

    assert out.flatten().tolist() == pytest.approx([3030.0, 4000 + 100 * float(last)])
    assert state.flatten().tolist() == pytest.approx([float(last)])


def test_the_input_term_is_eulers() -> None:
    """One step from zero is delta*B*u however large delta*A: zero-order hold would shrink it."""
    inputs = replace(bare_inputs(1), A=torch.full((4, 8), -1000.0).double())
    step = (inputs.delta * inputs.u)[..., 0]  # [B, D]
    expected = step * (inputs.C * inputs.B).sum((1, 2))  # [B, D]

    torch.testing.assert_close(naive.scan(inputs)[..., 0], expected)


def test_groups_are_runs_of_neighbouring_channels() -> None:
    """Two groups of two channels give what two scans of two channels give."""
    inputs = random_inputs(9, groups=2).double()
    halves = [
        ScanInputs(
            inputs.u[:, part],
            inputs.delta[:, part],
            inputs.A[part],
            inputs.B[:, group],
            inputs.C[:, group],
            inputs.D[part],
            inputs.z[:, part],
            inputs.delta_bias[part],
            delta_softplus=True,
        )
        for group, part in enumerate((slice(0, 2), slice(2, 4)))
    ]

    expected = torch.cat([naive.scan(half) for half in halves], dim=1)

    torch.testing.assert_close(naive.scan(inputs), expected)


def test_float32_stays_close_to_the_oracle() -> None:
    """Rounding in float32 costs less than 1e-4 over a thousand steps."""
    inputs = random_inputs(1134)

    assert largest_error(naive.scan(inputs), naive.scan(inputs.double())) < 1e-4


def test_agrees_with_the_mamba_layer_of_transformers() -> None:
    """A MambaMixer's output is rebuilt from its own projections around this scan."""
    torch.manual_seed(0)
    config = MambaConfig(hidden_size=8, state_size=4, num_hidden_layers=1, expand=2)
    mixer = MambaMixer(config, layer_idx=0).eval()
    x = torch.randn(2, 21, 8)  # [B, L, hidden]
    rank = mixer.time_step_rank

    with torch.no_grad():
        u, z = mixer.in_proj(x).transpose(1, 2).chunk(2, dim=1)  # [B, D, L] each
        u = torch.nn.functional.silu(mixer.conv1d(u)[..., : x.shape[1]])
        steps, B, C = mixer.x_proj(u.transpose(1, 2)).split([rank, 4, 4], dim=-1)
        delta = (steps @ mixer.dt_proj.weight.T).transpose(1, 2)  # [B, D, L]
        A, bias = -torch.exp(mixer.A_log), mixer.dt_proj.bias
        B, C = B.transpose(1, 2), C.transpose(1, 2)  # [B, N, L]
        y = naive.scan(ScanInputs(u, delta, A, B, C, mixer.D, z, bias, delta_softplus=True))
        rebuilt = mixer.out_proj(y.transpose(1, 2))

        assert largest_error(rebuilt, mixer(x)) < 1e-6
