"""Tables of people: units and codes are checked, and every mistake is named with its row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from brainldm.dataset.participants import read_people
from brainldm.dataset.people import People
from brainldm.errors import DataError, StorageError


def write(folder: Path, text: str, name: str = "participants.tsv") -> Path:
    path = folder / name
    path.write_text(text.replace(" ", "\t") if name.endswith(".tsv") else text)
    return path


def known(people: People) -> dict[str, Mapping[str, str | float]]:
    return {name: person.known for name, person in people.persons.items()}


def test_covariates_and_the_rest(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "participant_id age sex site ventricular_volume_ml\n"
        "sub-1 63.5 F A n/a\nsub-2 70 male B 30.5\n",
    )
    people = read_people(file)
    assert known(people) == {
        "sub-1": {"age": 63.5, "sex": "F"},
        "sub-2": {"age": 70.0, "sex": "M", "ventricular_volume_ml": 30.5},
    }
    assert [person.other for person in people.persons.values()] == [{"site": "A"}, {"site": "B"}]
    assert [person.row for person in people.persons.values()] == [2, 3]
    assert people.columns == ("site",)
    assert people.unread == {}


def test_a_person_is_found_by_any_name(tmp_path: Path) -> None:
    file = write(tmp_path, "participant_id age\nsub-01 60\n2 61\nsub-3.nii.gz 62\n0050772 63\n")
    people = read_people(file)

    def age(*names: str) -> float | str | None:
        person = people.find(names)
        return person and person.known["age"]

    assert age("x", "sub-01") == age("01") == 60
    assert age("sub-2") == age("2") == 61
    assert age("sub-3") == 62
    assert age("sub-50772") == 63  # as tables lose zeros
    assert age("x") is None
    assert people.without([people.persons["2"]]) == ["sub-01", "sub-3.nii.gz", "0050772"]


def test_zeros_tell_people_apart_where_there_are_both(tmp_path: Path) -> None:
    people = read_people(write(tmp_path, "participant_id age\nsub-1 60\nsub-01 61\n"))
    assert people.find(("sub-01",)) is people.persons["sub-01"]
    assert people.find(("sub-001",)) is None


def test_sex_codes_must_be_explained(tmp_path: Path) -> None:
    file = write(tmp_path, "participant_id sex\nsub-1 1\nsub-2 2\n")
    with pytest.raises(DataError, match=r"(?s)row 2 \(sub-1\), column sex.*--sex-codes"):
        read_people(file)
    found = read_people(file, sex_codes={"1": "M", "2": "F"})
    assert found.persons["sub-1"].known == {"sex": "M"}
    levels = {"sex": {"Levels": {"1": "male", "2": "female"}}}
    file.with_suffix(".json").write_text(json.dumps(levels))
    assert read_people(file).persons["sub-2"].known == {"sex": "F"}


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("age", "63,5", "write a point"),
        ("age", "63y", "without a unit"),
        ("age", "1_0", "without a unit"),
        ("age", "762", "months"),
        ("age", "-1", "cannot be"),
        ("age", "inf", "cannot be"),
        ("age", "nan", "cannot be"),
        ("ventricular_volume_ml", "30500", "mm3 need dividing by 1000"),
        ("ventricular_volume_ml", "30.5mL", "without a unit"),
        ("brain_volume_ml", "1500000", "mm3 need dividing by 1000"),
        ("sex", "other", "expected F, M"),
    ],
)
def test_a_bad_cell_is_named(tmp_path: Path, column: str, cell: str, message: str) -> None:
    file = write(tmp_path, f"participant_id {column}\nsub-1 n/a\nsub-2 {cell}\n")
    with pytest.raises(DataError, match=message) as error:
        read_people(file)
    assert f"row 3 (sub-2), column {column}" in str(error.value)
    assert str(file) in str(error.value)


def test_every_mistake_is_listed(tmp_path: Path) -> None:
    file = write(tmp_path, "participant_id age\nsub-1 900\n1 60\nsub-2 x\nsub-2 60\nn/a 4\n")
    with pytest.raises(DataError) as error:
        read_people(file)
    message = str(error.value)
    for line in ("row 2 (sub-1)", "row 3 (1) is a second row", "row 4 (sub-2)", "row 6 (n/a)"):
        assert line in message


def test_age_in_months_by_its_description_or_its_header(tmp_path: Path) -> None:
    file = write(tmp_path, "participant_id age\nsub-1 60\n")
    file.with_suffix(".json").write_text(json.dumps({"age": {"Units": "months"}}))
    assert read_people(file).persons["sub-1"].known == {"age": pytest.approx(5)}
    file.with_suffix(".json").write_text(json.dumps({"age": {"Units": "decades"}}))
    with pytest.raises(DataError, match="column age is in 'decades': expected years"):
        read_people(file)
    file = write(
        tmp_path, "participant_id,age (months),brain_volume (mm3)\n1,60,1500000\n", "a.csv"
    )
    assert read_people(file).persons["1"].known == pytest.approx(
        {"age": 5, "brain_volume_ml": 1500}
    )


def test_names_in_capitals_are_read_and_what_looks_like_a_covariate_is_named(
    tmp_path: Path,
) -> None:
    file = write(tmp_path, "participant_id,AGE, Sex\nsub-1,60,F\n", "people.csv")
    assert read_people(file).persons["sub-1"].known == {"age": 60, "sex": "F"}
    file = write(tmp_path, "participant_id age_at_scan gender brain_volume Age\n1 60 F 1500 61\n")
    people = read_people(file)
    assert people.persons["1"].known == {"age": 61}
    assert list(people.unread) == ["gender", "brain_volume"]
    assert "Name it sex" in people.unread["gender"]
    assert "says no unit" in people.unread["brain_volume"]
    assert people.columns == ("age_at_scan", "gender", "brain_volume")
    assert people.persons["1"].values == {
        **{"age": 61, "age_at_scan": 60, "gender": "F", "brain_volume": 1500}
    }


def test_rows_of_another_length(tmp_path: Path) -> None:
    file = write(tmp_path, "participant_id age\nsub-1 60 7\nsub-2\n")
    with pytest.raises(DataError, match=r"(?s)row 2 \(sub-1\): expected 2 cells.*row 3"):
        read_people(file)


def test_uk_biobank_fields_by_visit(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "eid,31-0.0,21003-2.0,21003-3.0,25004-2.0,25009-2.0,25004-3.0\n"
        "100,1,60,65,30500,1500000,\n200,0,70,75,,,41000\n",
        "ukb.csv",
    )
    people = read_people(file, visits={"200": "3"})
    assert known(people) == {
        "100": {
            "sex": "M",
            "age": 60.0,
            "ventricular_volume_ml": 30.5,
            "brain_volume_ml": pytest.approx(1500),
        },
        "200": {"sex": "F", "age": 75.0, "ventricular_volume_ml": 41.0},
    }
    assert people.persons["100"].other["25004-2.0"] == "30500"


def test_new_names_of_uk_biobank(tmp_path: Path) -> None:
    file = write(tmp_path, "eid,p31,p21003_i2\n100,Female,60\n", "ukb.csv")
    assert known(read_people(file)) == {"100": {"sex": "F", "age": 60.0}}


def test_no_participants(tmp_path: Path) -> None:
    file = write(tmp_path, "name age\na 60\n")
    with pytest.raises(DataError, match="has no column participant_id"):
        read_people(file)
    assert known(read_people(file, any_name=True)) == {"a": {"age": 60}}
    with pytest.raises(StorageError, match="Cannot read the table"):
        read_people(tmp_path / "none.tsv")


def test_cells_that_bids_cannot_hold(tmp_path: Path) -> None:
    file = write(tmp_path, 'participant_id,site\n1,"a"\n2,"a\tb"\n3,"a\nb"\n', "people.csv")
    with pytest.raises(DataError, match=r"(?s)row 3 \(2\), column site.*row 4 \(3\)") as error:
        read_people(file).refuse_breaks()
    assert "(1)" not in str(error.value)


def test_what_is_not_used_is_named(tmp_path: Path) -> None:
    people = read_people(write(tmp_path, "participant_id gender\nsub-1 F\nsub-2 M\nsub-3 M\n"))
    found = {label: people.find((label,)) for label in ("1", "4")}
    assert people.unused(found, [people.persons["sub-3"]]) == [
        "In participants.tsv the column gender is not read as sex. Name it sex if it is that.",
        "Not in participants.tsv, so sex and age are not known (n/a): 4.",
        "In participants.tsv without a scan: sub-2.",
    ]
    assert People().unused(found) == ["No table: sex and age are not known (n/a)."]
