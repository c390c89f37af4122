"""Measure a trained byte-level Mamba again: python -m benchmarks.byte_mamba.evaluate.

Prints its bits per byte of held-out text, those of gzip and a bigram model, and what its
description records of each.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from benchmarks.byte_mamba.train import held_out_bits
from benchmarks.output import say
from efficarch.errors import EfficarchError
from efficarch.models.byte_mamba import DATA, description, packaged_state
from efficarch.models.byte_text import HELD_OUT, digest
from efficarch.models.loading import load_state


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate and print; return the exit code."""
    found = argparse.ArgumentParser(prog="evaluate", description=__doc__.partition("\n")[0])
    found.add_argument(
        "--folder", type=Path, default=DATA, help="of the checkpoint (default: the package's own)"
    )
    try:
        run(found.parse_args(arguments).folder)
    except EfficarchError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def run(folder: Path) -> None:
    """Print the bits per byte of the checkpoint in a folder, measured now and recorded."""
    recorded = description(folder)
    text = digest(HELD_OUT)
    say(f"held out: {text.files} files, {text.bytes:,} bytes, SHA-256 {text.sha256}...")
    say(f"recorded: SHA-256 {recorded['held_out_text']['sha256']}..., Python {recorded['python']}")
    for name, bits in held_out_bits(trained(folder)).items():
        say(f"{name}: {bits:.4f}, recorded {recorded['held_out_bits_per_byte'][name]:.4f}")


def trained(folder: Path) -> nn.Module:
    """Return the `transformers.MambaForCausalLM` in a folder.

    Raises:
        MissingWeightsError: its files are missing, or do not belong together.
    """
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(**description(folder)["config"])
    model: nn.Module = load_state(MambaForCausalLM, config, packaged_state(folder))
    return model.eval()


if __name__ == "__main__":
    sys.exit(main())
