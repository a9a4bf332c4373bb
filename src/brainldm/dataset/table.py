"""Reading tables: a header, a row for each person, and the JSON file beside them.

.tsv is separated by tabs and .csv by commas, in UTF-8; a cell with a separator, a quote or a line
break in it stands in double quotes (BIDS; RFC 4180). A JSON file of the same name may describe the
columns, as BIDS does. Rows are read one at a time, so that a table may be larger than memory.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, Any

from brainldm.errors import DataError, StorageError
from brainldm.files import read_json

LONGEST = 2**24
"""Bytes of a line, beyond which a file is no table."""
_BOM = b"\xef\xbb\xbf"
_EXPECTED = "Expected tab-separated text (.tsv), or comma-separated (.csv), in UTF-8."


@dataclass(frozen=True)
class Row:
    """One row.

    Args:
        number: of its first line, from 1.
        offset: where that begins, in bytes.
        cells: as they are written, without their quotes.
        misfit: what is wrong with their number; empty if nothing is.
    """

    number: int
    offset: int
    cells: tuple[str, ...]
    misfit: str = ""


@dataclass(frozen=True)
class Table:
    """A table whose header was read.

    Args:
        file: the table.
        header: the names of its columns, without spaces around them.
        descriptions: of columns, by name, from the JSON file of the same name.
    """

    file: Path
    header: tuple[str, ...]
    descriptions: Mapping[str, Mapping[str, Any]]

    def rows(self, offset: int = 0) -> Iterator[Row]:
        """The rows that are not blank, in order, whatever number of cells they have.

        Args:
            offset: that of the row to begin with, from which lines are then counted; 0 begins
                after the header.

        Raises:
            StorageError: the file cannot be read.
            DataError: it is not UTF-8, or a quoted cell does not end.
        """
        width = len(self.header)
        for row in islice(_read(self.file, offset), 0 if offset else 1, None):
            if any(cell.strip() for cell in row.cells):
                got = len(row.cells)
                misfit = f"expected {width} cells as the header has, got {got}"
                yield row if got == width else replace(row, misfit=misfit)


def open_table(file: Path) -> Table:
    """Read a table's header and the JSON file beside it.

    Raises:
        StorageError: one of them cannot be read.
        DataError: there is no header, a column is there twice, or the JSON file describes none.
    """
    first = next(_read(file, 0), Row(1, 0, ()))
    header = tuple(name.strip() for name in first.cells)
    if not any(header):
        raise DataError(
            f"{file}, row 1: expected column names, got nothing: the file is empty. Expected a "
            "header, and a row for each person."
        )
    double = sorted({name for name in header if name and header.count(name) > 1})
    if double:
        raise DataError(
            f"{file}, row 1: expected column names, each once, and has the column {double[0]!r} "
            "twice. Rename one, or take it out."
        )
    if len(header) == 1 and any(mark in header[0] for mark in ",;\t"):
        raise DataError(
            f"{file}, row 1: the header {header[0]!r} is all one column. Expected tabs between "
            "the cells of a .tsv, and commas between those of a .csv."
        )
    return Table(file, header, _descriptions(file, header))


def _read(file: Path, offset: int) -> Iterator[Row]:
    """Rows from a place on, blank ones too."""
    if "\0" in str(file):
        raise StorageError(
            f"Cannot read the table {str(file)!r}: no file is called so. {_EXPECTED}"
        )
    try:
        with file.open("rb") as stream:
            stream.seek(offset)
            yield from _parse(file, _Lines(stream, offset))
    except OSError as error:
        raise StorageError(
            f"Cannot read the table {file}: {error.strerror}. {_EXPECTED}"
        ) from error


def _parse(file: Path, lines: _Lines) -> Iterator[Row]:
    delimiter = "," if file.suffix.lower() == ".csv" else "\t"
    parsed = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        number, offset = lines.number, lines.offset
        try:
            cells = next(parsed, None)
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(
                f"{file}, row {number}, cannot be read: {_why(error)}. {_EXPECTED}"
            ) from error
        if cells is None:
            return
        yield Row(number, offset, tuple(cells))


class _Lines:
    """The lines of a file as text; `number` and `offset` are those of the next one."""

    def __init__(self, stream: IO[bytes], offset: int) -> None:
        self.number, self.offset, self._stream = 1, offset, stream

    def __iter__(self) -> Iterator[str]:
        while line := self._stream.readline(LONGEST):
            if len(line) == LONGEST:
                raise csv.Error(f"a line has more than {LONGEST} bytes")
            text = (line if self.offset else line.removeprefix(_BOM)).decode("utf-8")
            self.number, self.offset = self.number + 1, self.offset + len(line)
            yield text


def _why(error: csv.Error | UnicodeDecodeError) -> str:
    """The csv module's words in ours."""
    if isinstance(error, UnicodeDecodeError):
        return f"the byte {error.object[error.start]:#x} is not UTF-8"
    said = str(error)
    if "unexpected end of data" in said:
        return "a quoted cell does not end"
    if "new-line character" in said:
        return "a line break that is no line feed stands in a cell without quotes"
    if "field larger" in said:
        return "a cell is longer than 128 KiB, as where a quote is not closed"
    return said


def _descriptions(file: Path, header: tuple[str, ...]) -> dict[str, Mapping[str, Any]]:
    """What the JSON file beside a table says of its columns."""
    path = file.with_suffix(".json")
    if not os.path.isfile(path):
        return {}
    content = read_json(
        path,
        f"JSON that describes the columns of {file.name}, as BIDS has it: "
        '{"age": {"Units": "years"}}. Correct it, or remove it',
    )
    for name, entry in content.items():
        if name in header and not isinstance(entry, dict):
            raise DataError(
                f"{path}: {name} is {entry!r}: expected its Description, Units and Levels."
            )
    return {name: entry for name, entry in content.items() if isinstance(entry, dict)}
