"""Journals and the manifest: what was told to the disk is found again, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainldm.cohort.records import Journal, Record, Records
from brainldm.errors import StorageError

RECORD = Record(0, "a", 7, 1, ("a\tfault",), {"sex": "F"}, ("sex",), {"x": 1.5}, "i" * 64, "s" * 64)


def add(out: Path, name: str, *rows: int) -> Path:
    with Journal(out / f"{name}.jsonl") as journal:
        for row in rows:
            journal.add(replace(RECORD, row=row, label=name))
    return journal.path


def records_of(out: Path, count: int) -> Records:
    return Records(sorted(out.glob("*.jsonl")), count)


def labels(out: Path, count: int) -> dict[int, str]:
    return {record.row: record.label for record in records_of(out, count)}


def test_what_was_added_is_found_in_the_order_of_the_plan(tmp_path: Path) -> None:
    add(tmp_path, "one", 5, 2)
    add(tmp_path, "two", 3)
    add(tmp_path, "one", 0)
    records = records_of(tmp_path, 9)
    assert [record.row for record in records] == [0, 2, 3, 5]
    assert len(records) == 4
    assert records.get(0) is not None
    assert (1 in records, 5 in records, records.get(1)) == (False, True, None)
    records.drop(5)
    assert (len(records), 5 in records) == (3, False)


@pytest.mark.parametrize("cut", range(1, len(RECORD.to_line()), 40))
def test_a_line_that_was_cut_is_as_none(tmp_path: Path, cut: int) -> None:
    path = add(tmp_path, "one", 0, 1)
    path.write_bytes(path.read_bytes()[:-cut])
    assert labels(tmp_path, 9) == {0: "one"}
    add(tmp_path, "one", 2)
    assert labels(tmp_path, 9) == {0: "one", 2: "one"}


def test_a_line_that_was_changed_is_as_none(tmp_path: Path) -> None:
    path = add(tmp_path, "one", 0, 1, 2)
    lines = path.read_bytes().splitlines(keepends=True)
    for was, now in (
        (b'"sex": "F"', b'"sex": "M"'),
        (b'"seed": 7', b'"seed": 8'),
        (b'"drawn": ["sex"]', b'"drawn": []'),
        (b'"check": "', b'"check": "0'),
        (b'"check"', b'"other"'),
    ):
        assert was in lines[1]
        path.write_bytes(lines[0] + lines[1].replace(was, now) + lines[2])
        assert labels(tmp_path, 9) == {0: "one", 2: "one"}
    add(tmp_path, "one", 1)  # what is after it stays
    assert labels(tmp_path, 9) == {0: "one", 1: "one", 2: "one"}


@given(st.binary(max_size=80))
def test_any_bytes_are_no_record(content: bytes) -> None:
    for line in (
        content,
        content + b"\n",
        b'{"check": "' + content + b'"}\n',
        b"[" * 10**5 + b"\n",
    ):
        assert Record.from_line(line) is None


def test_a_later_file_counts_more(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_bytes(replace(RECORD, row=1, label="old").to_line())
    add(tmp_path, "one", 0, 1, 99)
    assert labels(tmp_path, 2) == {0: "one", 1: "one"}


def test_a_record_comes_back_whole(tmp_path: Path) -> None:
    assert Record.from_line(RECORD.to_line()) == RECORD


def test_a_part_is_of_one_process(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    with (
        Journal(path),
        pytest.raises(StorageError, match="Another process is making this part"),
    ):
        Journal(path)
    Journal(path).close()
