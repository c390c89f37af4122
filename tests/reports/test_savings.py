"""The section on multi-resolution scans: tables, charts and what planners say to each other."""

from dataclasses import replace
from itertools import pairwise

import pytest

from efficarch.record import CellRun, Limits, Run
from reports.render import fragment, markdown
from reports.savings_view import SavingView
from reports.view import build
from tests import samples
from tests.reports import cases
from tests.reports.cases import saved


def views(*lines: CellRun) -> tuple[SavingView, ...]:
    """Return the views of a run of these lines, or of one with every state."""
    run: Run = samples.run(*lines) if lines else cases.every_saving()
    return build(run).savings


def test_models_and_signals_have_a_view_each() -> None:
    """One model's cells stand together, and so do those of an operator over its signals."""
    model, signals = views()

    assert model.title == "mrss: mamba-byte, batch 1, float32, cpu"
    assert signals.title == "mrss: scan, batch 1, float32, cpu, length 4,096"
    assert (len(model.rows), len(signals.rows)) == (7, 3)


def test_a_row_shows_what_was_saved_and_what_it_cost() -> None:
    """Updates, both CosSims, bits with their paired interval, and time."""
    model, _signals = views()
    row = model.rows[3]

    assert row.name == "input-change saving=0.35"
    assert [column.label for column in model.columns] == [
        "Updates saved",
        "CosSim",
        "CosSim",
        "Bits per byte lost",
        "Time saved",
    ]
    assert [figure.text for figure in row.figures] == [
        "35.0 %",
        "0.9850",
        "0.9650",
        "+0.0080",
        "24.5 %",
    ]
    assert row.figures[3].detail == "[0.0070, 0.0090] of 2.1750"
    assert row.figures[4].detail == "[24.3, 24.7]"


def test_columns_that_nothing_fills_are_left_out() -> None:
    """Signals have no text, and a model no one SSM term."""
    _model, signals = views()

    labels = [column.label for column in signals.columns]
    assert "Bits per byte lost" not in labels
    assert labels[-2:] == ["Relative L2", "Time saved"]
    assert all(len(row.figures) == len(labels) for row in signals.rows)


@pytest.mark.parametrize(
    ("limits", "figure", "flag"),
    [
        pytest.param(replace(samples.LIMITS, cossim=0.99), 1, "below floor", id="mean"),
        pytest.param(replace(samples.LIMITS, cossim_p5=0.97), 2, "below floor", id="p5"),
        pytest.param(replace(samples.LIMITS, bits_lost=0.005), 3, "above its limit", id="bits"),
    ],
)
def test_a_broken_limit_is_flagged_where_it_broke(limits: Limits, figure: int, flag: str) -> None:
    """Only the figure that broke is flagged; the summary has the reason."""
    line = replace(saved("input-change", 0.35, 0.985, lost=0.008), limits=limits)
    run = samples.run(line)
    (view,) = build(run).savings

    flags = [item.flag for item in view.rows[0].figures]
    assert flags == [flag if at == figure else "" for at in range(5)]
    assert view.rows[0].verdict.word == "FAIL"
    reasons = build(run).broken[0].reasons
    assert reasons[0].partition(" ")[0] in markdown(build(run))


def test_planners_are_set_beside_random_at_equal_savings() -> None:
    """Each standing in words, with the paired interval over the segments."""
    model, _signals = views()

    assert [words for words in model.findings if "random:" in words] == [
        "stride at 35.0 % saved beats random: it loses 0.0005 [0.0004, 0.0006] bits per byte less "
        "(8 segments, paired; mean CosSim 0.9550 against 0.9500, p5 0.9350 against 0.9300).",
        "input-change at 35.0 % saved beats random: it loses 0.0320 [0.0280, 0.0360] bits per byte "
        "less (8 segments, paired; mean CosSim 0.9850 against 0.9500, p5 0.9650 against 0.9300).",
        "worse at 35.0 % saved does not beat random: it loses 0.0200 [0.0175, 0.0225] bits per "
        "byte more (8 segments, paired; mean CosSim 0.9300 against 0.9500, p5 0.9100 against "
        "0.9300).",
        "input-change at 50.0 % saved beats random: it loses 0.0600 [0.0525, 0.0675] bits per byte "
        "less (8 segments, paired; mean CosSim 0.9700 against 0.9000, p5 0.9500 against 0.8800).",
    ]


def test_a_difference_whose_interval_holds_0_cannot_be_told() -> None:
    """Segments that disagree decide nothing."""
    random = saved("random", 0.35, 0.95, lost=0.04)
    other = saved("even", 0.35, 0.95, lost=0.04)
    assert other.measurement is not None
    saving = other.measurement.saving
    assert saving is not None
    wobbling = tuple(bits + (0.01 if at % 2 else -0.01) for at, bits in enumerate(saving.bits))
    line = replace(
        other, measurement=replace(other.measurement, saving=replace(saving, bits=wobbling))
    )

    (view,) = views(random, line)

    assert any(words.startswith("even at 35.0 % saved cannot be told from random: it loses")
               for words in view.findings)  # fmt: skip
    assert "which cannot be told" in view.summary[0]


def test_few_segments_give_no_interval_and_no_verdict() -> None:
    """Four segments are said to be too few, in the table and in the sentence."""
    lines = [
        saved("random", 0.35, 0.95, lost=0.04, segments=4),
        saved("input-change", 0.35, 0.985, lost=0.008, segments=4),
    ]
    (view,) = views(*lines)

    assert view.rows[0].figures[3].detail.startswith("4 segments: too few for an interval")
    assert view.findings[-1] == (
        "input-change at 35.0 % saved cannot be told from random: 4 segments are too few for an "
        "interval."
    )
    assert "inf" not in fragment("savings.html.j2", build(samples.run(*lines)))


def test_planners_that_save_differently_are_not_compared() -> None:
    """Neither with random nor with each other, nor across signals."""
    (model,) = views(
        saved("random", 0.35, 0.95, lost=0.04), saved("input-change", 0.5, 0.97, lost=0.02)
    )
    (signals,) = views(
        saved("random", 0.35, 0.95, signal="ar1-0"), saved("input-change", 0.35, 0.9, signal="ar1")
    )

    assert model.findings == signals.findings == ()


def test_signals_are_compared_without_an_interval() -> None:
    """One sequence has no spread, and the sentence says so."""
    _model, signals = views()

    assert signals.findings == (
        "input-change at 35.0 % saved, signal=ar1-0.99 beside random: mean CosSim 0.9920 against "
        "0.9700, p5 0.9720 against 0.9500 (signal ar1-0.99; one input, so no interval).",
    )


def test_the_best_planner_is_named_for_each_amount() -> None:
    """Beside every other one, and in the Markdown summary too."""
    model, _signals = views()

    assert model.summary == (
        "input-change at 35.0 % saved loses fewest bits per byte, +0.0080 [0.0070, 0.0090]; less "
        "than random by 0.0320 [0.0280, 0.0360], stride by 0.0315 [0.0276, 0.0354], worse by "
        "0.0520 [0.0455, 0.0585] (mamba-byte, float32, cpu).",
        "input-change at 50.0 % saved loses fewest bits per byte, +0.0200 [0.0175, 0.0225]; less "
        "than random by 0.0600 [0.0525, 0.0675] (mamba-byte, float32, cpu).",
    )
    assert "- input-change at 35.0 % saved loses fewest bits" in markdown(
        build(cases.every_saving())
    )


def test_charts_show_cossim_its_percentile_and_bits() -> None:
    """Three charts of the model, two of the signal that has two cells, none of the lone one."""
    model, signals = views()

    assert [chart.title.partition(":")[0] for chart in model.charts] == [
        "Updates saved against mean CosSim",
        "Updates saved against CosSim, p5",
        "Updates saved against bits per byte lost",
    ]
    assert len(signals.charts) == 2
    assert all("signal ar1-0.99" in chart.title for chart in signals.charts)
    names = [series.name for series in model.charts[0].series]
    assert names == ["none", "random", "stride", "input-change", "worse"]
    joined = [series.name for series in model.charts[0].series if series.line]
    assert joined == ["random", "input-change"]


def test_planners_at_one_amount_stand_side_by_side_in_the_chart_of_bits() -> None:
    """Their intervals would cover each other; what saves nothing stays on its axis."""
    bits = views()[0].charts[2]
    at = {series.name: [mark.x for mark in series.marks] for series in bits.series}

    assert at["none"] == [bits.plot.left]
    firsts = [at[name][0] for name in ("random", "stride", "input-change", "worse")]
    assert [round(b - a) for a, b in pairwise(firsts)] == [7, 7, 7]
    assert all(bits.plot.left <= x <= bits.plot.right for xs in at.values() for x in xs)


def test_names_in_the_legend_tell_ways_apart() -> None:
    """Where an emission varies, it is part of the name."""
    lines = [
        saved("input-change", 0.35, 0.98, signal="ar1"),
        saved("random", 0.35, 0.9, signal="ar1"),
    ]
    held = replace(
        lines[0], cell=replace(lines[0].cell, id=lines[0].cell.id + "/emission=hold+local")
    )
    (view,) = views(*lines, held)

    names = [series.name for series in view.charts[0].series]
    assert names == ["input-change", "random", "input-change emission=hold+local"]


def test_layers_stand_in_a_table_of_their_own() -> None:
    """CosSim, its percentile and the updates saved in every layer; signals have none."""
    model, signals = views()

    assert (model.layers, signals.layers, signals.layer_rows) == (2, 0, ())
    first = model.layer_rows[1]
    assert first.name == "random saving=0.35"
    assert [(layer.text, layer.detail) for layer in first.layers] == [
        ("0.9700", "p5 0.9000, 35 %"),
        ("0.9600", "p5 0.9000, 35 %"),
    ]


def test_a_planner_is_no_method_of_token_reduction() -> None:
    """Planner and method share the name random; the page describes only what ran."""
    page = build(cases.every_saving())

    assert page.methods == ()
    assert page.charts == ()
    assert page.baseline.endswith(
        "against the model on the plain scan or the plain scan of the same run."
    )


def test_the_section_is_there_only_where_something_was_saved() -> None:
    """Other runs show nothing of it."""
    assert 'href="#savings"' in fragment("page.html.j2", build(cases.every_saving()))
    assert "#savings" not in fragment("page.html.j2", build(samples.run()))


def test_tables_name_the_backend_where_cells_have_one() -> None:
    """A column that other suites lack."""
    with_backend, without = build(cases.every_saving()), build(samples.run())

    column = [each.label for each in with_backend.tables[0].columns].index("Backend")
    assert with_backend.tables[0].rows[0].values[column].text == "cpp"
    assert "Backend" not in [each.label for each in without.tables[0].columns]


def test_limits_of_slopes_and_savings_are_listed() -> None:
    """Under the page's limits every kind has its words."""
    limits = replace(cases.swept().limits, cossim_p5=0.97, bits_lost=0.005, reasons=("why",))
    page = build(samples.run(replace(cases.swept(), limits=limits)))

    assert page.limits[0].limits == (
        "latency ratio ≤ 0.800, CosSim ≥ 0.9000, 5th percentile of CosSim ≥ 0.9700, bits per byte "
        "lost ≤ 0.0050, slope within 0.90 to 1.10, reference slope within 1.85 to 2.10"
    )


def test_p5_stands_beside_the_mean_where_it_has_a_floor() -> None:
    """The table of the suite shows both with their floors."""
    line = saved("input-change", 0.35, 0.99, signal="ar1")
    line = replace(line, limits=replace(line.limits, cossim_p5=0.98))
    table = build(samples.run(line)).tables[0]

    texts = [value for value in table.rows[0].values if value.text == "0.9900"]
    assert texts[0].detail.replace("\N{NO-BREAK SPACE}", " ") == (
        "0.6900, floor 0.9000; p5 0.9700, floor 0.9800"
    )
    assert texts[0].flag == "below floor"


def test_cells_of_two_stages_are_not_joined_by_a_line() -> None:
    """What a suite varied besides length parts the charts over length."""
    lines = [
        replace(
            line,
            cell=replace(line.cell, id=f"{line.cell.id}/stage={stage}"),
        )
        for stage in ("prefill", "decode")
        for line in (cases.scan("auto", 256, 1.0), cases.scan("auto", 1024, 2.0))
    ]
    titles = [chart.title for chart in build(samples.run(*lines)).charts]

    assert [title.rpartition(", ")[2] for title in titles] == ["stage=prefill", "stage=decode"]
