"""The data set on disk, and its quality page."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brainldm.dataset.people import People
from brainldm.dataset.person import Person
from brainldm.dataset.scans import Inputs, Scan
from brainldm.dataset.sidecar import Provenance, Registration, Source
from brainldm.errors import StorageError, UsageError
from brainldm.files import sha256
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.prepare.folder import Folder, Settings
from brainldm.prepare.outcome import Outcome, Prepared, Results
from brainldm.prepare.quality import BINS, CONTOUR, figure
from brainldm.prepare.subjects import Subject, Subjects
from tests.conftest import Run

GRID = Grid.of((8, 8, 8), np.eye(4))
SETTINGS = Settings("toy", GRID, False, False)
IMAGE = Volume(np.full(GRID.shape, 0.5, np.float32), GRID.matrix)


def subject(label: str, known: dict[str, str | float], **other: str) -> Subject:
    return Subject(Scan(label, Path(f"{label}.nii"), (label,)), Person(label, 2, known, other))


def provenance(similarity: float = 0.9, **measured: float) -> Provenance:
    return Provenance(
        registration=Registration(matrix=np.eye(4).tolist(), similarity=similarity),
        histogram=[1] * BINS,
        measured=measured,
        settings=SETTINGS.to_json(),
    )


FIRST = subject("1", {"sex": "F", "age": 63.5, "brain_volume_ml": 1500.0}, site="A")
SECOND = subject("2", {"ventricular_volume_ml": 10.0, "brain_volume_ml": 1400.0}, site="")
PEOPLE = [
    Prepared(FIRST, provenance(0.9, ventricular_volume_ml=30.123)),
    Prepared(SECOND, provenance(0.5)),
]
FOUND = Subjects(
    (FIRST, SECOND),
    Inputs((), (), "list"),
    People(columns=("site",), descriptions={"site": {"Description": "where"}}),
    ("look here",),
)


def filled(folder: Path) -> Path:
    """A finished data set of two."""
    data = Folder(folder, SETTINGS)
    with data.open():
        for each in PEOPLE:
            data.add(each.subject.label, IMAGE, each.provenance, figure(IMAGE, IMAGE.array > 0))
        data.finish(FOUND, PEOPLE, {"3": "a < b"}, FOUND.notes)
    return folder


def test_tables(tmp_path: Path) -> None:
    filled(tmp_path)
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
    assert list(rows[1].values()) == ["sub-2", "n/a", "n/a", "10", "1400", "n/a"]
    described = json.loads((tmp_path / "participants.json").read_text())
    assert described["ventricular_volume_ml"]["Units"] == "mL"
    assert described["ventricular_volume_ml"]["Given"] == 1
    assert described["ventricular_volume_ml"]["Measured"] == 1
    assert described["sex"]["Levels"] == {"F": "female", "M": "male"}
    assert described["site"] == {"Description": "where"}
    report = json.loads((tmp_path / "prepare.json").read_text())
    assert report["grid"] == {"shape": [8, 8, 8], "affine": np.eye(4).tolist()}
    assert report["covariates"]["ventricular_volume_ml"]["low"] == 10
    assert report["covariates"]["ventricular_volume_ml"]["high"] == 30.123
    assert report["covariates"]["sex"]["levels"] == {"F": 1, "M": 0}
    assert report["failures"] == {"3": "a < b"}


def test_what_is_written_is_bids(tmp_path: Path, run: Run) -> None:
    result = run("bids-validator-deno", str(filled(tmp_path / "data")), "--json")
    issues = json.loads(result.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []


def test_a_data_set_goes_on_with_the_same_settings_only(tmp_path: Path) -> None:
    out = tmp_path / "data"
    for _ in range(2):
        with Folder(out, SETTINGS).open():
            pass
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "brainldm"
    other = Folder(out, replace(SETTINGS, bias_field=True))
    with pytest.raises(UsageError, match="it differs in bias_field"), other.open():
        pass


def test_a_data_set_is_filled_by_one_process(tmp_path: Path) -> None:
    data = Folder(tmp_path / "data", SETTINGS)
    with (
        data.open(),
        pytest.raises(StorageError, match=r"Another process fills .*data\. Wait for it"),
        data.open(),
    ):
        pass


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with (
        pytest.raises(UsageError, match="holds other files"),
        Folder(tmp_path, SETTINGS).open(),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_what_was_prepared_before_is_kept_if_nothing_changed(tmp_path: Path) -> None:
    scan = Scan("1", tmp_path / "1.nii", ("1",))
    scan.path.write_bytes(b"a scan")
    whole = Subject(scan, FIRST.person)
    data = Folder(tmp_path / "data", SETTINGS)
    assert data.kept([whole], 1) == [None]
    source = Source(name="1.nii", sha256=sha256(scan.path))
    made = provenance(ventricular_volume_ml=30).model_copy(update={"source": source})
    data.add("1", IMAGE, made, b"")
    assert data.kept([whole], 1) == [made]
    assert data.kept([Subject(scan)], 1) == [None]  # brain volume is missing now
    assert Folder(data.path, replace(SETTINGS, bias_field=True)).kept([whole], 1) == [None]
    (data.path / "sub-1/anat/sub-1_space-MNI152NLin2009aSym_T1w.json").write_text("{")
    assert data.kept([whole], 1) == [None]
    data.add("1", IMAGE, made, b"")
    scan.path.write_bytes(b"another scan")
    assert data.kept([whole], 1) == [None]


def test_the_same_file_twice_is_a_failure() -> None:
    one = provenance().model_copy(update={"source": Source(name="a", sha256="0")})
    results = Results.of(
        [
            Outcome(FIRST, one),
            Outcome(SECOND, one),
            Outcome(Subject(replace(SECOND.scan, subject="3", line=4)), reason="bad"),
        ]
    )
    assert [each.subject.label for each in results.prepared] == ["1"]
    assert [each.subject for each in results.failures] == ["2", "3"]
    assert "2.nii is the same file as 1.nii, of subject '1'" in results.failures[0].reason
    assert results.failures[1].reason == "bad (line 4)"


def test_quality_page_has_everything_in_it(tmp_path: Path) -> None:
    filled(tmp_path)
    page = (tmp_path / "quality.html").read_text()
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
