"""Tables: what is written is read again, and what is no table is refused."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brainldm.dataset.participants import read_people
from brainldm.dataset.quantities import value
from brainldm.dataset.table import LONGEST, open_table
from brainldm.dataset.tsv import write_table
from brainldm.errors import DataError, StorageError

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
TRICKY = st.sampled_from(['"', '""', "\t", "\r", "\n", "\r\n", "1e300", "n/a", "ö", "\ufeff", " "])
CELLS = st.one_of(TEXT, TRICKY, st.lists(TRICKY, max_size=4).map("".join))
IN_ONE_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def cells(file: Path) -> list[tuple[str, ...]]:
    return [row.cells for row in open_table(file).rows()]


@IN_ONE_FOLDER
@given(st.lists(st.tuples(CELLS, CELLS), max_size=5))
def test_what_is_written_is_read(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    file = tmp_path / "people.tsv"
    file.write_bytes(write_table(("id", "a", "b"), ((f"x{i}", *row) for i, row in enumerate(rows))))
    found = cells(file)
    # An empty cell is written as n/a: both say nothing.
    assert found == [
        (f"x{i}", *(each if each else "n/a" for each in row)) for i, row in enumerate(rows)
    ]
    assert [list(map(value, row[1:])) for row in found] == [list(map(value, row)) for row in rows]


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(0, 2**63) | st.none())
def test_numbers_are_written_to_six_digits(number: float | int | None) -> None:
    _, line = write_table(("a",), [(number,)]).decode().splitlines()
    if number is None:
        assert line == "n/a"
    elif isinstance(number, int):
        assert int(line) == number
    else:
        assert float(line) == pytest.approx(number, rel=1e-5, abs=1e-300)


@IN_ONE_FOLDER
@given(st.binary(max_size=200), st.sampled_from(("people.tsv", "people.csv")))
def test_any_bytes_are_a_table_or_refused(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    with suppress(DataError):
        assert all(any(row) for row in cells(tmp_path / name))


def test_rows_are_read_again_from_their_place(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_bytes('\ufeffid,said\r\n1,"a\nb"\r\n\r\n ,\r\n2,ö\r\n3,""\r\n'.encode())
    table = open_table(file)
    assert table.header == ("id", "said")
    rows = list(table.rows())
    assert [(row.number, row.cells) for row in rows] == [
        *((2, ("1", "a\nb")), (6, ("2", "ö")), (7, ("3", ""))),
    ]
    for i, row in enumerate(rows):
        assert [each.cells for each in table.rows(row.offset)] == [r.cells for r in rows[i:]]


def test_a_row_of_another_length_says_so(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("id\tage\n1\n2\t60\n")
    first, second = open_table(tmp_path / "t.tsv").rows()
    assert first.misfit == "expected 2 cells as the header has, got 1"
    assert second.misfit == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "row 1: expected column names, got nothing: the file is empty"),
        (b"\n\n", "the file is empty"),
        (b"id\tage\tage\n", "row 1: .*has the column 'age' twice"),
        (b"id;age\n", "all one column"),
        (b"id\tage\n1\t\xff\n", "row 2, cannot be read: the byte 0xff is not UTF-8"),
        (b'id\tage\n1\t"6\n', "row 2, cannot be read: a quoted cell does not end"),
        (b'id\tage\n1\t"6"7\n', "row 2, cannot be read"),
        (b"id\tage\r1\t6\r", "row 1, cannot be read: a line break that is no line feed"),
        (b"id\tage\n1\t" + b"6" * 200_000 + b"\n", "longer than 128 KiB"),
        (b"id\tage\n" + b"\t" * LONGEST + b"\n", f"more than {LONGEST} bytes"),
    ],
    ids=lambda each: None if isinstance(each, str) else str(each[:12]),
)
def test_what_is_no_table(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.tsv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        cells(tmp_path / "t.tsv")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"Cannot read the table .*\.tsv: No such file"):
        open_table(tmp_path / "t.tsv")


def test_descriptions_beside(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("id\tage\n")
    beside = tmp_path / "t.json"
    beside.write_text(json.dumps({"age": {"Units": "years"}, "@context": "elsewhere"}))
    assert open_table(tmp_path / "t.tsv").descriptions == {"age": {"Units": "years"}}
    for content, message in (
        ("[]", r"t\.json is no JSON object: .*Expected JSON that describes"),
        ("{", r"t\.json is no JSON object"),
        ('{"age": 3}', r"t\.json: age is 3: expected its Description, Units and Levels"),
    ):
        beside.write_text(content)
        with pytest.raises(DataError, match=message):
            open_table(tmp_path / "t.tsv")


@pytest.mark.parametrize("mark", ["[", "(", "a (", " [ ", "_", "1-"])
def test_a_long_name_of_a_column_is_read_at_once(mark: str, tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text(f"participant_id\t{mark * 40_000}\n1\t2\n")
    assert read_people(tmp_path / "t.tsv").persons["1"].known == {}
