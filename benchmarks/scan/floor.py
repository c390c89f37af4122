"""Time the scans of one Mamba layer against each other and against the machine.

Run it as ``python -m benchmarks.scan.floor``. Contestants alternate in a new random order each
round; figures are medians over rounds, ratios those of rounds, with 95 % intervals. Nobody is timed
whose output is not the float64 oracle's. The floor counts what no scan of these sizes can do
without, at rates measured beside it on the same threads.
"""

import argparse
import inspect
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.output import say
from efficarch.errors import EfficarchError
from efficarch.record import Estimate
from efficarch.scan import ScanInputs, chunked, cpp, naive, synthetic_inputs
from efficarch.stats import MIN_ROUNDS, median_interval, paired_ratio
from efficarch.timing import WallClock

# B batch, D channels, N state size, L length

Call = Callable[[], Tensor]

TOLERANCE = 1e-4
"""Largest difference from the float64 oracle of an output that is timed."""

RATIOS = (
    ("naive", "cpp", 10.0),
    ("transformers", "cpp", 5.0),
    ("naive", "chunked", 3.0),
    ("mambapy", "chunked", 1.0),
)
"""Slower and faster contestant, and the ratio of their latencies to reach."""

MULTIPLY_ADDS = 4
"""Per channel, state and step: ``delta * A``, ``delta u * B``, ``decay * h +`` and ``C * h +``."""

SMALL, LARGE = 2**20, 2**24
"""Numbers in a tensor that a cache holds, whose call costs little beside, and in one none holds."""

REPEATS, SQUARE = 16, 1024
PROBED = {"exponentials": REPEATS * SMALL, "multiply-adds": SQUARE**3, "bytes": 3 * 4 * LARGE}
"""What one call of each probe does: 2^x as in the kernel, a matrix product, c = a + b."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    options = parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    try:
        with torch.inference_mode():
            run(options.channels, options.length, options.rounds)
    except EfficarchError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    found = argparse.ArgumentParser(prog="floor", description=__doc__.partition("\n")[0])
    found.add_argument("--channels", type=int, default=1536, help="D (default: %(default)s)")
    found.add_argument("--length", type=int, default=4096, help="L (default: %(default)s)")
    found.add_argument(
        "--rounds", type=int, default=9, help=f"at least {MIN_ROUNDS} (default: %(default)s)"
    )
    found.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    return found


def run(channels: int, length: int, rounds: int) -> None:
    """Print the latencies, their ratios and the floor of a layer with 16 states, batch 1."""
    inputs = synthetic_inputs(
        batch=1,
        channels=channels,
        state=16,
        length=length,
        seed=0,
        device="cpu",
        dtype=torch.float32,
    )
    say(f"B=1, D={channels}, N=16, L={length}, float32, {torch.get_num_threads()} threads")
    calls = contestants(inputs)
    check(calls, inputs)
    latency_ms = interleaved({**calls, **probes()}, rounds)
    for name in calls:
        say(f"{name:13} {shown(median_interval(latency_ms[name]))} ms")
    for slow, fast, goal in RATIOS:
        if slow in calls:
            ratio = paired_ratio(latency_ms[slow], latency_ms[fast])
            say(f"{slow} / {fast}: {shown(ratio)}, goal {goal:g}: {verdict(ratio, goal)}")
    floor(inputs, latency_ms)


def contestants(inputs: ScanInputs) -> dict[str, Call]:
    """Return our scans and, where they are installed, the peers, each in its own layout."""
    calls: dict[str, Call] = {
        "naive": lambda: as_tensor(naive.scan(inputs)),
        "chunked": lambda: as_tensor(chunked.scan(inputs)),
        "cpp": lambda: as_tensor(cpp.scan(inputs)),
        "transformers": lambda: transformers_scan(inputs),
    }
    if find_spec("mambapy") is None:
        say("mambapy is not installed and not compared; pip install mambapy")
    else:
        calls["mambapy"] = mambapy_scan(inputs)
    return calls


def transformers_scan(inputs: ScanInputs) -> Tensor:
    """Run the path that a Mamba of transformers takes in plain PyTorch."""
    modeling = import_module("transformers.models.mamba.modeling_mamba")
    # what wraps it would prefer an installed mamba_ssm, which has no kernel for the CPU
    torch_path = inspect.unwrap(modeling.mamba_selective_scan)
    return as_tensor(torch_path(*vars(inputs).values()))


def mambapy_scan(inputs: ScanInputs) -> Call:
    """Return mambapy's parallel scan on inputs laid out as it wants them, [B, L, D]."""
    block = import_module("mambapy.mamba").MambaBlock
    u, delta, B, C = (
        each.transpose(1, 2).contiguous() for each in (inputs.u, inputs.delta, inputs.B, inputs.C)
    )
    bias = 0 if inputs.delta_bias is None else inputs.delta_bias

    def scan() -> Tensor:
        # the method reads nothing of the block it belongs to
        out = block.selective_scan(None, u, F.softplus(delta + bias), inputs.A, B, C, inputs.D)
        return as_tensor(out).transpose(1, 2)

    return scan


def check(calls: Mapping[str, Call], inputs: ScanInputs) -> None:
    """Compare every contestant with the oracle.

    Raises:
        EfficarchError: one of them is outside ``TOLERANCE``.
    """
    oracle = as_tensor(naive.scan(inputs.double()))
    for name, call in calls.items():
        error = float((call() - oracle).abs().max())
        # written so that NaN is outside
        if not error <= TOLERANCE:
            raise EfficarchError(
                f"{name} differs from the float64 oracle by {error:.2g}, so nothing is timed"
            )


def probes() -> dict[str, Call]:
    """Return what measures the rates of the machine; ``PROBED`` says how much each does."""
    small = torch.linspace(-20, 0, SMALL)
    square = torch.rand(SQUARE, SQUARE)
    a, b, c = torch.rand(3, LARGE)

    def exponentials() -> Tensor:
        for _ in range(REPEATS - 1):
            cpp.exp2(small)
        return cpp.exp2(small)

    return {
        "exponentials": exponentials,
        "multiply-adds": lambda: square @ square,
        "bytes": lambda: torch.add(a, b, out=c),
    }


def interleaved(calls: Mapping[str, Call], rounds: int) -> dict[str, list[float]]:
    """Return one latency in milliseconds per round for every call, after a round to warm up."""
    clock, rng = WallClock(), random.Random(0)
    latency_ms: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name in rng.sample(list(calls), len(calls)):
            elapsed = clock.time_ms(calls[name])
            if turn:
                latency_ms[name].append(elapsed)
    return latency_ms


def floor(inputs: ScanInputs, latency_ms: Mapping[str, Sequence[float]]) -> None:
    """Print what the machine needs for the work that no scan avoids, and the share cpp reaches."""
    updates = inputs.u.numel() * inputs.state
    moved = 4 * (3 * inputs.u.numel() + inputs.B.numel() + inputs.C.numel())
    needed = {"exponentials": updates, "multiply-adds": MULTIPLY_ADDS * updates, "bytes": moved}
    needed_ms = {
        work: [each * amount / PROBED[work] for each in latency_ms[work]]
        for work, amount in needed.items()
    }
    for work, amount in needed.items():
        rate = PROBED[work] / median_interval(latency_ms[work]).value / 1e6
        say(
            f"{amount / 1e6:.1f} M {work} at {rate:.1f} G/s: "
            f"{shown(median_interval(needed_ms[work]))} ms"
        )
    # exponentials and multiply-adds run on the same units, beside what memory does
    pairs = zip(needed_ms["exponentials"], needed_ms["multiply-adds"], strict=True)
    arithmetic = [sum(pair) for pair in pairs]
    bounds = {"arithmetic": arithmetic, "memory": needed_ms["bytes"]}
    name = max(bounds, key=lambda each: median_interval(bounds[each]).value)
    share = paired_ratio(bounds[name], latency_ms["cpp"])
    say(
        f"floor: {name}, {shown(median_interval(bounds[name]))} ms; "
        f"cpp reaches {shown(share)} of its speed"
    )


def as_tensor(output: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    """Return an output without its last state, which nobody here asks for."""
    return output if isinstance(output, Tensor) else output[0]


def verdict(ratio: Estimate, goal: float) -> str:
    """Say whether a goal is reached by the whole interval, by the median alone, or not."""
    if ratio.low >= goal:
        return "reached"
    return "reached by the median alone" if ratio.value >= goal else "missed"


def shown(estimate: Estimate) -> str:
    """Return a figure with its interval, three digits each."""
    return f"{estimate.value:.3g} [{estimate.low:.3g}, {estimate.high:.3g}]"


if __name__ == "__main__":
    sys.exit(main())
