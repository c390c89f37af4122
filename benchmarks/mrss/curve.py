"""Updates saved against what they cost on the trained byte model: python -m benchmarks.mrss.curve.

Whole model, held-out text. Bits per byte lost are paired by segment; so is the divergence
KL(dense || deferred) of the next-byte distributions, in bits, which sees what the bits, up on one
byte and down on the next, do not. Intervals are 95 % over segments.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.mrss.alternatives import decimated, multirate, shortened_blocks
from benchmarks.output import say
from efficarch.contests.mrss import term_similarity
from efficarch.errors import EfficarchError
from efficarch.models.base import WeightsRequest
from efficarch.models.byte_mamba import load
from efficarch.models.byte_text import as_tensor, held_out_segments, training_bytes
from efficarch.quality import summarise
from efficarch.record import CosSim, Estimate, Weights
from efficarch.scan.base import ScanInputs, ScanOutput
from efficarch.scan.layer_scans import BackendRun, Run, backend_scans, scans_by_layer
from efficarch.scan.mrss import (
    Observation,
    Plan,
    Planner,
    Threshold,
    attached,
    observed,
    planner,
    score,
)
from efficarch.stats import mean_interval
from efficarch.store import write_text

SAVINGS = (0.35, 0.5, 0.75)
LENGTH = 1024
SEGMENTS = 12
CALIBRATION = 4
"""Segments of the text trained on, for thresholds and allotments; none of them is held out."""

OBSERVED = 2
"""Segments whose SSM terms are compared, layer by layer."""

SHARES = tuple(0.05 * step for step in range(18))
"""What a layer may save where layers save differently."""

RANKED = ("random", "stride", "step-size", "gated-step", "j-score", "input-change")
BEST = "gated-step"
RIVALS = ("random", "stride", "step-size")
Attach = Callable[[nn.Module], AbstractContextManager[None]]


@dataclass(frozen=True)
class Row:
    """One way to save, measured; arrays are by segment."""

    name: str
    asked: float
    saved: float
    bits: tuple[float, ...]
    divergence: tuple[float, ...]
    layers: tuple[CosSim, ...]

    @property
    def bits_lost(self) -> Estimate:
        """Mean bits per byte lost, with its interval."""
        return mean_interval(self.bits)


class Bench:
    """The model, the segments, and the dense model's own figures on them."""

    def __init__(self) -> None:
        self.model = load(WeightsRequest(Weights.PRETRAINED, None, 0)).model
        self.segments = held_out_segments(LENGTH, SEGMENTS)
        text = training_bytes()
        room = len(text) - LENGTH
        starts = [room * place // CALIBRATION for place in range(CALIBRATION)]
        self.calibration = torch.stack([as_tensor(text[at : at + LENGTH]) for at in starts])
        with backend_scans(self.model, BackendRun("cpp")):
            self.dense = [self._logs(segment) for segment in self.segments]

    def row(self, name: str, saving: float, attach: Attach, saved: float | None = None) -> Row:
        """Measure the model inside ``attach``; the layers only where a planner can be observed."""
        bits, divergence = [], []
        with attach(self.model):
            for segment, dense in zip(self.segments, self.dense, strict=True):
                logs = self._logs(segment)
                targets = segment[1:, None]
                lost = dense.gather(1, targets) - logs.gather(1, targets)
                bits.append(float(lost.mean()) / math.log(2))
                nats = F.kl_div(logs, dense, reduction="batchmean", log_target=True)
                divergence.append(float(nats) / math.log(2))
        share = saving if saved is None else saved
        return Row(name, saving, share, tuple(bits), tuple(divergence), ())

    def planned(
        self, name: str, saving: float, plans: Planner | Callable[[int], Planner], emission: str
    ) -> Row:
        """Measure what planners cost, and compare the SSM terms of some segments."""
        seen: list[Observation] = []
        with attached(self.model, plans, emission=emission, observe=seen.append):
            for segment in self.segments[:OBSERVED]:
                self._logs(segment)
        saved = sum(each.plan.updates_saved for each in seen) / len(seen)
        row = self.row(
            name, saving, lambda model: attached(model, plans, emission=emission), saved=saved
        )
        return Row(row.name, saving, saved, row.bits, row.divergence, _by_layer(seen))

    def scanned(self, name: str, saving: float, run: Run) -> Row:
        """Measure another scan in every layer."""
        return self.row(name, saving, lambda model: scans_by_layer(model, lambda _: run))

    def inputs(self) -> list[list[ScanInputs]]:
        """Return the scan inputs of each layer on the calibration segments."""
        seen: list[Observation] = []
        with attached(self.model, planner("none", 0.0), observe=seen.append):
            for segment in self.calibration:
                self._logs(segment)
        layers = 1 + max(each.layer for each in seen)
        return [[x.inputs for x in seen if x.layer == layer] for layer in range(layers)]

    def _logs(self, segment: Tensor) -> Tensor:  # [L] -> [L - 1, 256], float64
        logits = self.model(input_ids=segment[None], use_cache=False).logits[0, :-1]
        return F.log_softmax(logits.double(), dim=-1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the JSON; return the exit code."""
    parser = argparse.ArgumentParser(prog="curve", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("mrss-curve.json"), help="JSON to write")
    options = parser.parse_args(arguments)
    try:
        torch.set_grad_enabled(False)
        bench = Bench()
        rows = [*_ranked(bench), *_causal(bench), *_allotted(bench), *_others(bench)]
        say(f"\n{BEST} against its rivals, bits of divergence saved, paired by segment:")
        _compare(rows)
        write_text(options.out, json.dumps([_plain(row) for row in rows], indent=1) + "\n")
    except EfficarchError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def _ranked(bench: Bench) -> list[Row]:
    """Measure each planner at each saving, with readout."""
    say("planner, readout: saved, bits lost per byte [95 %], divergence, CosSim (p5) by layer")
    rows = []
    for saving in SAVINGS:
        for name in (*RANKED, *(("oracle",) if saving == 0.5 else ())):
            rows.append(_told(bench.planned(name, saving, planner(name, saving), "readout")))
    return rows


def _causal(bench: Bench) -> list[Row]:
    """Measure thresholds calibrated on training text, layer by layer."""
    inputs, rows = bench.inputs(), []
    for saving in SAVINGS:
        layers = [Threshold.calibrated(score(BEST), each, saving=saving) for each in inputs]
        rows.append(
            _told(bench.planned(f"{BEST}-threshold", saving, layers.__getitem__, "readout"))
        )
    return rows


def _allotted(bench: Bench) -> list[Row]:
    """Measure savings that differ between layers: more where the SSM term suffers less."""
    errors, rows = [_errors(each[:1]) for each in bench.inputs()], []
    for saving in SAVINGS[:-1]:
        shares = _allot(errors, saving)
        layers = [planner(BEST, share) for share in shares]
        name = "allotted " + "/".join(f"{share:.2f}" for share in shares)
        rows.append(_told(bench.planned(name, saving, layers.__getitem__, "readout")))
    return rows


def _errors(inputs: Sequence[ScanInputs]) -> list[float]:
    """Return the squared relative error of a layer's SSM term for each of `SHARES`."""
    found = []
    for share in SHARES:
        plans = planner(BEST, share)
        seen = [observed(0, each, plans.plan(each)) for each in inputs]
        found.append(sum(float((x.ssm - x.exact).norm() / x.exact.norm()) ** 2 for x in seen))
    return found


def _allot(errors: Sequence[Sequence[float]], saving: float) -> list[float]:
    """Raise the share of the layer whose error grows least, until the mean is the saving."""
    places = [0] * len(errors)
    while sum(SHARES[place] for place in places) < saving * len(errors) - 1e-9:
        able = [layer for layer, place in enumerate(places) if place + 1 < len(SHARES)]
        best = min(able, key=lambda layer: _growth(errors[layer], places[layer]))
        places[best] += 1
    return [SHARES[place] for place in places]


def _growth(errors: Sequence[float], place: int) -> float:
    return errors[place + 1] - errors[place]


def _others(bench: Bench) -> list[Row]:
    """Measure the emissions that need no kernel of their own, and what else saves updates."""
    rows = []
    for saving in SAVINGS[:2]:
        for name in ("input-change", "stride"):
            for emission in ("hold+local", "hold"):
                plans = planner(name, saving)
                rows.append(_told(bench.planned(f"{name} {emission}", saving, plans, emission)))
        small = planner("step-size", saving)
        rows.append(_told(bench.scanned("decimated", saving, _without_state(small, decimated))))
        if saving <= 0.375:
            rate = _without_state(small, partial(_multirate, saving))
            rows.append(_told(bench.scanned("multirate", saving, rate)))
        rows.append(_told(bench.row("blocks", saving, partial(shortened_blocks, saving=saving))))
    return rows


def _multirate(saving: float, inputs: ScanInputs, plan: Plan) -> Tensor:
    del plan  # it has strides of its own
    return multirate(inputs, saving)


def _without_state(plans: Planner, scan: Callable[[ScanInputs, Plan], Tensor]) -> Run:
    """Return a scan that plans for itself; a model that fills no cache asks for no state."""

    def run(inputs: ScanInputs, return_last_state: bool) -> ScanOutput:
        if return_last_state:
            raise EfficarchError("alternatives return no state; run the model without a cache")
        return scan(inputs, plans.plan(inputs))

    return run


def _by_layer(seen: Sequence[Observation]) -> tuple[CosSim, ...]:
    layers = sorted({each.layer for each in seen})
    return tuple(
        summarise(torch.cat([term_similarity(each) for each in seen if each.layer == layer]))
        for layer in layers
    )


def _told(row: Row) -> Row:
    bits, divergence = row.bits_lost, mean_interval(row.divergence)
    layers = " ".join(f"{layer.mean:.4f} ({layer.p5:.4f})" for layer in row.layers)
    say(
        f"{row.name:32} {row.saved:6.1%}  {bits.value:8.5f} [{bits.low:8.5f}, {bits.high:8.5f}]  "
        f"{divergence.value:.6f}  {layers}"
    )
    return row


def _compare(rows: Sequence[Row]) -> None:
    for saving in SAVINGS:
        of = {row.name: row for row in rows if row.asked == saving}
        for rival in RIVALS:
            pairs = zip(of[rival].divergence, of[BEST].divergence, strict=True)
            gain = mean_interval([theirs - ours for theirs, ours in pairs])
            say(f"{saving:6.0%} {rival:12} {gain.value:9.6f} [{gain.low:9.6f}, {gain.high:9.6f}]")


def _plain(row: Row) -> dict[str, object]:
    return {**asdict(row), "bits_lost": asdict(row.bits_lost)}


if __name__ == "__main__":
    sys.exit(main())
