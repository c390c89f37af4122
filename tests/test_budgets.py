"""The budgets file: what it refuses, how entries merge and which of them name nothing."""

from dataclasses import replace
from pathlib import Path

import pytest

from efficarch.budgets import Limit, limits_of, load_budgets, unmatched
from efficarch.errors import BudgetError
from efficarch.record import DEVICES, DTYPES, Limits
from tests import samples

CPU = samples.MACHINE.name
GPU = "NVIDIA H100 80GB HBM3"

LONG = "9" * 401
"""A whole number that no float holds."""
HEX = f"0x1{'0' * 5000}"
"""One that Python reads and cannot write in decimal."""

GOOD = """\
[[limit]]
cells = "dinov2/*"
latency_ratio = 0.75
latency_ms = { "NVIDIA H100 80GB HBM3" = 1.9, "Sample CPU" = 80 }
cossim = 0.97
reason = " measured twice this "
"""


@pytest.fixture(name="path")
def budgets_path(tmp_path: Path) -> Path:
    """Return where a budgets file belongs; there is none yet."""
    return tmp_path / "budgets.toml"


def entry(*lines: str) -> str:
    """Return a good entry with these lines instead of its latency budget."""
    return "\n".join(["[[limit]]", 'cells = "*"', "cossim = 0.9", 'reason = "why"', *lines])


def test_entry_is_read(path: Path) -> None:
    """Every field of an entry arrives, whole numbers as floats."""
    path.write_text(GOOD, encoding="utf-8")

    assert load_budgets(path) == [
        Limit(
            cells="dinov2/*",
            reason="measured twice this",
            latency_ratio=0.75,
            latency_ms=((GPU, 1.9), (CPU, 80.0)),
            cossim=0.97,
        )
    ]


def test_limits_of_savings_and_slopes_are_read(path: Path) -> None:
    """The optional limits arrive as floats; bits lost may be negative, for a saving that helps."""
    lines = ("cossim_p5 = 0", "bits_lost = -0.01", "slope = [1, 1.1]", "reference_slope = [-2, 2]")
    path.write_text(entry(*lines), encoding="utf-8")

    (limit,) = load_budgets(path)

    assert (limit.cossim_p5, limit.bits_lost) == (0.0, -0.01)
    assert (limit.slope, limit.reference_slope) == ((1.0, 1.1), (-2.0, 2.0))


@pytest.mark.parametrize(
    "line", ["cossim_p5 = 0.9", "bits_lost = 0.0", "slope = [0.9, 1.1]", "reference_slope = [1, 2]"]
)
def test_optional_limit_is_enough_for_an_entry(path: Path, line: str) -> None:
    """An entry may add one of them to what another says of the same cells, zero included."""
    path.write_text(entry(line).replace("cossim = 0.9\n", ""), encoding="utf-8")

    assert load_budgets(path)[0].cossim is None


def test_entries_keep_their_order(path: Path) -> None:
    """Entries arrive in file order, since later ones override earlier ones."""
    path.write_text(GOOD + GOOD.replace("dinov2", "clip"), encoding="utf-8")

    assert [limit.cells for limit in load_budgets(path)] == ["dinov2/*", "clip/*"]


def test_empty_file_limits_nothing(path: Path) -> None:
    """A file without entries is read; the cells it fails to limit are refused later."""
    path.write_text("# nothing yet\n", encoding="utf-8")

    assert load_budgets(path) == []


@pytest.mark.parametrize("floor", ["-1", "0", "1.0"])
def test_cossim_at_the_ends_of_its_range_is_read(path: Path, floor: str) -> None:
    """-1 and 1 are values CosSim can take."""
    path.write_text(entry().replace("0.9", floor), encoding="utf-8")

    assert load_budgets(path)[0].cossim == float(floor)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param(
            entry("latency_ration = 0.7"),
            "limit 1: unknown field 'latency_ration'; did you mean 'latency_ratio'?",
            id="typo in a field",
        ),
        pytest.param(
            entry("xyz = 1"),
            "limit 1: unknown field 'xyz'; known: cells, latency_ratio, latency_ms, cossim, "
            "cossim_p5, bits_lost, slope, reference_slope, weights, reason",
            id="field like no other",
        ),
        pytest.param(
            entry().replace("[[limit]]", "[[limits]]"),
            "unknown table 'limits'; write entries as [[limit]]",
            id="unknown table",
        ),
        pytest.param(
            "version = 1\n" + entry(),
            "unknown table 'version'; write entries as [[limit]]",
            id="field outside an entry",
        ),
        pytest.param(
            entry().replace("[[limit]]", "[limit]"),
            "write [[limit]] in double brackets",
            id="single bracket",
        ),
        pytest.param("limit = [1]\n", "write [[limit]] in double brackets", id="list of numbers"),
        pytest.param("limit = 1\n", "write [[limit]] in double brackets", id="number"),
        pytest.param(
            entry("latency_ms = {}"),
            'limit 1 (*): latency_ms must name its device: { "NVIDIA ..." = 1.9 }',
            id="latency_ms of no device",
        ),
        pytest.param(
            entry("latency_ratio = 0.7", "latency_ms = {}"),
            'limit 1 (*): latency_ms must name its device: { "NVIDIA ..." = 1.9 }',
            id="latency_ms of no device beside a ratio",
        ),
        pytest.param(
            entry(f"latency_ratio = {LONG}"),
            f"limit 1 (*): latency_ratio is {LONG}, not a finite number",
            id="401-digit ratio",
        ),
        pytest.param(
            entry(f"latency_ms = {{ X = -{LONG} }}"),
            f"limit 1 (*): latency_ms of 'X' is -{LONG}, not a finite number",
            id="401-digit milliseconds",
        ),
        pytest.param(
            entry().replace("0.9", LONG),
            f"limit 1 (*): cossim is {LONG}, not a finite number",
            id="401-digit CosSim",
        ),
        pytest.param(
            entry("latency_ms = 1.9"),
            'limit 1 (*): latency_ms must name its device: { "NVIDIA ..." = 1.9 }',
            id="latency_ms as a bare number",
        ),
        pytest.param(
            entry("latency_ratio = -0.5"),
            "limit 1 (*): latency_ratio is -0.5, not positive",
            id="negative ratio",
        ),
        pytest.param(
            entry("latency_ratio = 0"),
            "limit 1 (*): latency_ratio is 0, not positive",
            id="zero ratio",
        ),
        pytest.param(
            entry("latency_ratio = nan"),
            "limit 1 (*): latency_ratio is nan, not a finite number",
            id="NaN ratio",
        ),
        pytest.param(
            entry("latency_ratio = inf"),
            "limit 1 (*): latency_ratio is inf, not a finite number",
            id="infinite ratio",
        ),
        pytest.param(
            entry("latency_ratio = true"),
            "limit 1 (*): latency_ratio is True, not a finite number",
            id="bool ratio",
        ),
        pytest.param(
            entry('latency_ratio = "0.7"'),
            "limit 1 (*): latency_ratio is '0.7', not a finite number",
            id="ratio in quotes",
        ),
        pytest.param(
            entry("latency_ms = { X = -1.9 }"),
            "limit 1 (*): latency_ms of 'X' is -1.9, not positive",
            id="negative milliseconds",
        ),
        pytest.param(
            entry("latency_ms = { X = nan }"),
            "limit 1 (*): latency_ms of 'X' is nan, not a finite number",
            id="NaN milliseconds",
        ),
        pytest.param(
            entry("latency_ms = { X = false }"),
            "limit 1 (*): latency_ms of 'X' is False, not a finite number",
            id="bool milliseconds",
        ),
        pytest.param(
            entry().replace("0.9", "1.5"),
            "limit 1 (*): cossim is 1.5, outside [-1, 1]",
            id="CosSim above 1",
        ),
        pytest.param(
            entry().replace("0.9", "-1.01"),
            "limit 1 (*): cossim is -1.01, outside [-1, 1]",
            id="CosSim below -1",
        ),
        pytest.param(
            entry().replace("0.9", "nan"),
            "limit 1 (*): cossim is nan, not a finite number",
            id="NaN CosSim",
        ),
        pytest.param(
            entry().replace("0.9", "true"),
            "limit 1 (*): cossim is True, not a finite number",
            id="bool CosSim",
        ),
        pytest.param(
            entry("cossim_p5 = 1.01"),
            "limit 1 (*): cossim_p5 is 1.01, outside [-1, 1]",
            id="5th percentile above 1",
        ),
        pytest.param(
            entry("bits_lost = inf"),
            "limit 1 (*): bits_lost is inf, not a finite number",
            id="infinite bits",
        ),
        *(
            pytest.param(
                entry(f"slope = {bad}"),
                f"limit 1 (*): slope is {shown}; write it as [lowest, highest]",
                id=f"slope {bad}",
            )
            for bad, shown in (("1.0", "1.0"), ("[1.0]", "[1.0]"), ("[1, 2, 3]", "[1, 2, 3]"))
        ),
        pytest.param(
            entry("reference_slope = [2.1, 1.85]"),
            "limit 1 (*): reference_slope is [2.1, 1.85]; the first must be below the second",
            id="range upside down",
        ),
        pytest.param(
            entry("slope = [1, 1]"),
            "limit 1 (*): slope is [1, 1]; the first must be below the second",
            id="empty range",
        ),
        pytest.param(
            entry('slope = [0.9, "1.1"]'),
            "limit 1 (*): slope is '1.1', not a finite number",
            id="bound in quotes",
        ),
        pytest.param(
            entry().replace('"why"', '" "'),
            "limit 1: 'reason' must be a sentence or glob, not empty",
            id="empty reason",
        ),
        pytest.param(
            entry().replace('reason = "why"', ""),
            "limit 1: 'reason' must be a sentence or glob, not empty",
            id="no reason",
        ),
        pytest.param(
            entry().replace('"why"', "7"),
            "limit 1: 'reason' must be a sentence or glob, not empty",
            id="reason as a number",
        ),
        pytest.param(
            entry().replace('cells = "*"', ""),
            "limit 1: 'cells' must be a sentence or glob, not empty",
            id="no cells",
        ),
        pytest.param(
            entry().replace('"*"', '""'),
            "limit 1: 'cells' must be a sentence or glob, not empty",
            id="empty cells",
        ),
        pytest.param(
            entry().replace("cossim = 0.9", ""),
            "limit 1 (*): limits nothing; give one of latency_ratio, latency_ms, cossim, "
            "cossim_p5, bits_lost, slope, reference_slope",
            id="limits nothing",
        ),
        pytest.param(
            entry('weights = "rnadom"'),
            "limit 1 (*): weights is 'rnadom'; known: pretrained, random",
            id="unknown weights",
        ),
        pytest.param(entry("cossim = 0.8"), "not valid TOML: Cannot overwrite", id="set twice"),
        pytest.param("[[limit]\n", "not valid TOML: Expected ']]'", id="TOML syntax error"),
        pytest.param(
            GOOD + entry("latency_ratio = 0"), "limit 2 (*): latency_ratio is 0", id="2nd entry"
        ),
    ],
)
def test_bad_file_is_refused(path: Path, text: str, sentence: str) -> None:
    """Each mistake has its sentence, after the file and the entry it is in."""
    path.write_text(text, encoding="utf-8")

    with pytest.raises(BudgetError) as caught:
        load_budgets(path)

    assert str(caught.value).startswith(f"{path}: {sentence}")


def test_missing_file_is_refused(path: Path) -> None:
    """A suites folder without budgets is told that it needs them."""
    with pytest.raises(BudgetError) as caught:
        load_budgets(path)

    assert str(caught.value) == (
        f"{path}: No such file or directory; every suites folder needs a budgets.toml"
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_file_with_a_byte_order_mark_is_read(path: Path, encoding: str) -> None:
    """As some editors, and PowerShell's ``>``, write it."""
    path.write_bytes(GOOD.encode(encoding))

    assert [limit.cells for limit in load_budgets(path)] == ["dinov2/*"]


@pytest.mark.parametrize(
    "lines",
    [
        [f"latency_ratio = {HEX}"],
        [f"latency_ms = {{ X = {HEX} }}"],
        [f"bits_lost = {HEX}"],
        [f"slope = [{HEX}, 1]"],
        [f"slope = {HEX}"],
        [f"slope = [1, 2, {HEX}]"],
        [f"weights = {HEX}"],
        ["latency_ratio = 2020-01-01"],
        ["latency_ms = { X = [1.9] }"],
        ["slope = [[1], [2]]"],
        ["slope = [nan, 1]"],
        ["weights = ['random']"],
    ],
    ids=lambda lines: lines[0][:30],
)
def test_what_is_no_number_is_one_sentence(path: Path, lines: list[str]) -> None:
    """A number that Python cannot write in decimal is named without its digits."""
    path.write_text(entry(*lines), encoding="utf-8")

    with pytest.raises(BudgetError) as caught:
        load_budgets(path)

    assert str(caught.value).startswith(f"{path}: limit 1 (*): ")
    assert len(str(caught.value)) < 700


def test_a_folder_is_no_budgets_file(tmp_path: Path) -> None:
    """It is said to be one."""
    with pytest.raises(BudgetError, match="Is a directory; every suites folder needs"):
        load_budgets(tmp_path)


def test_file_in_another_encoding_is_refused(path: Path) -> None:
    """TOML is UTF-8; anything else is a sentence, not a traceback."""
    path.write_bytes(b'reason = "M\xfcnchen"\n')

    with pytest.raises(BudgetError) as caught:
        load_budgets(path)

    assert str(caught.value).startswith(f"{path}: not valid TOML: ")


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        pytest.param("dinov2/dinov2-small/tome/keep=0.5/batch=8/float32/cpu", True, id="exact id"),
        pytest.param("dinov2/*", True, id="star crosses slashes"),
        pytest.param("dinov2/*/tome/keep=0.?/*", True, id="question mark"),
        pytest.param("*/batch=8/*/c[pu]*", False, id="brackets stand for themselves"),
        pytest.param("dinov2", False, id="a part is not the whole"),
        pytest.param("*/TOME/*", False, id="other case"),
        pytest.param("*/batch=1/*", False, id="other batch"),
    ],
)
def test_glob_names_cells(glob: str, expected: bool) -> None:
    """An entry names cells by id or glob, letter by letter."""
    assert Limit(glob, "why").matches(samples.cell()) is expected


def test_later_entry_overrides_field_by_field() -> None:
    """A later entry replaces what it gives and leaves the rest; the reasons add up."""
    limits = [
        Limit("*", "base", latency_ratio=0.9, latency_ms=((CPU, 90.0),), cossim=0.8),
        Limit("*/tome/*", "ratio only", latency_ratio=0.7),
        Limit("*/norm/*", "another method", latency_ratio=0.1, cossim=1.0),
        Limit("*/keep=0.5/*", "floor only", cossim=0.95),
        Limit("*", "milliseconds only", latency_ms=((CPU, 50.0), (GPU, 1.0))),
    ]

    merged = limits_of(samples.cell(), limits, device_name=CPU, weights="pretrained")

    reasons = ("base", "ratio only", "floor only", "milliseconds only")
    assert merged == Limits(0.95, 0.7, 50.0, reasons)


def test_optional_limits_are_merged_like_the_others() -> None:
    """A later entry that leaves them out leaves them standing, a later 0 counts."""
    limits = [
        Limit("*", "a", 0.9, cossim=0.8, cossim_p5=0.7, bits_lost=0.1, slope=(0.9, 1.1)),
        Limit("*", "b", bits_lost=0.0, reference_slope=(1.85, 2.1)),
    ]

    merged = limits_of(samples.cell(), limits, device_name=CPU, weights="pretrained")

    assert merged == Limits(0.8, 0.9, None, ("a", "b"), 0.7, 0.0, (0.9, 1.1), (1.85, 2.1))


def test_cell_without_optional_limits_has_none() -> None:
    """A cell is held to nothing that no entry states."""
    limit = Limit("*", "why", 0.9, cossim=0.9)

    merged = limits_of(samples.cell(), [limit], device_name=CPU, weights="pretrained")

    assert (merged.cossim_p5, merged.bits_lost) == (None, None)
    assert (merged.slope, merged.reference_slope) == (None, None)


def test_order_decides_not_precision() -> None:
    """A general entry after a precise one wins: the file is read from top to bottom."""
    precise, general = Limit(samples.cell().id, "a", 0.5, cossim=0.9), Limit("*", "b", 0.6)

    assert (
        limits_of(
            samples.cell(), [precise, general], device_name=CPU, weights="pretrained"
        ).latency_ratio
        == 0.6
    )
    assert (
        limits_of(
            samples.cell(), [general, precise], device_name=CPU, weights="pretrained"
        ).latency_ratio
        == 0.5
    )


@pytest.mark.parametrize(
    ("device", "latency_ms"), [(GPU, 1.9), (CPU, None), (GPU.lower(), None)], ids=str
)
def test_milliseconds_apply_on_the_named_device_only(device: str, latency_ms: float | None) -> None:
    """An absolute budget of one device says nothing about another."""
    limit = Limit("*", "why", latency_ratio=0.9, latency_ms=((GPU, 1.9),), cossim=0.9)

    merged = limits_of(samples.cell(), [limit], device_name=device, weights="pretrained")

    assert merged == Limits(0.9, 0.9, latency_ms, ("why",))


@pytest.mark.parametrize(("weights", "cossim"), [("pretrained", 0.9), ("random", 0.999)], ids=str)
def test_entry_for_some_weights_applies_to_them_only(weights: str, cossim: float) -> None:
    """The check of random weights is no floor of pretrained ones."""
    limits = [
        Limit("*", "quality", latency_ratio=0.9, cossim=0.9),
        Limit("*", "unchanged output", cossim=0.999, weights="random"),
    ]

    merged = limits_of(samples.cell(), limits, device_name=CPU, weights=weights)

    assert merged.cossim == cossim


def test_milliseconds_of_another_device_leave_an_earlier_budget() -> None:
    """An entry for the GPU does not remove the CPU's budget."""
    limits = [
        Limit("*", "cpu", latency_ms=((CPU, 90.0),), cossim=0.9),
        Limit("*", "gpu", latency_ms=((GPU, 1.9),)),
    ]

    assert (
        limits_of(samples.cell(), limits, device_name=CPU, weights="pretrained").latency_ms == 90.0
    )


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        pytest.param([], "has no CosSim floor; add a [[limit]] for it", id="no entry"),
        pytest.param(
            [Limit("clip/*", "why", 0.9, cossim=0.9)],
            "has no CosSim floor; add a [[limit]] for it",
            id="entry of another suite",
        ),
        pytest.param(
            [Limit("*", "why", 0.9)],
            "has no CosSim floor; add a [[limit]] for it",
            id="latency only",
        ),
        pytest.param(
            [Limit("*", "why", cossim=0.9)],
            "has no latency budget on 'Sample CPU'; add a [[limit]] for it",
            id="floor only",
        ),
        pytest.param(
            [Limit("*", "why", latency_ms=((GPU, 1.9),), cossim=0.9)],
            "has no latency budget on 'Sample CPU'; add a [[limit]] for it",
            id="milliseconds of another device",
        ),
    ],
)
def test_cell_without_limits_is_refused(limits: list[Limit], sentence: str) -> None:
    """Every cell needs a floor and a latency budget; the message names the one that lacks it."""
    with pytest.raises(BudgetError) as caught:
        limits_of(samples.cell(), limits, device_name=CPU, weights="pretrained")

    assert str(caught.value) == f"cell {samples.cell().id!r} {sentence}"


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        pytest.param("dinov2/*", False, id="glob"),
        pytest.param("*/float32/cpu", False, id="as collected"),
        pytest.param("*/bfloat16/cpu", False, id="other dtype"),
        pytest.param("*/float32/cuda", False, id="other device"),
        pytest.param("*/tome/keep=0.5/batch=8/float16/cuda", False, id="other dtype and device"),
        pytest.param("*/keep=0.6/*", True, id="keep nobody measures"),
        pytest.param("*/float64/cpu", True, id="dtype that cannot be asked for"),
        pytest.param("*/float32/tpu", True, id="device that cannot be asked for"),
        pytest.param("dinov2/dinov2-small/tomme/*", True, id="typo"),
    ],
)
def test_entry_that_names_no_cell_is_found(glob: str, expected: bool) -> None:
    """A limit for another dtype or device of a collected cell is no mistake; one for none is."""
    limit = Limit(glob, "why", 0.9)

    assert unmatched([limit], [samples.cell()]) == ([limit] if expected else [])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("device", DEVICES)
def test_entry_for_any_variant_matches_from_any_other(dtype: str, device: str) -> None:
    """Whichever dtype and device a run asks for, the limits of all others still name its cells."""
    stem = samples.cell().id.removesuffix("/float32/cpu")
    here = replace(samples.cell(), id=f"{stem}/{dtype}/{device}", dtype=dtype, device=device)
    limits = [Limit(f"{stem}/{other}/{kind}", "why") for other in DTYPES for kind in DEVICES]

    assert unmatched(limits, [here]) == []


def test_unmatched_entries_keep_their_order() -> None:
    """Of several entries only those that name nothing come back, in file order."""
    limits = [Limit("b*", "why"), Limit("dinov2/*", "why"), Limit("a*", "why")]

    cells = [samples.cell("norm"), samples.cell()]
    assert [limit.cells for limit in unmatched(limits, cells)] == ["b*", "a*"]


def test_without_cells_every_entry_names_nothing() -> None:
    """Even the glob of everything needs something to name."""
    assert unmatched([Limit("*", "why")], []) == [Limit("*", "why")]
