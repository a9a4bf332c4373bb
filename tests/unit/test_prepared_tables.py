"""What prepare writes about people, every other verb reads."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from brainldm.dataset.participants import read_people
from brainldm.dataset.people import People
from brainldm.dataset.prepared import read_prepared
from brainldm.dataset.scans import Scan
from brainldm.dataset.sidecar import Provenance
from brainldm.dataset.table import open_table
from brainldm.errors import DataError
from brainldm.prepare.outcome import Prepared
from brainldm.prepare.subjects import Subject
from brainldm.prepare.tables import participants_table
from brainldm.segment.measures import VOLUMES
from tests.prepared import write_prepared

NAMES = st.sampled_from(
    ["age", "Age", " sex", "Sex", "gender", "AGE (months)", "brain_volume", "site", "a,b", 'a"b']
) | st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=6)
CELLS = st.sampled_from(
    [
        "",
        "n/a",
        "60",
        "1e300",
        "1e400",
        "-0",
        "nan",
        "F",
        "female",
        '"',
        'a "b" c',
        " x ",
        "ö",
        "\r",
    ]
) | st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=6)


def prepared(people: People) -> list[Prepared]:
    measured = Provenance(measured=dict.fromkeys(VOLUMES, 500.0))
    return [
        Prepared(Subject(Scan(f"p{i}", Path("x"), ()), person), measured)
        for i, person in enumerate(people.persons.values())
    ]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), header=st.lists(NAMES, max_size=4, unique_by=lambda name: name.strip()))
def test_what_is_written_is_read_by_everybody(
    data: st.DataObject, header: list[str], tmp_path: Path
) -> None:
    rows = data.draw(st.lists(st.tuples(*(CELLS for _ in header)), min_size=1, max_size=3))
    file = tmp_path / "given.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["participant_id", *header])
        writer.writerows((f"p{i}", *row) for i, row in enumerate(rows))
    try:
        people = read_people(file)
        people.refuse_breaks()
    except DataError:
        assume(False)
    assume("" not in people.columns)
    there = prepared(people)
    written = tmp_path / "participants.tsv"
    written.write_bytes(participants_table(there, people.columns))
    again = read_people(written)
    for one, each in zip(there, again.persons.values(), strict=True):
        assert each.known.keys() == one.covariates.keys()
        for name, value in one.covariates.items():
            near = value if isinstance(value, str) else pytest.approx(value, rel=1e-5)
            assert each.known[name] == near
        cells = {name: cell or "n/a" for name, cell in one.subject.other.items()}
        assert {name: each.other[name] for name in cells} == cells
    assert len(list(open_table(written).rows())) == len(rows)


def test_two_columns_of_one_quantity_are_written_once(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("participant_id,Age,age\np0,61,60\n")
    people = read_people(file)
    assert people.persons["p0"].known == {"age": 60}
    assert people.unread == {"Age": "is age a second time. Keep one."}
    written = tmp_path / "participants.tsv"
    written.write_bytes(participants_table(prepared(people), people.columns))
    assert read_people(written).persons["sub-p0"].known["age"] == 60


def test_a_name_of_a_column_that_bids_cannot_hold(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text('participant_id,"si\nte"\n1,a\n')
    with pytest.raises(DataError, match=r"row 1, column 'si\\nte': has a tab or a line break"):
        read_people(file).refuse_breaks()


@pytest.mark.parametrize("name", ["a\x07", "\x1b[31mred", "a\u202eb", "a\tb"])
def test_a_name_that_is_not_printed(name: str, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text(f'participant_id,age\n1,60\n"{name}",61\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"row 3: .* is no name: expected letters that are printed"):
        read_people(file)


def test_sex_and_age_are_those_of_every_verb(tmp_path: Path) -> None:
    folder = write_prepared(tmp_path)
    table = folder / "participants.tsv"
    text, sexes = table.read_text(), read_prepared(folder).columns["sex"]
    assert {"F", "M"} == set(sexes)
    words = text.replace("\tF\t", "\tfemale\t").replace("\tM\t", "\tMale\t", 1)
    table.write_text(words)
    assert read_prepared(folder).columns["sex"] == sexes
    assert [person.known["sex"] for person in read_people(table).persons.values()] == [*sexes]
    for wrong, says in (
        (text.replace("\tF\t", "\t2\t", 1), "sex is '2': expected F, M, female or male"),
        (text.replace("\t57\t", "\t700\t", 1), "700 cannot be: expected 0 to 120 years"),
    ):
        assert wrong != text
        table.write_text(wrong)
        for read in (read_prepared, lambda folder: read_people(folder / "participants.tsv")):
            with pytest.raises(DataError, match=says):
                read(folder)
