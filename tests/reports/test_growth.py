"""The section on growth with length: figures, words, chart and summary."""

import re
from dataclasses import replace

import pytest

from efficarch.record import Run, Scaling, Weights
from reports.growth import GrowthView
from reports.render import fragment, markdown
from reports.view import build
from tests import samples
from tests.reports import cases

SHORT = replace(samples.scaling(), subject=replace(samples.sweep(), fitted_from=4096))


def view(scaling: Scaling | None = None, *, judged: bool = True) -> GrowthView:
    """Return the view of one cell."""
    slope = (0.90, 1.10) if judged else None
    (found,) = build(samples.run(cases.swept(scaling=scaling, slope=slope))).growths
    return found


def test_a_cell_shows_both_slopes_with_their_ranges_and_verdicts() -> None:
    """The table has a row a side: slope, interval, range, verdict, lengths, nested test."""
    subject, reference = view().sides

    assert (subject.name, reference.name) == ("chunked", "causal attention")
    assert (subject.slope, subject.interval) == ("1.000", "[1.000, 1.000]")
    assert (reference.slope, reference.allowed) == ("2.000", "1.85 to 2.10")
    assert [side.verdict and side.verdict.word for side in view().sides] == ["WITHIN", "WITHIN"]
    assert subject.fitted == "6 lengths, 512 to 16,384"
    assert subject.nested == ("linear: 0 % [0, 0] of the time at the longest length is quadratic")
    assert reference.nested.startswith("quadratic: 100 % [100, 100]")
    assert subject.checks == ()


def test_the_sentence_has_both_slopes_and_the_crossover() -> None:
    """One sentence says how each side grows and from where on the subject is faster."""
    assert view().sentence == (
        "Latency over length, scan, float32, cpu: chunked grows to the power 1.000 "
        "[1.000, 1.000]; causal attention grows to the power 2.000 [2.000, 2.000]; chunked is the "
        "faster one from length 4,096 [4,096, 4,096] on."
    )


def test_a_slope_outside_its_range_is_said_and_shown() -> None:
    """Table, sentence, notices and summary agree that it broke."""
    run = samples.run(cases.swept(scaling=cases.STEEP))
    page = build(run)
    (found,) = page.growths

    assert found.sides[0].verdict is not None
    assert found.sides[0].verdict.word == "OUTSIDE"
    assert "to the power 1.300 [1.300, 1.300], outside 0.90 to 1.10;" in found.sentence
    assert page.broken[0].reasons == ("slope 1.300 [1.300, 1.300] is outside [0.90, 1.10]",)
    text = markdown(page)
    assert "slope 1.300 \\[1.300, 1.300\\] is outside \\[0.90, 1.10\\]" in text
    assert "- Latency over length, scan, float32, cpu: chunked grows" in text


def test_a_sweep_without_a_slope_says_why() -> None:
    """Too few lengths are a failure in words, and the chart has points without a line."""
    found = view(SHORT)

    side = found.sides[0]
    assert (side.slope, side.nested) == ("–", "")
    assert side.verdict is not None
    assert side.verdict.word == "NO SLOPE"
    assert side.fitted.startswith("compute dominates at 3 of 6 lengths from 4,096 on")
    assert "chunked has no slope, since compute dominates at 3 of 6" in found.sentence
    assert [bool(series.line) for series in found.chart.series] == [False, True]
    assert len(found.chart.series[0].marks) == 6


def test_lengths_that_were_left_out_are_counted() -> None:
    """Who reads the slope sees on how much of the sweep it rests."""
    stated = replace(samples.scaling(), subject=replace(samples.sweep(), fitted_from=1024))

    assert view(stated).sides[0].fitted == "5 lengths, 1,024 to 16,384; 1 shorter left out"


def test_without_ranges_nothing_is_judged() -> None:
    """A slope without a limit is a figure and no verdict."""
    assert [(side.allowed, side.verdict) for side in view(judged=False).sides] == [("", None)] * 2


@pytest.mark.parametrize(
    ("per_step_ms", "words"),
    [
        pytest.param(
            1e-6,
            "chunked is the faster one at every length measured, from 512 to 16,384.",
            id="always",
        ),
        pytest.param(
            100.0,
            "chunked does not become the faster one at the lengths measured, from 512 to 16,384.",
            id="never",
        ),
    ],
)
def test_curves_that_do_not_cross_are_said_in_words(per_step_ms: float, words: str) -> None:
    """Nothing is extrapolated, and no line is drawn."""
    found = view(replace(samples.scaling(), subject=samples.sweep(per_step_ms=per_step_ms)))

    assert found.sentence.endswith(words)
    assert found.chart.guides == ()


def test_lengths_that_do_not_overlap_are_said_in_words() -> None:
    """Then there is no crossover to speak of."""
    short = samples.sweep(lengths=(8, 16, 32, 64, 128, 256))

    assert (
        "where they cross cannot be told: lengths 8 to 256 and"
        in view(replace(samples.scaling(), subject=short)).sentence
    )


def test_the_chart_has_both_sides_their_fits_and_the_crossover() -> None:
    """Marks for every length, a line for each fit, a dashed line with its words."""
    chart = view().chart

    assert [series.name for series in chart.series] == [
        "chunked, slope 1.00",
        "causal attention, slope 2.00",
    ]
    assert [len(series.marks) for series in chart.series] == [6, 6]
    assert [tick.text for tick in chart.x_ticks] == [
        "512", "1,024", "2,048", "4,096", "8,192", "16,384",
    ]  # fmt: skip
    (guide,) = chart.guides
    assert guide.text == "crossover 4,096 [4,096, 4,096]"
    at_4096 = chart.series[0].marks[3].x
    assert f"M{at_4096} {chart.plot.top}V{chart.plot.bottom}" in guide.path
    assert "chunked at length 512: 5.12 ms." in chart.description


def test_fitted_lines_pass_through_exact_points() -> None:
    """The line of a power law meets its first and last mark."""
    for series in view().chart.series:
        first, last = series.marks[0], series.marks[-1]
        numbers = [float(text) for text in re.findall(r"[\d.]+", series.line)]
        assert numbers == pytest.approx([first.x, first.y, last.x, last.y], abs=0.15)


def test_ticks_stay_few_over_many_octaves() -> None:
    """Eight labels at most, whatever the range."""
    lengths = tuple(64 * 2**octave for octave in range(14))
    wide = Scaling(samples.sweep(lengths=lengths), samples.sweep(exponent=2, lengths=lengths))

    assert 4 <= len(view(wide).chart.x_ticks) <= 8


def test_behind_the_chart_stands_every_latency() -> None:
    """A table has what the chart draws, for who cannot see it."""
    both = replace(
        samples.scaling(), reference=samples.sweep(lengths=(512, 1024, 3000, 5000, 9000))
    )
    rows = view(both).lengths

    assert [row.length for row in rows][:3] == ["512", "1,024", "2,048"]
    assert rows[0].subject_ms == "5.12"
    assert rows[0].ratio == "1.000 [1.000, 1.000]"
    assert (rows[2].reference_ms, rows[2].ratio) == ("–", "–")


def test_the_section_is_there_only_where_something_swept() -> None:
    """Other runs show nothing of it, in the page or the list of sections."""

    def html(run: Run) -> str:
        return fragment("page.html.j2", build(run))

    assert 'id="growth"' in html(samples.run(cases.swept()))
    assert 'href="#growth"' in html(samples.run(cases.swept()))
    assert "#growth" not in html(samples.run())


def test_a_layer_is_named_against_its_transformer() -> None:
    """With weights the reference is no bare attention."""
    line = cases.swept()
    assert line.measurement is not None
    layer = replace(line.measurement, weights=Weights.RANDOM)

    (found,) = build(samples.run(replace(line, measurement=layer))).growths
    assert found.reference_name == "the Transformer of its size"


def test_an_interval_that_straddles_is_called_uncertain() -> None:
    """Neither within nor outside: the cell is inconclusive, and the page says so on top."""
    sweep = samples.sweep()
    rounds = tuple(
        tuple(value * (1 + 0.2 * (index % 2)) for value in each)
        for index, each in enumerate(sweep.rounds_ms)
    )
    bent = replace(samples.scaling(), subject=replace(sweep, rounds_ms=rounds))
    page = build(samples.run(cases.swept(scaling=bent)))
    (growth,) = page.growths

    assert growth.sides[0].verdict is not None
    assert growth.sides[0].verdict.word == "UNCERTAIN"
    assert "not told to lie within 0.90 to 1.10" in growth.sentence
    assert page.headline == "1 cell inconclusive"
    assert page.verdict.word == "INCONCLUSIVE"
    assert "cannot be told to lie within" in markdown(page)
