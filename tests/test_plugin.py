"""The plugin in real inner pytest sessions, with a tiny encoder and a clock that counts work."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

from efficarch.errors import MissingWeightsError
from efficarch.models import MODELS, OPTIONS, ModelRow
from efficarch.models.base import Subject, WeightsRequest
from efficarch.models.vit import blocks_of
from efficarch.options import add_options
from efficarch.record import Status
from efficarch.reducers.random import RandomPrune
from efficarch.store import load_run
from tests import inner
from tests.models.samples import picture

RANDOM = "random-0.5"
ARGUMENTS = ("-p", "efficarch.plugin", "--benchmark-json=run.json", "--efficarch-device=cpu")
RUN = "    result ="


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """An inner suites folder of two cells of a tiny model."""
    monkeypatch.delenv("EFFICARCH_REQUIRE_CUDA", raising=False)
    monkeypatch.setitem(MODELS, "tiny", ModelRow("tiny", "tests.inner", "tiny", "--dinov2-path"))
    pytester.makeconftest(inner.CONFTEST)
    pytester.makepyfile(test_tiny=inner.SUITE)
    pytester.path.joinpath("budgets.toml").write_text(inner.BUDGETS)
    return pytester


def run(suite: pytest.Pytester, *options: str) -> pytest.RunResult:
    """Run the inner suite; in this process, since importing torch anew takes longer."""
    return suite.runpytest_inprocess(*ARGUMENTS, *options)


def edit(suite: pytest.Pytester, name: str, old: str, new: str) -> None:
    """Replace text in a file of the inner suite; the text must be there."""
    path = suite.path / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def lines(suite: pytest.Pytester) -> dict[str, Any]:
    """Return the lines of the run file by method."""
    return {line.cell.method: line for line in load_run(suite.path / "run.json").cells}


def test_green_run_is_recorded(suite: pytest.Pytester) -> None:
    """A suite within its limits passes, and its file holds every figure of every cell."""
    result = run(suite, "-v")

    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines([f"*{RANDOM}-b2*PASSED*ratio 0.*CosSim*"])
    cell = lines(suite)["random"]
    assert cell.cell.id == "tiny/tiny/random/keep=0.5/batch=2/float32/cpu"
    measured = cell.measurement
    assert len(measured.rounds_ms) == 6
    assert measured.ratio.low == measured.ratio.value == measured.ratio.high
    assert 0.7 < measured.ratio.value < 0.85
    assert 0.7 < measured.flops / measured.reference_flops < 0.85
    assert measured.tokens == (17, 17, 9, 9)
    assert 0 < measured.peak_bytes <= measured.reference_peak_bytes
    assert measured.cossim.items == 4


def test_pytest_benchmark_stores_the_measured_rounds(suite: pytest.Pytester) -> None:
    """pytest-benchmark's own statistics are those of our rounds, so its options keep working."""
    run(suite)

    for bench in json.loads((suite.path / "run.json").read_text())["benchmarks"]:
        rounds_ms = bench["extra_info"]["efficarch"]["measurement"]["rounds_ms"]
        assert bench["stats"]["data"] == pytest.approx([ms / 1e3 for ms in rounds_ms])
        assert bench["group"] == "tiny"


@contextmanager
def repeating_last_block(self: RandomPrune, model: nn.Module) -> Iterator[None]:
    """Attach random pruning and run the last block five times over."""

    def repeat(module: nn.Module, args: tuple[Tensor, ...], _output: Tensor) -> None:
        for _ in range(5):
            module.forward(*args[:1])

    handle = blocks_of(model)[-1].module.register_forward_hook(repeat)
    with attach_random(self, model):
        yield
    handle.remove()


attach_random = RandomPrune.attach


def test_slower_model_turns_red_and_back(suite: pytest.Pytester) -> None:
    """Extra layers' work in the reduced model breaks the latency budget; undoing it mends it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RandomPrune, "attach", repeating_last_block)
        slow = run(suite)

    slow.assert_outcomes(passed=1, failed=1)
    slow.stdout.fnmatch_lines(["*latency ratio 1.*is above its budget 0.850*"])
    assert lines(suite)["random"].status is Status.FAILED

    run(suite).assert_outcomes(passed=2)


def test_worse_output_turns_red_and_back(suite: pytest.Pytester) -> None:
    """Dropping more tokens than stated breaks the CosSim floor; undoing it mends it."""
    run(suite)
    honest = lines(suite)["random"].measurement.cossim.mean
    edit(suite, "budgets.toml", "cossim = 0.5", f"cossim = {honest - 1e-6}")
    run(suite).assert_outcomes(passed=2)

    edit(suite, "test_tiny.py", "reducer=reducer(keep)", "reducer=reducer(keep and keep / 4)")
    worse = run(suite)
    worse.assert_outcomes(passed=1, failed=1)
    line = lines(suite)["random"]
    assert line.status is Status.FAILED
    assert line.measurement.cossim.mean < honest

    edit(suite, "test_tiny.py", "reducer(keep and keep / 4)", "reducer(keep)")
    run(suite).assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("tiny/tiny/random/*", "tiny/tiny/none/*", "*'tiny/tiny/random/*has no CosSim floor*"),
        ("tiny/tiny/random/*", "tiny/tiny/rendom/*", "*'tiny/tiny/random/*has no CosSim floor*"),
        ("cossim = 0.5", "cosim = 0.5", "*unknown field 'cosim'; did you mean 'cossim'?*"),
        ("latency_ratio = 0.85", "", "*has no latency budget on*"),
        ("[[limit]]\ncells", "[[limit]\ncells", "*not valid TOML*"),
    ],
    ids=["cell without limits", "glob with a typo", "field with a typo", "no budget", "not TOML"],
)
def test_bad_budgets_end_at_collection(
    suite: pytest.Pytester, old: str, new: str, sentence: str
) -> None:
    """Limits that do not fit the cells stop the session before anything is measured."""
    edit(suite, "budgets.toml", old, new)

    result = run(suite)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {sentence}"])
    assert not (suite.path / "run.json").exists()


def test_limit_without_cell_ends_at_collection(suite: pytest.Pytester) -> None:
    """A limit that matches no cell is an error, also when tests are selected with -k."""
    budgets = suite.path / "budgets.toml"
    stray = '[[limit]]\ncells = "tiny/tiny/tome/*"\ncossim = 0.5\nreason = "gone"\n'
    budgets.write_text(inner.BUDGETS + stray)

    result = run(suite, "-k", "none")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*'tiny/tiny/tome/[*]' matches no cell*"])


def test_limit_of_a_suite_not_collected_is_left_alone(suite: pytest.Pytester) -> None:
    """Running one suite's file, or one test, does not ask for the cells of the others."""
    suite.makepyfile(test_other="def test_other(): pass")
    budgets = suite.path / "budgets.toml"
    other = '[[limit]]\ncells = "other/*"\ncossim = 0.5\nreason = "another suite"\n'
    any_suite = '[[limit]]\ncells = "*/tome/*"\ncossim = 0.5\nreason = "of some suite"\n'
    budgets.write_text(inner.BUDGETS + other + any_suite)

    run(suite, "test_tiny.py").assert_outcomes(passed=2)
    run(suite, "test_tiny.py::test_tiny[tiny-none-None-b2]").assert_outcomes(passed=1)


def test_two_tests_of_one_cell_are_refused(suite: pytest.Pytester) -> None:
    """Two tests whose parameters name the same cell cannot both be measured."""
    edit(suite, "test_tiny.py", "CASES = [", 'CASES = [(REDUCERS["none"], None), ')

    result = run(suite)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*are both cell 'tiny/tiny/none/batch=2/float32/cpu'*"])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--efficarch-rounds=5"], "*rounds is 5;*at least 6*"),
        (
            ["--efficarch-clip-path=/nowhere/at/all"],
            "*--efficarch-clip-path: no folder '/nowhere/at/all'*",
        ),
        (["--efficarch-device=cuda"], "*torch sees no CUDA device*"),
        (["--efficarch-images=/nowhere/at/all"], "*no images folder '/nowhere/at/all'*"),
    ],
    ids=["too few rounds", "missing weights folder", "no CUDA", "missing images folder"],
)
def test_bad_options_end_at_collection(
    suite: pytest.Pytester, options: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An option that cannot be met stops the session with one sentence."""
    monkeypatch.setattr("efficarch.probe.cuda_available", lambda: False)

    result = run(suite, *options)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {sentence}"])


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two"),
        ("raise MemoryError", "MemoryError: no message"),
        ("import torch; raise torch.OutOfMemoryError('CUDA out of memory')", "OutOfMemoryError*"),
        ("import torch; torch.empty(2**60)", "RuntimeError: *"),
        ("REDUCERS['tomee']", "UnknownNameError: *did you mean 'tome'?; efficarch list shows all*"),
        ("bench(model='tinny', reducer=reducer(keep), inputs=images, batch=2)", "EfficarchError*"),
        ("reducer(0.0)", "EfficarchError: keep is 0.0; it must lie in (0, 1]*"),
    ],
    ids=["raises", "no memory", "CUDA memory", "CPU memory", "method", "model", "keep"],
)
def test_cell_that_raises_leaves_the_others_intact(
    suite: pytest.Pytester, statement: str, message: str
) -> None:
    """A cell that raises or runs out of memory is an error in one line; others are measured."""
    edit(suite, "test_tiny.py", RUN, f"    if keep:\n        {statement}\n{RUN}")

    run(suite).assert_outcomes(passed=1, failed=1)

    broken = lines(suite)["random"]
    assert broken.status is Status.ERROR
    assert broken.measurement is None
    assert "\n" not in broken.message
    pytest.LineMatcher([broken.message]).fnmatch_lines([message.replace("[", "[[]")])
    assert lines(suite)["none"].status is Status.PASSED


REGISTER_TINY = """
import pytest
from efficarch.models import MODELS, ModelRow

MODELS["tiny"] = ModelRow("tiny", "tests.inner", "tiny", "--dinov2-path")
"""


def test_ctrl_c_keeps_what_was_measured(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted in the second cell, the run holds the first and says what is missing."""
    edit(suite, "test_tiny.py", RUN, f"    if keep:\n        raise KeyboardInterrupt\n{RUN}")

    # in a process of its own: pytester would pass the interrupt on to this one
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    edit(suite, "conftest.py", "import pytest", REGISTER_TINY)
    result = suite.runpytest_subprocess(*ARGUMENTS)

    assert result.ret == pytest.ExitCode.INTERRUPTED
    record = load_run(suite.path / "run.json")
    assert record.interrupted
    assert [line.status for line in record.cells] == [Status.PASSED, Status.NOT_RUN]


def test_measured_cell_that_then_raises_has_no_figures(suite: pytest.Pytester) -> None:
    """A test that breaks after measuring is an error, and its figures are taken back."""
    end = "    assert result.cossim >= result.budget.cossim"
    teardown = """


@pytest.fixture(autouse=True)
def falls_apart(request):
    yield
    if "random" in request.node.name:
        raise OSError("late")
"""
    edit(suite, "test_tiny.py", end, end + teardown)

    run(suite).assert_outcomes(passed=2, errors=1)

    line = lines(suite)["random"]
    assert (line.status, line.message) == (Status.ERROR, "OSError: late")
    assert line.measurement is None
    assert lines(suite)["none"].status is Status.PASSED


def test_deselected_cells_are_not_missing(suite: pytest.Pytester) -> None:
    """Cells the user did not select are no part of the run, which is complete without them."""
    run(suite, "-k", "none")

    record = load_run(suite.path / "run.json")
    assert [line.cell.method for line in record.cells] == ["none"]
    assert not record.interrupted


def test_skipped_cell_keeps_its_reason(suite: pytest.Pytester) -> None:
    """A skipped cell stands in the run with its reason."""
    edit(suite, "test_tiny.py", RUN, f"    if keep:\n        pytest.skip('why not')\n{RUN}")

    run(suite).assert_outcomes(passed=1, skipped=1)

    line = lines(suite)["random"]
    assert (line.status, line.message) == (Status.SKIPPED, "why not")


@pytest.mark.parametrize(
    ("options", "outcome"),
    [([], "skipped"), (["--efficarch-dinov2-path=some/where"], "failed")],
    ids=["not named", "named"],
)
def test_missing_weights(
    suite: pytest.Pytester, options: list[str], outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights nobody named skip their cells with the reason; named ones that fail are an error."""

    def load(_request: WeightsRequest) -> Subject:
        raise MissingWeightsError("these weights are not here")

    monkeypatch.setattr(inner, "load", load)
    monkeypatch.setitem(OPTIONS, "--dinov2-path", "tiny")

    result = run(suite, "-rs", *options)

    result.assert_outcomes(**{outcome: 2})
    result.stdout.fnmatch_lines(["*these weights are not here*"])


def test_random_weights_are_asked_for_and_labelled(suite: pytest.Pytester) -> None:
    """Random weights run only when asked for, and every row says so."""
    run(suite, "--efficarch-weights=random")

    assert {line.measurement.weights.value for line in lines(suite).values()} == {"random"}


def test_disabled_benchmarks_skip(suite: pytest.Pytester) -> None:
    """With pytest-benchmark disabled nothing is measured and nothing passes."""
    run(suite, "--benchmark-disable").assert_outcomes(skipped=2)


def test_promised_cuda_refuses_a_cpu_run(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU runner the suites never fall back to the CPU in silence."""
    monkeypatch.setattr("efficarch.probe.cuda_available", lambda: False)
    monkeypatch.setenv("EFFICARCH_REQUIRE_CUDA", "1")

    result = run(suite)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*EFFICARCH_REQUIRE_CUDA=1*no CUDA device*"])


def test_html_in_a_test_id_survives(suite: pytest.Pytester) -> None:
    """A parameter that looks like HTML is data: it is measured and stored as it is."""
    model = '@pytest.mark.parametrize("model"'
    tag = '@pytest.mark.parametrize("tag", ["<b>|x"])'
    edit(suite, "test_tiny.py", model, f"{tag}\n{model}")
    edit(suite, "test_tiny.py", "model, reducer, keep, batch)", "model, reducer, keep, batch, tag)")
    edit(suite, "budgets.toml", "none/*", "*none*")
    edit(suite, "budgets.toml", "random/*", "*random*")

    run(suite).assert_outcomes(passed=2)

    assert "tag=<b>|x" in lines(suite)["none"].cell.id


def test_options_are_pinned() -> None:
    """A new option is a decision: this list changes with it."""
    parser = pytest.Parser(_ispytest=True)
    add_options(parser)
    group = parser.getgroup("efficarch")

    assert [option.names()[0] for option in group.options] == [
        "--efficarch-device",
        "--efficarch-dtype",
        "--efficarch-weights",
        "--efficarch-rounds",
        "--efficarch-images",
        "--efficarch-dinov2-path",
        "--efficarch-clip-path",
        "--efficarch-siglip-path",
        "--efficarch-vit-path",
        "--efficarch-qwen-3b-path",
        "--efficarch-qwen-7b-path",
        "--efficarch-mamba-path",
        "--efficarch-mamba2-path",
    ]


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Return a folder of two classes of two images."""
    for seed, name in enumerate(("cat/a.png", "cat/b.png", "dog/a.png", "dog/b.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture(64, 32, seed=seed).save(tmp_path / name)
    return tmp_path


OWN_IMAGES = """
from suites.conftest import photos


@pytest.fixture(scope="session")
def images(photos):
    return photos
"""


def test_images_of_ones_own_take_the_photos_place(suite: pytest.Pytester, classes: Path) -> None:
    """The suites' photos are those of the folder, square and in order of class and name."""
    (suite.path / "conftest.py").write_text(inner.CONFTEST.split("@pytest.fixture")[0] + OWN_IMAGES)
    clock = "@pytest.fixture(scope='session')\ndef efficarch_clock():\n    return WorkClock()\n"
    edit(suite, "conftest.py", "from suites", f"{clock}\nfrom suites")
    check = (
        "    from efficarch.models.folder import label_of\n"
        "    assert [label_of(image) for image in images] == ['cat', 'cat', 'dog', 'dog']\n"
        "    assert {image.size for image in images} == {(32, 32)}\n"
    )
    edit(suite, "test_tiny.py", RUN, f"{check}{RUN}")
    # the floor was set on other images
    edit(suite, "budgets.toml", "cossim = 0.5", "cossim = -1")

    run(suite, f"--efficarch-images={classes}").assert_outcomes(passed=2)

    measured = lines(suite)["random"].measurement
    assert measured.cossim.items == 4
    assert measured.quality.retrieval is not None
    assert "4 images of 56 px" in measured.source


def test_without_the_option_the_photos_are_the_packaged_ones(suite: pytest.Pytester) -> None:
    """The suites' own fixture answers with 32 crops."""
    suite.makeconftest("import pytest\n" + OWN_IMAGES)
    suite.makepyfile(test_tiny="def test_photos(images):\n    assert len(images) == 32\n")

    suite.runpytest_inprocess("-p", "efficarch.plugin").assert_outcomes(passed=1)


def test_images_that_do_not_do_end_at_collection(suite: pytest.Pytester, classes: Path) -> None:
    """A folder with an unreadable file stops the session in one sentence, before any measuring."""
    (classes / "dog" / "b.png").write_text("no image")

    result = run(suite, f"--efficarch-images={classes}")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: cannot read *b.png as an image; remove it or *"])
    assert not (suite.path / "run.json").exists()


def test_another_projects_bench_fixture_is_left_alone(pytester: pytest.Pytester) -> None:
    """A fixture of the same name in a project that knows nothing of cells keeps working."""
    pytester.makepyfile(
        "import pytest\n\n@pytest.fixture\ndef bench():\n    return 7\n\n"
        "def test_own(bench):\n    assert bench == 7\n"
    )

    pytester.runpytest_inprocess("-p", "efficarch.plugin").assert_outcomes(passed=1)


def test_sessions_without_bench_tests_are_untouched(pytester: pytest.Pytester) -> None:
    """In a project that measures nothing the plugin adds nothing and imports no torch."""
    pytester.makepyfile(
        "def test_plain(benchmark):\n    benchmark(int)\n\n"
        "def test_no_torch():\n    import sys\n    assert 'torch' not in sys.modules\n"
    )

    pytester.runpytest_subprocess(
        "-p", "efficarch.plugin", "--benchmark-json=plain.json"
    ).assert_outcomes(passed=2)

    written = json.loads(Path(pytester.path / "plain.json").read_text())
    assert "efficarch" not in written
    assert "efficarch" not in written["machine_info"]
