"""Tables of people: who they are and what is known of them, checked cell by cell.

Nothing is guessed, and nothing is dropped without a word: what is wrong is refused with its row,
and what is not read is named.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from brainldm.dataset.columns import Column, Columns, Quantity, find_columns
from brainldm.dataset.table import Row, Table, open_table, value
from brainldm.errors import DataError

ID_COLUMNS = ("participant_id", "eid", "f.eid")
COVARIATES = (
    Quantity("sex", labels=("F", "M")),
    Quantity("age", "years"),
    Quantity("ventricular_volume_ml", "mL"),
    Quantity("brain_volume_ml", "mL"),
)
PLAUSIBLE = {
    "age": (0.0, 120.0, "years", "ages in months or days need dividing by 12 or 365.25"),
    "ventricular_volume_ml": (0.5, 500.0, "mL", "volumes in mm3 need dividing by 1000"),
    "brain_volume_ml": (300.0, 2500.0, "mL", "volumes in mm3 need dividing by 1000"),
}
"""What a covariate of a person can be, its unit, and the usual mistake."""
VISIT = "2"
"""UK Biobank's first imaging visit."""
MOST = 20
"""Problems that a message lists."""


@dataclass(frozen=True)
class Person:
    """One row.

    Args:
        name: as the table writes it.
        row: of the table, from 1.
        known: those of `COVARIATES` that the table has, "F" or "M", years, mL.
        other: its other cells, as they are written, by column.
    """

    name: str
    row: int
    known: Mapping[str, str | float]
    other: Mapping[str, str]

    @property
    def values(self) -> dict[str, str | float]:
        """All that is known, other cells too: numbers where they are finite ones."""
        cells = ((name, value(cell)) for name, cell in self.other.items())
        return {**self.known, **{name: _number(text) for name, text in cells if text is not None}}


@dataclass(frozen=True)
class People:
    """What a table says.

    Args:
        persons: in the table's order, by the name that it gives them.
        columns: of `Person.other`, in order.
        descriptions: of those columns, from the JSON file beside the table.
        unread: columns that look like a covariate and are not read as it, and why.
        file: the table; None where there is none.
    """

    persons: Mapping[str, Person] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    descriptions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)
    file: Path | None = None

    def find(self, names: Sequence[str]) -> Person | None:
        """The person that has one of these names, with or without sub-.

        Zeros before a number count for nothing where that leaves one person only: 50772 is found
        as sub-0050772.
        """
        labels = [_label(name) for name in names]
        for index in (self._labels, self._numbers):
            for label in labels:
                if found := index.get(label.lstrip("0") if index is self._numbers else label):
                    return found
        return None

    def without(self, found: Collection[Person]) -> list[str]:
        """The names of all others."""
        names = {person.name for person in found}
        return [name for name in self.persons if name not in names]

    @cached_property
    def _labels(self) -> dict[str, Person]:
        return {_label(name): person for name, person in self.persons.items()}

    @cached_property
    def _numbers(self) -> dict[str, Person]:
        numbered = [(label.lstrip("0"), p) for label, p in self._labels.items() if label.isdigit()]
        counts = [number for number, _ in numbered]
        return {number: p for number, p in numbered if number and counts.count(number) == 1}


def read_people(
    file: Path,
    *,
    sex_codes: Mapping[str, str] | None = None,
    visits: Mapping[str, str] | None = None,
    any_name: bool = False,
) -> People:
    """Read a table of people.

    Args:
        file: .tsv or .csv; the first column of `ID_COLUMNS` names the people. Covariates are the
            columns of `COVARIATES` or UK Biobank's fields (`brainldm.dataset.columns`).
        sex_codes: what stands for "F" and "M" beside these, female and male, and what the JSON file
            beside the table says.
        visits: UK Biobank's imaging visit of each person; `VISIT` elsewhere.
        any_name: where none of `ID_COLUMNS` is there, the first column names the people.

    Raises:
        StorageError: it cannot be read.
        DataError: it is no table, has no column that names people, or a cell is not what it should
            be; each is listed with its row and column.
    """
    table = open_table(file)
    identity = _identity(table, any_name)
    reader = _Reader(table, identity, sex_codes or {}, visits or {})
    problems = [f"column {name} {why}" for name, why in reader.columns(VISIT).wrong.items()]
    persons: dict[str, Person] = {}
    labels: dict[str, int] = {}
    for row in table.rows():
        person, wrong = reader.person(row)
        problems += wrong
        if person is None:
            continue
        first = labels.setdefault(_label(person.name), row.number)
        if first != row.number:
            problems.append(
                f"row {row.number} ({person.name}) is a second row of the same participant, who "
                f"is in row {first}. Keep one row for each."
            )
        persons.setdefault(person.name, person)
    if problems:
        more = f"\n  ... and {len(problems) - MOST} more" if len(problems) > MOST else ""
        listed = "\n".join(f"  {problem}" for problem in problems[:MOST])
        raise DataError(f"{file} cannot be used as it is:\n{listed}{more}")
    columns = tuple(name for name in table.header if name in reader.other)
    descriptions = {
        name: table.descriptions[name] for name in columns if name in table.descriptions
    }
    unread = {name: why for name, why in reader.columns(VISIT).unread.items() if why}
    return People(persons, columns, descriptions, unread, file)


class _Reader:
    """Makes persons of rows."""

    def __init__(
        self, table: Table, identity: int, codes: Mapping[str, str], visits: Mapping[str, str]
    ) -> None:
        self._table, self._identity, self._codes, self._visits = table, identity, codes, visits
        self._columns: dict[str, Columns] = {}
        # Fields of UK Biobank stay: there are several visits of them.
        ours = {c.index for c in self.columns(VISIT).known if not c.is_field} | {identity}
        self.other = {name: i for i, name in enumerate(table.header) if i not in ours}

    def columns(self, visit: str) -> Columns:
        """Those of a visit."""
        if visit not in self._columns:
            found = find_columns(self._table, COVARIATES, codes=self._codes, visit=visit)
            self._columns[visit] = found
        return self._columns[visit]

    def person(self, row: Row) -> tuple[Person | None, list[str]]:
        """Who a row is about, and what is wrong with it."""
        name = row.cells[self._identity].strip() if self._identity < len(row.cells) else ""
        where = f"row {row.number} ({name})"
        if misfit := self._table.misfit(row):
            return None, [f"{where}: {misfit}."]
        if value(name) is None:
            return None, [f"{where} names no participant. Keep one row for each."]
        columns = self.columns(self._visits.get(name, VISIT)).known
        known, problems = {}, []
        for column in columns:
            try:
                found = _checked(column, row.cells[column.index])
            except DataError as error:
                problems.append(f"{where}, column {column.header}: {error}")
                continue
            if found is not None:
                known[column.name] = found
        other = {column: row.cells[i] for column, i in self.other.items()}
        return Person(name, row.number, known, other), problems


def _identity(table: Table, any_name: bool) -> int:
    names = [name.lower() for name in table.header]
    for name in ID_COLUMNS:
        if name in names:
            return names.index(name)
    if any_name:
        return 0
    raise DataError(
        f"{table.file} has no column {' or '.join(ID_COLUMNS)}, only {', '.join(table.header)}. "
        "Name the column of participants participant_id."
    )


def _checked(column: Column, cell: str) -> str | float | None:
    """What a cell says, if it can be true of a person."""
    found = column.value(cell)
    if found is None or found in column.labels:
        return found
    if column.labels:
        raise DataError(
            f"{column.name} is {found!r}: expected F, M, female or male, or n/a. Say what codes "
            "mean: --sex-codes 1=M,2=F, or Levels in the JSON file beside the table."
        )
    low, high, unit, mistake = PLAUSIBLE[column.name]
    if not low < float(found) <= high:
        raise DataError(f"{found:g} cannot be: expected {low:g} to {high:g} {unit}; {mistake}.")
    return found


def _label(name: str) -> str:
    """A name without sub-, and without what a file's name has at its end."""
    return name.strip().removesuffix(".gz").removesuffix(".nii").removeprefix("sub-")


def _number(text: str) -> str | float:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
