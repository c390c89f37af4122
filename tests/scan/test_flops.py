"""Claims about the analytic operation counts."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from efficarch.scan.attention import synthetic_qkv
from efficarch.scan.flops import attention_flops, scan_flops


def test_attention_is_half_of_two_dense_products() -> None:
    """The formula is half of what torch counts for an unmasked q k^T and its product with v."""
    q, k, v = synthetic_qkv(
        batch=2, heads=3, head_dim=8, length=64, seed=0, device="cpu", dtype=torch.float32
    )
    with FlopCounterMode(display=False) as counter:
        (q @ k.transpose(-1, -2)) @ v

    assert 2 * attention_flops(batch=2, heads=3, head_dim=8, length=64) == counter.get_total_flops()


def test_attention_is_quadratic_and_the_scan_linear() -> None:
    """Doubling the length quadruples the one and doubles the other."""
    attention = [attention_flops(batch=1, heads=4, head_dim=64, length=n) for n in (512, 1024)]
    scan = [scan_flops(batch=1, channels=256, state=16, length=n) for n in (512, 1024)]

    assert attention[1] == 4 * attention[0]
    assert scan[1] == 2 * scan[0]


def test_scan_counts_one_step_by_hand() -> None:
    """One channel, one state, one step: 7 for the state, 3 for the channel."""
    assert scan_flops(batch=1, channels=1, state=1, length=1) == 10
    assert scan_flops(batch=2, channels=3, state=4, length=5) == 2 * 3 * 5 * (7 * 4 + 3)
