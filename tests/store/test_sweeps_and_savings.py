"""Sweeps over length and savings in run files: what cannot have been measured is refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from efficarch.errors import RunFileError
from efficarch.store import load_run
from tests import samples
from tests.store.cases import CELL, LINE, MEASUREMENT, Edit, drop, put, written

SUBJECT = (*MEASUREMENT, "scaling", "subject")
REFERENCE = (*MEASUREMENT, "scaling", "reference")
SAVING = (*MEASUREMENT, "saving")

RUN = samples.run(samples.line(measured=replace(samples.swept(), saving=samples.saving())))

BAD = [
    pytest.param(
        put(*SUBJECT, "lengths", 1, value=512),
        "scaling.subject.lengths is [512, 512, 2048, 4096, 8192, 16384], "
        "not positive and increasing",
        id="length twice",
    ),
    pytest.param(
        put(*SUBJECT, "lengths", 0, value=0),
        "scaling.subject.lengths is [0, 1024, 2048, 4096, 8192, 16384], "
        "not positive and increasing",
        id="length zero",
    ),
    pytest.param(
        put(*REFERENCE, "lengths", value=[]),
        "scaling.reference.lengths is [], not positive and increasing",
        id="no lengths",
    ),
    pytest.param(
        drop(*REFERENCE, "rounds_ms", 3),
        "scaling.reference has 6 lengths and rounds of 5",
        id="length without rounds",
    ),
    pytest.param(
        drop(*SUBJECT, "rounds_ms", 3, 0),
        "scaling.subject.rounds_ms[3]: every length needs equally many",
        id="uneven rounds",
    ),
    pytest.param(
        put(*SUBJECT, "rounds_ms", 2, value=[]),
        "scaling.subject.rounds_ms[2] holds zero rounds; run it again",
        id="no rounds",
    ),
    pytest.param(
        put(*SUBJECT, "fitted_from", value=0),
        "scaling.subject.fitted_from is 0, not a length",
        id="fitted from nowhere",
    ),
    pytest.param(
        put(*SUBJECT, "rounds_ms", 2, 1, value=-1.0),
        "scaling.subject.rounds_ms[2][1] is -1.0, not positive",
        id="negative round",
    ),
    pytest.param(
        put(*SUBJECT, "rounds_ms", value=[[1.0, 2.0, 1.0, 2.0, 1.0]] * 6),
        "scaling.subject.rounds_ms[0] holds 5 rounds; a 95 % interval needs at least 6",
        id="too few rounds",
    ),
    pytest.param(
        put(*REFERENCE, "rounds_ms", value=[[1.0] * 7] * 6),
        "scaling: subject and reference have unequal numbers of rounds",
        id="sides of unequal rounds",
    ),
    pytest.param(
        put(*SUBJECT, "lengths", value=list(range(1, 100_001))),
        "scaling.subject has 100,000 lengths, more than 1,000",
        id="very many lengths",
    ),
    pytest.param(
        put(*SUBJECT, "lengths", 5, value=10**18),
        "scaling.subject.lengths holds 1,000,000,000,000,000,000, no sequence length",
        id="absurd length",
    ),
    pytest.param(
        put(*SUBJECT, "fitted_from", value=10**18),
        "scaling.subject.fitted_from is 1000000000000000000, not a length",
        id="fitted from an absurd length",
    ),
    pytest.param(
        put(*REFERENCE, "rounds_ms", 4, 2, value=1e308),
        "scaling.reference.rounds_ms[4][2] is 1e+308, no latency in milliseconds",
        id="absurd round",
    ),
    pytest.param(
        put(*SUBJECT, "floor_ms", value=1e308),
        "scaling.subject.floor_ms is 1e+308, no latency in milliseconds",
        id="absurd floor",
    ),
    pytest.param(
        put(*SAVING, "bits", 3, value=-0.5),
        "saving.bits[3] is -0.5, outside [0, 1e+06]",
        id="negative bits",
    ),
    pytest.param(
        put(*SAVING, "reference_bits", 0, value=1e308),
        "saving.reference_bits[0] is 1e+308, outside [0, 1e+06]",
        id="absurd bits",
    ),
    pytest.param(
        put(*SAVING, "layers", 0, "cossim", "p5", value=2.0),
        "saving.layers[0].cossim.p5 is 2.0, outside [-1, 1]",
        id="layer's CosSim above one",
    ),
    pytest.param(
        put(*SUBJECT, "floor_ms", value=0.0),
        "scaling.subject.floor_ms is 0.0, not positive",
        id="no floor",
    ),
    pytest.param(
        put(*SAVING, "updates_saved", value=1.0),
        "saving.updates_saved is 1.0, outside [0, 1)",
        id="everything saved",
    ),
    pytest.param(
        put(*SAVING, "updates_saved", value=-0.1),
        "saving.updates_saved is -0.1, outside [0, 1)",
        id="less than nothing saved",
    ),
    pytest.param(
        put(*SAVING, "layers", 1, "updates_saved", value=1.5),
        "saving.layers[1].updates_saved is 1.5, outside [0, 1)",
        id="layer saves more than all",
    ),
    pytest.param(
        put(*SAVING, "state_error", value=-1e-9),
        "saving.state_error is -1e-09, below zero",
        id="negative error",
    ),
    pytest.param(
        drop(*SAVING, "bits", 0),
        "saving has bits of 7 segments and reference_bits of 8; they must be of the same ones",
        id="segments of one side",
    ),
    pytest.param(
        put(*LINE, "limits", "slope", value=[0.9]),
        "the limit slope is [0.9], not a lowest and a highest value; the file was edited",
        id="half a range",
    ),
    pytest.param(
        put(*LINE, "limits", "reference_slope", value=[2.1, 1.85]),
        "the limit reference_slope is [2.1, 1.85], not a lowest and a highest value; "
        "the file was edited",
        id="range upside down",
    ),
]


@pytest.mark.parametrize(("edit", "sentence"), BAD)
def test_what_cannot_have_been_measured_is_refused(
    tmp_path: Path, edit: Edit, sentence: str
) -> None:
    """Each has its sentence, after the file and the cell."""
    data = samples.run_json(RUN)
    path = tmp_path / "run.json"
    edit(data)

    with pytest.raises(RunFileError) as caught:
        load_run(written(path, data))

    assert str(caught.value) == f"{path}: cell {CELL!r}: {sentence}"


@pytest.mark.parametrize(
    "edit",
    [drop(*MEASUREMENT, "backend"), drop(*SUBJECT, "floor_ms"), drop(*LINE, "limits", "slope")],
    ids=["backend", "floor", "slope"],
)
def test_file_of_schema_3_lacks_none_of_its_fields(tmp_path: Path, edit: Edit) -> None:
    """Only older versions may do without: a field that went missing is not None."""
    data = samples.run_json(RUN)
    edit(data)

    with pytest.raises(RunFileError, match=r"is missing$"):
        load_run(written(tmp_path / "run.json", data))
