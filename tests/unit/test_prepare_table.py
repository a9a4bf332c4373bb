"""Tables: units and codes are checked, and every mistake is named with its row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from brainldm.dataset.people import read_table
from brainldm.errors import BrainLDMError


def write(folder: Path, text: str, name: str = "participants.tsv") -> Path:
    path = folder / name
    path.write_text(text.replace(" ", "\t") if name.endswith(".tsv") else text)
    return path


def test_covariates_and_the_rest(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "participant_id age sex site ventricular_volume_ml\n"
        "sub-1 63.5 F A n/a\nsub-2 70 male B 30.5\n",
    )
    table = read_table(file, {})
    assert table.given == {
        "sub-1": {"age": 63.5, "sex": "F"},
        "sub-2": {"age": 70.0, "sex": "M", "ventricular_volume_ml": 30.5},
    }
    assert table.other == {"sub-1": {"site": "A"}, "sub-2": {"site": "B"}}
    assert table.columns == ("site",)
    assert table.find(("x", "sub-2")) == "sub-2"
    assert table.find(("x",)) is None


def test_sex_codes_must_be_explained(tmp_path: Path) -> None:
    file = write(tmp_path, "participant_id sex\nsub-1 1\nsub-2 2\n")
    with pytest.raises(BrainLDMError, match=r"(?s)row 2 \(sub-1\), column sex.*--sex-codes"):
        read_table(file, {})
    assert read_table(file, {"1": "M", "2": "F"}).given["sub-1"] == {"sex": "M"}
    levels = {"sex": {"Levels": {"1": "male", "2": "female"}}}
    file.with_suffix(".json").write_text(json.dumps(levels))
    assert read_table(file, {}).given["sub-2"] == {"sex": "F"}


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("age", "63,5", "write a point"),
        ("age", "63y", "without a unit"),
        ("age", "762", "months"),
        ("age", "-1", "cannot be"),
        ("age", "inf", "cannot be"),
        ("ventricular_volume_ml", "30500", "mm3 need dividing by 1000"),
        ("ventricular_volume_ml", "30.5mL", "without a unit"),
        ("brain_volume_ml", "1500000", "mm3 need dividing by 1000"),
        ("sex", "other", "expected F, M"),
    ],
)
def test_a_bad_cell_is_named(tmp_path: Path, column: str, cell: str, message: str) -> None:
    file = write(tmp_path, f"participant_id {column}\nsub-1 n/a\nsub-2 {cell}\n")
    with pytest.raises(BrainLDMError, match=message) as error:
        read_table(file, {})
    assert f"row 3 (sub-2), column {column}" in str(error.value)
    assert str(file) in str(error.value)


def test_every_mistake_is_listed(tmp_path: Path) -> None:
    file = write(tmp_path, "participant_id age\nsub-1 900\nsub-1 60\nsub-2 x\nsub-2 60\nn/a 4\n")
    with pytest.raises(BrainLDMError) as error:
        read_table(file, {})
    message = str(error.value)
    for line in ("row 2 (sub-1)", "row 3 (sub-1) is a second row", "row 4 (sub-2)", "row 6 (n/a)"):
        assert line in message


def test_age_in_months_by_its_description(tmp_path: Path) -> None:
    file = write(tmp_path, "participant_id age\nsub-1 60\n")
    file.with_suffix(".json").write_text(json.dumps({"age": {"Units": "months"}}))
    with pytest.raises(BrainLDMError, match="expected years"):
        read_table(file, {})


def test_rows_of_another_length(tmp_path: Path) -> None:
    file = write(tmp_path, "participant_id age\nsub-1 60 7\nsub-2\n")
    with pytest.raises(BrainLDMError, match=r"(?s)row 2 \(sub-1\): expected 2 cells.*row 3"):
        read_table(file, {})


def test_uk_biobank_fields_by_visit(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "eid,31-0.0,21003-2.0,21003-3.0,25004-2.0,25009-2.0,25004-3.0\n"
        "100,1,60,65,30500,1500000,\n200,0,70,75,,,41000\n",
        "ukb.csv",
    )
    table = read_table(file, {}, {"200": "3"})
    assert table.given == {
        "100": {
            "sex": "M",
            "age": 60.0,
            "ventricular_volume_ml": 30.5,
            "brain_volume_ml": pytest.approx(1500),
        },
        "200": {"sex": "F", "age": 75.0, "ventricular_volume_ml": 41.0},
    }
    assert table.other["100"]["25004-2.0"] == "30500"


def test_new_names_of_uk_biobank(tmp_path: Path) -> None:
    file = write(tmp_path, "eid,p31,p21003_i2\n100,Female,60\n", "ukb.csv")
    assert read_table(file, {}).given == {"100": {"sex": "F", "age": 60.0}}


def test_no_participants(tmp_path: Path) -> None:
    with pytest.raises(BrainLDMError, match="has no column participant_id"):
        read_table(write(tmp_path, "name age\na 60\n"), {})
