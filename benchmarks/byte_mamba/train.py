"""Train the byte-level Mamba that ships with efficarch: python -m benchmarks.byte_mamba.train.

Writes ``byte_mamba.safetensors`` and, last, ``byte_mamba.json``, which says what it is: settings,
data, Python, the checkpoint's SHA-256, and bits per byte beside those of gzip and a bigram model.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from benchmarks.byte_mamba.baselines import bigram_bits, gzip_bits
from benchmarks.byte_mamba.fast_mixer import fast_mixers
from benchmarks.byte_mamba.recipe import SHARDS, Recipe, train
from benchmarks.output import say
from efficarch.errors import EfficarchError
from efficarch.models.byte_mamba import CHECKPOINT, DATA, DESCRIPTION
from efficarch.models.byte_text import (
    HELD_OUT,
    as_tensor,
    bits_per_byte,
    digest,
    held_out_bytes,
    held_out_segments,
    training_bytes,
    training_files,
)
from efficarch.store import write_text

STEPS = 2400
SPAN = 100
"""Steps between two lines of progress, each with the mean over those steps."""

CONTEXTS = {256: 128, 1152: 64, 4096: 32, 16384: 16}
"""Segment lengths of the evaluation, and how many segments of each."""


class Progress:
    """Collects the bits per byte of training, and says where it is after every span."""

    def __init__(self, steps: int) -> None:
        self.steps, self.begun = steps, time.monotonic()
        self.recent: list[float] = []
        self.curve: list[tuple[int, float]] = []

    def __call__(self, step: int, bits: float) -> None:
        """Take the bits per byte of one step."""
        self.recent.append(bits)
        done = step + 1
        if done % SPAN and done != self.steps:
            return
        mean = sum(self.recent) / len(self.recent)
        self.curve.append((done, round(mean, 4)))
        self.recent.clear()
        left = self.seconds() / done * (self.steps - done)
        say(f"step {done}/{self.steps}: {mean:.3f} bits per byte in training, {left:.0f} s left")

    def seconds(self) -> float:
        """Return how long the training has taken so far."""
        return time.monotonic() - self.begun


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, evaluate, write; return the exit code."""
    options = parser().parse_args(arguments)
    try:
        run(Recipe(options.steps, options.seed), options.out, threads=options.threads)
    except EfficarchError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    found = argparse.ArgumentParser(prog="train", description=__doc__.partition("\n")[0])
    found.add_argument("--steps", type=positive, default=STEPS, help="default: %(default)s")
    found.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    found.add_argument("--out", type=Path, default=DATA, help="folder (default: the package's own)")
    found.add_argument(
        "--threads",
        type=positive,
        default=SHARDS,
        help=f"change nothing but the time; more than {SHARDS} do not help (default: %(default)s)",
    )
    return found


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise ValueError(f"{number} is below 1")
    return number


def run(recipe: Recipe, out: Path, *, threads: int) -> None:
    """Train by a recipe and write the checkpoint and its description into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    say(f"training {recipe.steps} steps; scan: fast_mixer.cpp, {threads} threads")
    progress = Progress(recipe.steps)
    model = train(recipe, as_tensor(training_bytes()), threads=threads, report=progress)
    seconds = progress.seconds()
    bits = held_out_bits(model)
    content = checkpoint(model)
    description = {
        **inputs(recipe),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "checkpoint": {"bytes": len(content), "sha256": sha256(content).hexdigest()},
        "training_seconds": round(seconds),
        "training_bits_per_byte": progress.curve,
        "held_out_bits_per_byte": bits,
    }
    write_bytes(out / CHECKPOINT, content)
    write_text(out / DESCRIPTION, json.dumps(description, indent=1) + "\n")
    say(f"wrote {out / CHECKPOINT}: {bits}")


def inputs(recipe: Recipe) -> dict[str, Any]:
    """Return what a run started from, and with what."""
    return {
        "config": recipe.config(),
        "recipe": asdict(recipe),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "training_text": asdict(digest(training_files())),
        "held_out_text": asdict(digest(HELD_OUT)),
    }


def held_out_bits(model: nn.Module) -> dict[str, float]:
    """Return the bits per byte of held-out text, at several contexts and of the baselines."""
    training, held_out = training_bytes(), held_out_bytes()
    with fast_mixers(model):
        bits = {
            f"{count} segments of {length} bytes": mean_bits(
                model, held_out_segments(length, count)
            )
            for length, count in CONTEXTS.items()
        }
    bits["gzip -9"] = round(gzip_bits(held_out), 4)
    bits["bigram model"] = round(bigram_bits(training, held_out), 4)
    return bits


def mean_bits(model: nn.Module, segments: Tensor) -> float:
    """Return the mean bits per byte of segments, to four digits."""
    return round(float(bits_per_byte(model, segments).mean()), 4)


def checkpoint(model: nn.Module) -> bytes:
    """Return the weights as safetensors in float32; the tied output matrix is left out."""
    from safetensors.torch import save

    state = {
        name: value.contiguous()
        for name, value in model.state_dict().items()
        if name != "lm_head.weight"
    }
    return save(state, {"format": "pt"})


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file or nothing: to a temporary file beside it, then rename."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
