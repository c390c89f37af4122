"""Baselines: how they are named after machines, and which runs may become one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efficarch.errors import EfficarchError, RunFileError
from efficarch.record import Machine, Run, Status
from efficarch.store import baseline_path, load_run, machine_slug, save_baseline, write_text
from tests import samples
from tests.store.cases import CELL, GPU, written


@pytest.mark.parametrize(
    ("machine", "slug"),
    [
        pytest.param(samples.MACHINE, "sample-cpu-2-cores", id="cpu"),
        pytest.param(GPU, "nvidia-h100-80gb-hbm3-1a2b3c4d", id="gpu"),
        pytest.param(
            replace(GPU, gpu_uuid=None), "nvidia-h100-80gb-hbm3-2-cores", id="gpu without UUID"
        ),
        pytest.param(
            replace(GPU, gpu_uuid="MIG-9f8e7d6c-0000-0000-0000-000000000000"),
            "nvidia-h100-80gb-hbm3-9f8e7d6c",
            id="slice of a gpu",
        ),
        pytest.param(
            replace(samples.MACHINE, cpu_model="Intel(R) Xeon(R) CPU @ 2.20GHz", cpu_cores=16),
            "intel-r-xeon-r-cpu-2-20ghz-16-cores",
            id="punctuation",
        ),
    ],
)
def test_baseline_is_named_after_its_machine(machine: Machine, slug: str) -> None:
    """A committed file keeps its name from version to version, so the names are pinned here."""
    assert machine_slug(machine) == slug
    assert baseline_path(Path("baselines"), machine) == Path("baselines") / f"{slug}.json"


@pytest.mark.parametrize("kind", ["GPU", "MIG"])
def test_two_gpus_of_one_model_have_two_baselines(kind: str) -> None:
    """Two cards of one model, or two slices of one card, are two machines: the UUID tells."""
    one, other = (
        replace(GPU, gpu_uuid=f"{kind}-{start}-0000-0000-0000-000000000000")
        for start in ("1a2b3c4d", "1a2b3c4e")
    )

    assert machine_slug(one) != machine_slug(other)


@pytest.mark.parametrize(
    "changes",
    [{"driver": "590.1"}, {"torch": "2.14.0"}, {"python": "3.13.1"}, {"power_limit_w": 350.0}],
    ids=lambda changes: next(iter(changes)),
)
def test_update_keeps_the_name_of_the_baseline(changes: dict[str, Any]) -> None:
    """After an update the old baseline is still found, and refused with a reason by the gate."""
    assert machine_slug(replace(GPU, **changes)) == machine_slug(GPU)


@settings(deadline=None, derandomize=True)
@given(st.text(), st.none() | st.text())
def test_slug_is_safe_as_a_file_name(cpu_model: str, gpu_name: str | None) -> None:
    """Whatever a vendor calls its device, the file name is made of a-z, 0-9 and single dashes."""
    slug = machine_slug(replace(samples.MACHINE, cpu_model=cpu_model, gpu_name=gpu_name))

    assert slug
    assert all(part.isascii() and part.isalnum() for part in slug.split("-"))
    assert slug == slug.lower()


@pytest.mark.parametrize(
    ("run", "what"),
    [
        pytest.param(
            samples.run(samples.line(), samples.line(samples.cell("norm"), status=Status.FAILED)),
            f"{samples.cell('norm').id} is failed",
            id="failed",
        ),
        pytest.param(
            samples.run(samples.line(status=Status.ERROR)), f"{CELL} is error", id="error"
        ),
        pytest.param(
            samples.run(samples.line(status=Status.NOT_RUN)), f"{CELL} is not run", id="not run"
        ),
        pytest.param(samples.run(interrupted=True), "it was interrupted", id="interrupted"),
        pytest.param(
            samples.run(samples.line(measured=samples.alone())),
            "its references were not timed",
            id="subject alone",
        ),
        pytest.param(replace(samples.run(), cells=()), "no cell was measured", id="no cell"),
        pytest.param(
            samples.run(
                samples.line(status=Status.SKIPPED),
                samples.line(samples.cell("norm"), status=Status.SKIPPED),
            ),
            "no cell was measured",
            id="all skipped",
        ),
    ],
)
def test_run_that_is_not_green_becomes_no_baseline(tmp_path: Path, run: Run, what: str) -> None:
    """A run with a hole is refused with the reason, and the old baseline stays."""
    run_file = written(tmp_path / "run.json", samples.run_json(run))
    folder = tmp_path / "baselines"
    old = baseline_path(folder, run.machine)
    write_text(old, "old")

    with pytest.raises(EfficarchError) as caught:
        save_baseline(run_file, folder)

    assert str(caught.value) == (
        f"this run cannot become a baseline: {what}; mend it and run again"
    )
    assert [(path, path.read_text(encoding="utf-8")) for path in folder.iterdir()] == [(old, "old")]


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param((samples.line(),), id="all passed"),
        pytest.param(
            (samples.line(), samples.line(samples.cell("norm"), status=Status.SKIPPED)),
            id="some skipped",
        ),
    ],
)
def test_green_run_becomes_its_machines_baseline(tmp_path: Path, lines: tuple[Any, ...]) -> None:
    """The baseline is the run file itself, under the machine's name, in place of the old one."""
    run = samples.run(*lines, machine=GPU)
    run_file = written(tmp_path / "run.json", samples.run_json(run))
    folder = tmp_path / "not" / "there" / "yet"
    write_text(baseline_path(folder, GPU), "old")

    target = save_baseline(run_file, folder)

    assert target == baseline_path(folder, GPU)
    assert target.read_bytes() == run_file.read_bytes()
    assert load_run(target) == run


def test_unreadable_run_becomes_no_baseline(tmp_path: Path) -> None:
    """What cannot be read cannot be a baseline either."""
    run_file = written(tmp_path / "run.json", {})

    with pytest.raises(RunFileError, match="not a pytest-benchmark file"):
        save_baseline(run_file, tmp_path / "baselines")

    assert not (tmp_path / "baselines").exists()
