"""The data set on disk, and its quality page."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brainldm.dataset.people import read_people
from brainldm.dataset.sidecar import Provenance, Registration
from brainldm.errors import BrainLDMError, DataError
from brainldm.image.volume import Volume
from brainldm.prepare.dataset import (
    Participant,
    Paths,
    Settings,
    check_cells,
    open_dataset,
    write_tables,
)
from brainldm.prepare.quality import BINS, CONTOUR, figure, quality_page

SETTINGS = Settings("toy", (8, 8, 8), tuple(map(tuple, np.eye(4).tolist())), False, False)
PEOPLE = [
    Participant(
        "1",
        {"sex": "F", "age": 63.5, "ventricular_volume_ml": 30.123, "brain_volume_ml": 1500.0},
        frozenset({"ventricular_volume_ml"}),
        {"site": "A"},
    ),
    Participant("2", {"ventricular_volume_ml": 10.0}, frozenset(), {}),
]


def test_tables(tmp_path: Path) -> None:
    write_tables(
        tmp_path, SETTINGS, PEOPLE, ["site"], {"site": {"Description": "where"}}, {"3": "bad"}
    )
    with (tmp_path / "participants.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert rows[0] == {
        "participant_id": "sub-1",
        "sex": "F",
        "age": "63.5",
        "ventricular_volume_ml": "30.123",
        "brain_volume_ml": "1500",
        "site": "A",
    }
    assert list(rows[1].values()) == ["sub-2", "n/a", "n/a", "10", "n/a", "n/a"]
    described = json.loads((tmp_path / "participants.json").read_text())
    assert described["ventricular_volume_ml"]["Units"] == "mL"
    assert (described["ventricular_volume_ml"]["Given"], 1) == (1, 1)
    assert described["ventricular_volume_ml"]["Measured"] == 1
    assert described["sex"]["Levels"] == {"F": "female", "M": "male"}
    assert described["site"] == {"Description": "where"}
    report = json.loads((tmp_path / "prepare.json").read_text())
    assert report["grid"] == {"shape": [8, 8, 8], "affine": np.eye(4).tolist()}
    assert report["covariates"]["ventricular_volume_ml"]["low"] == 10
    assert report["covariates"]["ventricular_volume_ml"]["high"] == 30.123
    assert report["covariates"]["sex"]["levels"] == {"F": 1, "M": 0}
    assert report["failures"] == {"3": "bad"}


def test_cells_that_bids_cannot_hold(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text('participant_id,site\n1,"a"\n2,"a\tb"\n3,"a\nb"\n')
    with pytest.raises(DataError, match=r"(?s)row 3 \(2\), column site.*row 4 \(3\)") as error:
        check_cells(read_people(file))
    assert "(1)" not in str(error.value)


def test_a_data_set_goes_on_with_the_same_settings_only(tmp_path: Path) -> None:
    out = tmp_path / "data"
    open_dataset(out, SETTINGS)
    open_dataset(out, SETTINGS)
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "brainldm"
    other = Settings(SETTINGS.model, SETTINGS.shape, SETTINGS.affine, False, True)
    with pytest.raises(BrainLDMError, match="it differs in bias_field"):
        open_dataset(out, other)


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(BrainLDMError, match="holds other files"):
        open_dataset(tmp_path, SETTINGS)


def test_quality_page_has_everything_in_it(tmp_path: Path) -> None:
    array = np.zeros((20, 20, 20), np.float32)
    array[5:15, 5:15, 5:15] = 0.5
    picture = figure(Volume(array, np.diag([4.0, 4, 4, 1])), array > 0)
    path = Paths.of(tmp_path, "1").figure
    path.parent.mkdir(parents=True)
    path.write_bytes(picture)
    provenance = {
        name: Provenance(
            registration=Registration(matrix=np.eye(4).tolist(), similarity=alike),
            histogram=[1] * BINS,
        )
        for name, alike in (("1", 0.9), ("2", 0.5))
    }
    page = quality_page(tmp_path, PEOPLE, provenance, {"3": "a < b"}, ["look here"]).decode()
    assert page.index("sub-2") < page.index("sub-1")  # the least alike first
    for part in ("a &lt; b", "look here", "data:image/jpeg;base64,", "30.12 mL (measured)", "<svg"):
        assert part in page
    assert "http" not in page


def test_the_contour_is_coloured() -> None:
    array = np.zeros((20, 20, 20), np.float32)
    brain = np.zeros(array.shape, bool)
    brain[5:15, 5:15, 5:15] = True
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = -40  # the middle slices are drawn
    data = figure(Volume(array, affine), brain)
    pixels = np.asarray(Image.open(io.BytesIO(data)), dtype=np.float32)
    assert pixels.shape[2] == 3
    spread = pixels[..., 0] - pixels[..., 2]
    assert spread.max() > 0.4 * (CONTOUR[0] - CONTOUR[2])
    assert np.median(spread) == 0
