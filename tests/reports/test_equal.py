"""Methods beside random pruning at equal latency, with answers worked out by hand."""

from collections.abc import Callable
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from efficarch.record import CellRun, Estimate, Weights
from reports.equal import Comparison, Standing, comparisons
from reports.equal_table import equal_table
from reports.findings import LISTED, equal_sentences
from reports.render import fragment, markdown
from reports.view import build
from tests import samples
from tests.reports import cases
from tests.reports.cases import beside

RANDOM = [0.70, 0.72, 0.74, 0.76, 0.78, 0.80, 0.82, 0.84]
"""CosSim of eight images under random pruning at ratio 0.5; at 0.75 it is halfway to 1."""

HALFWAY = [(value + 1) / 2 for value in RANDOM]


def only(*lines: CellRun) -> Comparison:
    """Return the comparison of the one method among the lines."""
    (found,) = comparisons(lines)
    return found


def edited(line: CellRun, **changes: object) -> CellRun:
    """Return the line with other fields of its measurement."""
    assert line.measurement is not None
    return replace(line, measurement=replace(line.measurement, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("gain", "standing"),
    [(0.02, Standing.BEATS), (-0.02, Standing.LOSES), (0.0, Standing.OPEN)],
    ids=["better", "worse", "the same"],
)
def test_random_is_read_off_at_the_latency_of_the_method(gain: float, standing: Standing) -> None:
    """Halfway between random and dense in latency is halfway in each image's CosSim."""
    method = beside("tome", 0.75, [value + gain for value in HALFWAY])
    found = only(beside("random", 0.5, RANDOM), method)

    assert found.there == pytest.approx(sum(HALFWAY) / 8)
    assert found.gap is not None
    assert found.gap.value == pytest.approx(gain, abs=1e-12)
    # every image gains the same, so images add no uncertainty
    assert found.gap.high - found.gap.low == pytest.approx(0, abs=1e-12)
    if gain:
        assert found.standing is standing


def test_images_that_disagree_leave_it_open() -> None:
    """Half the images better and half worse by the same cannot be told."""
    items = [value + 0.05 * (-1) ** i for i, value in enumerate(HALFWAY)]
    found = only(beside("random", 0.5, RANDOM), beside("tome", 0.75, items))

    assert found.standing is Standing.OPEN
    assert found.gap is not None
    assert found.gap.low < 0 < found.gap.high


def test_images_are_paired() -> None:
    """The same gain on every image is found although images differ more than it."""
    items = [value + 0.001 for value in HALFWAY]
    assert only(beside("random", 0.5, RANDOM), beside("tome", 0.75, items)).standing is (
        Standing.BEATS
    )
    assert only(beside("random", 0.5, RANDOM), beside("tome", 0.75, items[::-1])).standing is (
        Standing.OPEN
    )


@pytest.mark.parametrize("noisy", ["method", "random"])
def test_uncertain_latency_widens_the_interval(noisy: str) -> None:
    """Random gains 0.04 from ratio 0.65 to 0.75 and to 0.85; the interval covers all of it."""
    exact, wide = Estimate(0.75, 0.75, 0.75), Estimate(0.75, 0.65, 0.85)
    control = Estimate(0.5, 0.5, 0.5)
    sure = only(beside("random", control, [0.8] * 8), beside("tome", exact, [0.91] * 8))
    assert sure.standing is Standing.BEATS

    if noisy == "random":
        # random is uncertain by a factor of 1.2, so the cell may stand anywhere from 0.625 to 0.9
        control, wide = Estimate(0.5, 0.48, 0.6), exact
    found = only(beside("random", control, [0.8] * 8), beside("tome", wide, [0.91] * 8))
    low, high = (0.91 - 0.94, 0.91 - 0.86) if noisy == "method" else (0.91 - 0.96, 0.91 - 0.85)

    assert found.gap is not None
    assert (found.gap.low, found.gap.value, found.gap.high) == pytest.approx((low, 0.01, high))
    assert found.standing is Standing.OPEN


def test_interpolation_agrees_with_numpy_for_each_image() -> None:
    """Between the right two of several random cells, in whatever order the run has them."""
    random = Random(0)
    places = [0.83, 0.41, 0.62]
    rows = {x: [random.uniform(x, 1) for _ in range(12)] for x in places}
    items = [random.uniform(0.5, 1) for _ in range(12)]
    controls = [
        beside("random", x, row, keep=keep)
        for keep, (x, row) in zip((0.7, 0.2, 0.5), rows.items(), strict=True)
    ]
    for ratio in (0.41, 0.5, 0.62, 0.7, 0.9, 1.0):
        found = only(*controls, beside("tome", ratio, items))
        xs = [*sorted(places), 1.0]
        there = [
            float(np.interp(ratio, xs, [*(rows[x][image] for x in sorted(places)), 1.0]))
            for image in range(12)
        ]
        assert found.there == pytest.approx(sum(there) / 12)
        assert found.gap is not None
        assert found.gap.value == pytest.approx((sum(items) - sum(there)) / 12)
        assert found.gap.low < found.gap.value < found.gap.high


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param(
            beside("tome", 0.45, RANDOM),
            "faster than every random cell: ratio 0.450, the fastest has 0.500",
            id="too fast",
        ),
        pytest.param(
            beside("tome", 1.02, RANDOM),
            "slower than the dense model: ratio 1.020",
            id="too slow",
        ),
        pytest.param(
            beside("tome", 0.75, RANDOM * 2),
            "random was not measured on these images in this form",
            id="more images",
        ),
        pytest.param(
            edited(beside("tome", 0.75, RANDOM), source="other photos"),
            "random was not measured on these images in this form",
            id="other images",
        ),
    ],
)
def test_what_cannot_be_compared_says_why(line: CellRun, reason: str) -> None:
    """Outside the span of random, or on other images, there is a reason and no number."""
    found = only(beside("random", 0.5, RANDOM), line)
    assert (found.standing, found.reason) == (Standing.APART, reason)
    assert found.gap is found.there is None


def test_few_images_are_not_compared() -> None:
    """Seven images give no interval, and the reason counts them."""
    found = only(beside("random", 0.5, RANDOM[:7]), beside("tome", 0.75, HALFWAY[:7]))
    assert found.reason == "7 images, fewer than the 8 an interval needs"


def test_random_slower_than_dense_is_no_point_of_the_curve() -> None:
    """At its latency the dense model, with CosSim 1, is the better choice."""
    slow = beside("random", 1.1, [0.5] * 8, keep=0.9)
    found = only(beside("random", 0.5, RANDOM), slow, beside("tome", 0.75, HALFWAY))
    assert found.there == pytest.approx(sum(HALFWAY) / 8)


def untrained(line: CellRun) -> CellRun:
    """Return the line on random weights."""
    return edited(line, weights=Weights.RANDOM)


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(lambda a, b: [a], id="a control alone"),
        pytest.param(lambda a, b: [b], id="no random"),
        pytest.param(lambda a, b: [untrained(a), untrained(b)], id="random weights"),
        pytest.param(lambda a, b: [edited(a, cossim_items=()), b], id="schema 1"),
        pytest.param(
            lambda a, b: [a, replace(b, cell=replace(b.cell, keep=1.0))], id="the dense model"
        ),
        pytest.param(lambda a, b: [a, replace(b, cell=replace(b.cell, batch=1))], id="other batch"),
        pytest.param(
            lambda a, b: [a, replace(b, cell=replace(b.cell, method="none"))], id="other control"
        ),
        pytest.param(
            lambda a, b: [replace(a, cell=replace(a.cell, keep=1.0)), b], id="random at keep 1"
        ),
    ],
)
def test_nothing_to_compare_says_nothing(
    lines: Callable[[CellRun, CellRun], list[CellRun]],
) -> None:
    """No comparison, no sentence and no table where one side is missing or means nothing."""
    chosen = lines(beside("random", 0.5, RANDOM), beside("tome", 0.75, HALFWAY))
    assert comparisons(chosen) == ()
    (table,) = build(samples.run(*chosen)).tables
    assert table.equal is None
    assert not [finding for finding in table.findings if "equal latency" in finding]


def test_best_stand_first_and_those_apart_last() -> None:
    """Verdicts are in order, and within one the widest gap leads."""
    lines = [beside("random", 0.5, [0.8] * 8), beside("quick", 0.4, [0.9] * 8)]
    lines += [beside(f"m{x}", 0.75, [x] * 8) for x in (0.85, 0.91, 0.95, 0.7)]
    names = [item.cell.method for item in comparisons(lines)]
    assert names == ["m0.95", "m0.91", "m0.85", "m0.7", "quick"]


def test_sentences_say_who_beats_random_and_who_does_not() -> None:
    """One sentence for each verdict, with place, count, gap and interval."""
    sentences = equal_sentences(comparisons(cases.every_standing().cells))
    where = "(dinov2-small, batch 8, float32, cpu), 1 of 4 cells:"
    assert sentences[0] == (
        f"Beats random pruning at equal latency {where} tome keep=0.5 +0.0500 [+0.0460, +0.0540]."
    )
    assert sentences[1].startswith(
        f"Cannot be told from random pruning at equal latency {where} open keep=0.5 +0.0000 [-0."
    )
    assert sentences[2:] == (
        f"Does not beat random pruning at equal latency {where} norm keep=0.5 "
        "-0.0500 [-0.0500, -0.0500].",
        f"Not comparable with random pruning at this latency {where} quick keep=0.5.",
    )
    summary = markdown(build(cases.every_standing()))
    assert "- Beats random pruning at equal latency (dinov2-small, batch 8" in summary


def test_a_long_list_ends_with_how_many_are_left() -> None:
    """A sentence names the widest gaps and counts the rest; the table has them all."""
    methods = [beside(f"m{n}", 0.75, [0.91 + n / 1000] * 8) for n in range(LISTED + 3)]
    lines = [beside("random", 0.5, [0.8] * 8), *methods]
    (sentence,) = equal_sentences(comparisons(lines))
    assert f"{LISTED + 3} of {LISTED + 3} cells: m{LISTED + 2} keep=0.5" in sentence
    assert sentence.endswith("; 3 more.")
    table = equal_table("equal", "dinov2", comparisons(lines))
    assert table is not None
    assert len(table.rows) == LISTED + 3


def test_table_holds_every_figure_of_a_comparison() -> None:
    """Each row has ratio, both CosSim, gap and verdict; where apart, the reason and dashes."""
    table = build(cases.every_standing()).tables[0].equal
    assert table is not None
    first, *_, last = table.rows
    assert (first.name, first.words, first.reason) == ("tome keep=0.5", "beats random", "")
    assert (first.ratio, first.ratio_interval) == ("0.750", "[0.740, 0.760]")
    assert (first.cossim, first.there) == ("0.9500", "0.9000")
    assert (first.gap, first.gap_interval) == ("+0.0500", "[+0.0460, +0.0540]")
    assert (last.there, last.gap, last.gap_interval) == ("–", "–", "")
    assert last.words == "not comparable at this latency"
    assert last.reason.startswith("faster than every random cell")


def test_table_stands_below_the_cells_of_its_suite() -> None:
    """The page shows the table with its verdicts in words, and how to read it."""
    text = fragment("page.html.j2", build(cases.every_standing()))
    assert text.index('<h2 id="suite-1">') < text.index('<h3 id="suite-1-equal">At equal latency')
    for words in ("beats random", "cannot be told", "does not beat random"):
        assert words in text
    assert "Crops of the same picture are not independent" in text
