"""The plan of a cohort: a table with a row for each volume, checked whole before anything is made.

participant_id   sub-LABEL or LABEL, letters and digits, each once
seed             each once, in its lowest 32 bits (`brainldm.sampling.noise`)
...              conditions, as `dataset.columns` reads them; one that is left out is drawn

Of each row only its place in the file is kept in memory, and a hash while it is checked.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainldm.cohort.row import ID, SEED, Row, read_row
from brainldm.conditions import ConditionRanges
from brainldm.dataset.columns import find_conditions
from brainldm.dataset.quantities import Column
from brainldm.dataset.table import Table, open_table
from brainldm.errors import DataError

NOISES = 2**32
"""As many different seeds as draw different noise."""


@dataclass(frozen=True, eq=False)
class Plan:
    """A table that was checked.

    Args:
        table: its header was read.
        columns: its conditions.
        places: (id, seed): indices of these columns.
        offsets: where each row begins, in bytes.
        sha256: of the rows and of what their columns mean.
    """

    table: Table
    columns: tuple[Column, ...]
    places: tuple[int, int]
    offsets: NDArray[np.uint64]
    sha256: str

    def __len__(self) -> int:
        return len(self.offsets)

    def at(self, file: Path) -> Plan:
        """The same plan, read from a copy of its file."""
        return replace(self, table=replace(self.table, file=file))

    def rows(self, start: int, stop: int) -> list[Row]:
        """Read rows again, in order.

        Raises:
            DataError: the table is another now.
        """
        offsets = self.offsets[start:stop].tolist()
        lines = islice(self.table.rows(offsets[0]), len(offsets)) if offsets else iter(())
        read = partial(read_row, columns=self.columns, places=self.places)
        rows = [read(line, start + i)[0] for i, line in enumerate(lines)]
        found = [row for row in rows if row is not None]
        if len(found) != len(offsets):
            raise DataError(
                f"{self.table.file} was changed while it was in use: expected a volume's row at "
                f"each of the bytes {offsets}. Put back what was there."
            )
        return found


def read_plan(file: Path, ranges: ConditionRanges, *, extrapolate: bool = False) -> Plan:
    """Read and check a table.

    Args:
        file: .tsv, or .csv; with a header.
        ranges: the model's conditions.
        extrapolate: accept values outside the model's ranges.

    Raises:
        StorageError: it cannot be read.
        DataError: anything is wrong; every column and every row is listed with its line.
    """
    table = open_table(file)
    columns, others = find_conditions(table, ranges)
    problems = [
        f"line 1, column {name!r} {problem}"
        for name, problem in others.items()
        if name not in (ID, SEED)
    ]
    problems += [
        f"line 1: there is no column {name!r}. Expected {ID}, {SEED} and conditions; "
        "`brainldm cohort plan` draws such a table."
        for name in (ID, SEED)
        if name not in table.header
    ]
    if problems:
        raise _refusal(file, problems)
    places = (table.header.index(ID), table.header.index(SEED))
    check = partial(ranges.problems, extrapolate=extrapolate)
    read = partial(read_row, columns=columns, places=places, check=check)

    meaning = hashlib.sha256(repr((columns, places)).encode())
    offsets, labels, noises, lines = array("Q"), array("Q"), array("Q"), array("Q")
    for line in table.rows():
        meaning.update(repr((line.offset, line.cells)).encode())
        row, wrong = read(line, len(offsets))
        if row is not None:
            # Some disks take "a" and "A" for one name.
            digest = hashlib.blake2b(row.label.lower().encode(), digest_size=8).digest()
            labels.append(int.from_bytes(digest))
            noises.append(row.seed % NOISES)
            lines.append(line.number)
        offsets.append(line.offset)
        problems += [f"line {line.number}: {problem}" for problem in wrong]
    problems += _twice(labels, lines, ID, "files are named by it")
    problems += _twice(noises, lines, SEED, "a multiple of 2**32 more is the same")
    if problems:
        raise _refusal(file, sorted(problems, key=_line_of))
    if not offsets:
        raise DataError(f"{file} has no rows: expected one for each volume.")
    return Plan(table, columns, places, np.frombuffer(offsets, np.uint64), meaning.hexdigest())


def _twice(hashes: Sequence[int], lines: Sequence[int], name: str, why: str) -> Iterator[str]:
    """A message for each line that has what an earlier line has."""
    values = np.frombuffer(hashes, np.uint64) if len(hashes) else np.zeros(0, np.uint64)  # type: ignore
    order = values.argsort(kind="stable")
    same = np.flatnonzero(values[order[1:]] == values[order[:-1]])
    for at in same:
        first, second = lines[order[at]], lines[order[at + 1]]
        yield f"line {second}: {name} is that of line {first} again; {why}. Change one."


def _line_of(problem: str) -> int:
    return int(problem.removeprefix("line ").split(":")[0].split(",")[0])


def _refusal(file: Path, problems: Sequence[str]) -> DataError:
    listed = "\n".join(f"  {problem}" for problem in problems)
    return DataError(f"{file} cannot be used as it is; nothing was started:\n{listed}")
