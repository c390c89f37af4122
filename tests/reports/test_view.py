"""The words and figures of the page, before any template."""

from dataclasses import replace

import pytest

from efficarch.record import Run, Status
from efficarch.reducers import REDUCERS
from reports.rows import Row
from reports.view import Page, build
from tests import samples
from tests.reports import cases

NOISE = (0.2, -0.2, 0.15, -0.15, 0.1, -0.1, 0.05, -0.05)


def _row(page: Page, cell_id: str) -> Row:
    return next(row for table in page.tables for row in table.rows if row.cell_id == cell_id)


def _texts(row: Row) -> list[str]:
    return [value.text for value in row.values]


def test_passing_run_counts_the_cells_that_held_their_limits() -> None:
    """A pass says how many cells it rests on and how many were not measured."""
    idle = samples.line(cases.named("skipped"), status=Status.SKIPPED, message="needs a GPU")
    page = build(samples.run(samples.line(), idle))
    assert page.verdict.word == "PASS"
    assert page.headline == "1 cell held its limits; 1 was not measured"


def test_failing_run_counts_what_broke() -> None:
    """A failure says how many of how many cells broke a limit and how many raised."""
    page = build(cases.every_state())
    assert page.verdict.word == "FAIL"
    assert page.headline == ("3 of 12 cells broke a limit, 1 raised an error; 2 were not measured")


@pytest.mark.parametrize("status", [Status.SKIPPED, Status.NOT_RUN], ids=lambda s: s.value)
def test_nothing_measured_is_not_a_pass(status: Status) -> None:
    """A run without one measurement is not comparable."""
    page = build(samples.run(samples.line(status=status)))
    assert page.verdict.word == "NOT COMPARABLE"
    assert page.headline == "nothing was measured"


def test_empty_run_is_not_a_pass() -> None:
    """A run that collected no cell is not comparable."""
    page = build(replace(samples.run(), cells=()))
    assert (page.verdict.word, page.headline) == ("NOT COMPARABLE", "nothing was measured")


def test_interrupted_run_says_so_and_does_not_pass() -> None:
    """Cells that never ran could have failed, so an interrupted run is inconclusive."""
    rest = samples.line(cases.named("later"), status=Status.NOT_RUN)
    page = build(samples.run(samples.line(), rest, interrupted=True))
    assert page.verdict.word == "INCONCLUSIVE"
    assert page.headline == "interrupted: 1 of 2 cells was not run; 1 cell held its limits"


def test_interrupted_run_still_fails() -> None:
    """An interruption does not hide a broken limit."""
    rest = samples.line(cases.named("later"), status=Status.NOT_RUN)
    page = build(samples.run(cases.reduced("norm", 0.5), rest, interrupted=True))
    assert page.verdict.word == "FAIL"
    assert page.headline == "1 of 2 cells broke a limit; interrupted: 1 of 2 cells was not run"


def test_failing_rows_stand_first_and_the_rest_in_order() -> None:
    """A table is sorted by failure and otherwise keeps the order of the run."""
    rows = build(cases.every_state()).tables[0].rows
    names = [row.name.removesuffix(" keep=0.5") for row in rows]
    assert names[:3] == ["norm", "slow", "of-another-project"]
    assert rows[3].cell_id == "clip/error"
    assert names[4:7] == ["dense", "tome", "random"]


def test_row_shows_every_figure_of_a_measurement() -> None:
    """Each column holds its figure, rounded by the rules of formats.py."""
    measured = samples.measurement(ratio=0.7, cossim=0.95, noise=(0.0,) * 8)
    page = build(samples.run(samples.line(measured=measured)))
    assert _texts(page.tables[0].rows[0]) == [
        "103.5", "72.45", "0.700", "≤ 0.800", "0.9500", "", "195 / 129", "50.00", "80.00", "110.4",
    ]  # fmt: skip


def test_broken_limit_is_marked_at_its_figure() -> None:
    """The figure that broke a limit carries the word for it."""
    page = build(samples.run(cases.reduced("norm", 0.5, ratio=0.9)))
    flags = [value.flag for value in page.tables[0].rows[0].values if value.flag]
    assert flags == ["over budget", "below floor"]


def test_absolute_budget_is_shown_and_marked() -> None:
    """A budget in milliseconds stands beside the one in ratios."""
    limits = replace(samples.LIMITS, latency_ms=10.0)
    page = build(samples.run(replace(samples.line(), limits=limits)))
    budget = page.tables[0].rows[0].values[3]
    assert (budget.text, budget.detail, budget.flag) == ("≤ 0.800", "≤ 10.00 ms", "over budget")


@pytest.mark.parametrize(("cossim", "words"), [(0.95, "check ok"), (0.42, "check broken")])
def test_random_weights_show_a_check_in_place_of_cossim(cossim: float, words: str) -> None:
    """Quality on random weights is a check with its note, never a number."""
    row = build(samples.run(cases.on_random_weights(cossim))).tables[0].rows[0]
    assert row.values[4].text == words
    assert row.values[4].detail == "random weights: timing only"


def test_near_exact_cossim_is_not_rounded_to_one() -> None:
    """0.99996 is not 1: near 1 a fifth decimal is shown."""
    page = build(samples.run(cases.reduced("exact", 0.99996)))
    assert page.tables[0].rows[0].values[4].text == "0.99996"


def test_uncounted_flops_and_memory_are_a_dash() -> None:
    """An amount of 0 was not counted; it is not shown as 0 and divides nothing."""
    measured = replace(samples.measurement(), flops=0, reference_flops=0, reference_peak_bytes=0)
    row = build(samples.run(samples.line(measured=measured))).tables[0].rows[0]
    assert row.values[7].text == "–"
    assert row.values[8].detail == "–"


def test_random_pruning_beating_norm_is_said_in_words() -> None:
    """Where the control keeps more CosSim than a method, the page says so from the data."""
    page = build(cases.every_state())
    assert page.tables[0].findings[-2:] == (
        "random pruning keeps more than norm at keep=0.5, batch 8: 0.955 against 0.812 "
        "(mean CosSim, dinov2-small, float32, cpu).",
        "random pruning keeps more than slow at keep=0.5, batch 8: 0.955 against 0.950 "
        "(mean CosSim, dinov2-small, float32, cpu).",
    )


def test_control_that_beats_nothing_is_said_in_words() -> None:
    """With a control measured, silence is not left to be read either way."""
    page = build(samples.run(cases.reduced("tome", 0.97), cases.reduced("random", 0.95)))
    assert page.tables[0].findings[-1] == "random beats no method by CosSim (1 cell compared)."


def test_control_is_compared_at_equal_batch_and_on_real_weights_only() -> None:
    """Another batch, or random weights, allow no sentence about quality."""
    other_batch = cases.reduced("norm", 0.8, batch=1)
    assert build(samples.run(cases.reduced("random", 0.95), other_batch)).findings == ()
    untrained = cases.on_random_weights(0.3)
    assert build(samples.run(cases.reduced("random", 0.95), untrained)).findings == ()


def test_differing_decimals_never_read_as_equal() -> None:
    """A control ahead by less than a thousandth is not said to keep 0.955 against 0.955."""
    page = build(samples.run(cases.reduced("random", 0.9552), cases.reduced("norm", 0.9549)))
    assert (
        "0.9552 against 0.9549" in page.findings[0] or "0.955 against 0.955" not in page.findings[0]
    )


def _against_baseline() -> tuple[Run, Run]:
    lines = [cases.reduced(name, 0.95) for name in ("same", "regressed", "noisy", "faster", "new")]
    # slower by a third, and still within its budget
    lines[1] = cases.reduced("regressed", 0.95, ratio=0.55)
    base = samples.run(*lines[:4], cases.reduced("gone", 0.95))
    now = samples.run(
        lines[0],
        cases.slower(lines[1], 1.32),
        cases.slower(lines[2], 1.0, noise=NOISE),
        cases.slower(lines[3], 0.8),
        lines[4],
    )
    return now, base


def test_baseline_sentence_counts_every_kind_of_change() -> None:
    """The sentence names the baseline and counts each outcome once."""
    page = build(*_against_baseline())
    assert page.baseline == (
        "Against baseline 0123456789ab of 2026-11-22: "
        "1 regressed, 1 inconclusive, 1 improved, 1 unchanged, 2 not comparable."
    )
    assert page.verdict.word == "FAIL"
    assert page.headline == "1 of 5 cells regressed against the baseline"
    assert [notice.cell_id for notice in page.regressed] == [
        "dinov2/dinov2-small/regressed/keep=0.5/batch=8/float32/cpu"
    ]
    assert page.missing == ("dinov2/dinov2-small/gone/keep=0.5/batch=8/float32/cpu",)


def test_baseline_columns_hold_change_and_word() -> None:
    """Each compared row shows the change, its interval and what it is called."""
    table = build(*_against_baseline()).tables[0]
    labels = [column.label for column in table.columns]
    assert labels[4] == "Change"
    assert labels[6] == "CosSim change"
    by_name = {row.name: row for row in table.rows}
    assert all(len(row.values) == len(table.columns) for row in table.rows)
    assert by_name["regressed keep=0.5"].values[4].text == "+32.0 %"
    assert by_name["regressed keep=0.5"].values[4].flag == "regressed"
    assert by_name["regressed keep=0.5"].verdict.word == "FAIL"
    assert table.rows[0].name == "regressed keep=0.5"
    assert by_name["same keep=0.5"].values[4].detail.endswith("✓\N{NO-BREAK SPACE}unchanged")
    assert by_name["noisy keep=0.5"].values[4].detail.endswith("?\N{NO-BREAK SPACE}inconclusive")
    assert by_name["noisy keep=0.5"].verdict.word == "INCONCLUSIVE"
    assert by_name["new keep=0.5"].values[4].detail == "not comparable: not in the baseline"
    assert by_name["same keep=0.5"].values[6].text == "+0.00000"


def test_fallen_cossim_is_a_regression() -> None:
    """A drop of CosSim within its floor still regresses against the baseline."""
    page = build(samples.run(cases.reduced("tome", 0.95)), samples.run(cases.reduced("tome", 0.97)))
    assert page.regressed[0].reasons == ("CosSim fell by 0.0200 against the baseline",)
    assert page.tables[0].rows[0].values[6].text == "-0.02000"


def test_other_machine_is_no_baseline() -> None:
    """A baseline of another machine is named as such, and nothing is compared with it."""
    other = replace(samples.MACHINE, cpu_model="Other CPU")
    page = build(samples.run(), samples.run(machine=other))
    assert page.baseline == (
        "No comparable baseline: other machine: cpu_model 'Other CPU' became 'Sample CPU'. "
        "Latency is shown against the dense model of the same run."
    )
    assert not page.with_baseline
    assert "Change" not in [column.label for column in page.tables[0].columns]


def test_missing_baseline_gives_its_note() -> None:
    """Without a baseline the caller's reason is the sentence."""
    page = build(samples.run(), None, "none is stored for this machine")
    assert page.baseline.startswith("No comparable baseline: none is stored for this machine. ")


def test_limits_are_grouped_with_their_reasons() -> None:
    """Cells under the same limits stand under one heading with its reason."""
    page = build(samples.run(cases.reduced("a", 0.95), cases.reduced("b", 0.95)))
    assert len(page.limits) == 1
    assert page.limits[0].limits == "latency ratio ≤ 0.800, CosSim ≥ 0.9000"
    assert page.limits[0].reasons == ("sample limit",)
    assert len(page.limits[0].cells) == 2


def test_limits_of_unmeasured_cells_are_listed_too() -> None:
    """Every collected cell has limits, so none is missing from the list of them."""
    page = build(cases.every_state())
    listed = [cell_id for group in page.limits for cell_id in group.cells]
    assert sorted(listed) == sorted(line.cell.id for line in cases.every_state().cells)


def test_failed_baseline_cell_is_no_measure() -> None:
    """A cell that failed in the baseline is not compared, and its row says why."""
    failed = replace(samples.line(), status=Status.FAILED)
    rival = cases.reduced("norm", 0.95)
    page = build(samples.run(samples.line(), rival), samples.run(failed, rival))
    row = _row(page, failed.cell.id)
    assert row.values[4].detail == "not comparable: the baseline's own verdict is failed"
    assert row.verdict.word == "PASS"


def test_unmeasured_cells_keep_their_status_and_message() -> None:
    """A cell without numbers shows what became of it: an error in its row, others below."""
    page = build(cases.every_state())
    assert _row(page, "clip/error").message == "error: out of memory"
    groups = [(group.why, group.cell_ids) for group in page.tables[0].groups]
    assert groups == [
        ("skipped: needs a GPU", ("clip/skipped",)),
        ("not run", ("clip/not-run",)),
    ]
    listed = {row.cell_id for table in page.tables for row in table.rows}
    assert not listed & {"clip/skipped", "clip/not-run"}


def test_unmeasured_cells_are_grouped_by_status_and_message() -> None:
    """Cells share a group only where suite, status and message are the same."""
    other_suite = replace(cases.named("e"), suite="other")
    lines = [
        samples.line(cases.named("a"), status=Status.SKIPPED, message="no weights"),
        samples.line(cases.named("b"), status=Status.SKIPPED, message="no GPU"),
        samples.line(cases.named("c"), status=Status.SKIPPED, message="no weights"),
        samples.line(cases.named("d"), status=Status.NOT_RUN),
        samples.line(other_suite, status=Status.SKIPPED, message="no weights"),
        samples.line(cases.named("f"), status=Status.ERROR, message="no weights"),
    ]
    first, second = build(samples.run(*lines)).tables
    assert [(group.amount, group.cell_ids) for group in first.groups] == [
        ("2 cells", ("a", "c")),
        ("1 cell", ("b",)),
        ("1 cell", ("d",)),
    ]
    assert [row.cell_id for row in first.rows] == ["f"]
    assert (second.rows, second.groups[0].cell_ids) == ((), ("e",))


def test_weights_stand_under_the_name_of_the_cell() -> None:
    """Each kind of weights, and autocast, is told in the second line of its cell."""
    autocast = replace(samples.measurement(), autocast=True)
    lines = (samples.line(measured=autocast), cases.on_random_weights(0.5))
    lines += (cases.roomy(cases.scan("chunked", 256, 0.1)),)
    rows = [row for table in build(samples.run(*lines)).tables for row in table.rows]
    places = {row.cell_id: row.place for row in rows}
    assert places[lines[0].cell.id].endswith(", cpu, pretrained weights, autocast")
    assert places[lines[1].cell.id].endswith(", cpu, random weights (timing only)")
    assert places[lines[2].cell.id].endswith(", cpu, no weights (fp64 oracle)")


@pytest.mark.parametrize(
    ("ratio", "words"),
    [(0.8, "≤ 0.800"), (1.0254, "≤ 1.025"), (50.0, "≤ 50.0"), (1234.5, "≤ 1,230"),
     (100000.0, "≤ 100,000")],
    ids=str,
)  # fmt: skip
def test_large_budget_has_three_digits(ratio: float, words: str) -> None:
    """A placeholder budget does not pretend to a thousandth, in the table and in the limits."""
    limits = replace(samples.LIMITS, latency_ratio=ratio)
    page = build(samples.run(replace(samples.line(), limits=limits)))
    assert page.tables[0].rows[0].values[3].text == words
    assert page.limits[0].limits.startswith(f"latency ratio {words}, ")


def test_methods_of_the_run_are_described_once() -> None:
    """Known methods and compositions come from the method table; unknown ones are left out."""
    names = ("tome", "foreign", "tome+exact-tail", "tome", "tome+foreign")
    page = build(samples.run(*(cases.reduced(name, 0.95) for name in names)))
    assert [method.name for method in page.methods] == ["tome", "tome+exact-tail"]
    row = REDUCERS["tome"]
    tome = page.methods[0]
    assert (tome.source, tome.where) == (row.paper, row.where)
    assert (tome.cost, tome.keeps) == (row.cost, row.keeps)


def test_control_without_keep_takes_no_part() -> None:
    """none is a control but keeps every token, so nothing is compared with it."""
    full = samples.line(samples.cell("none", keep=None), measured=samples.measurement(cossim=1.0))
    tail = samples.line(samples.cell("exact-tail", keep=None))
    assert build(samples.run(full, tail)).findings == ()
    page = build(samples.run(full, tail, cases.reduced("random", 0.9)))
    assert not [finding for finding in page.findings if "none" in finding or "by CosSim" in finding]
