"""One row of a table of people: who it is about, and what is known, checked cell by cell."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from brainldm.dataset.quantities import Column, Quantity, value
from brainldm.dataset.table import Row
from brainldm.errors import DataError

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
    def label(self) -> str:
        """The name without sub-, and without what a file's name has at its end."""
        name = unicodedata.normalize("NFC", self.name)
        return name.removesuffix(".gz").removesuffix(".nii").removeprefix("sub-")

    @property
    def values(self) -> dict[str, str | float]:
        """All that is known, other cells too: numbers where they are finite ones."""
        cells = ((name, value(cell)) for name, cell in self.other.items())
        return {**self.known, **{name: _number(text) for name, text in cells if text is not None}}


@dataclass(frozen=True)
class Places:
    """Where in a row things stand.

    Args:
        name: index of the person's name.
        known: the columns of covariates, by UK Biobank's visit.
        visits: of each person, by name, where it is not `first`.
        first: the visit of the others.
        other: indices of the other columns, by their names.
    """

    name: int
    known: Mapping[str, tuple[Column, ...]]
    visits: Mapping[str, str]
    first: str
    other: Mapping[str, int]


def read_persons(rows: Iterable[Row], places: Places) -> tuple[dict[str, Person], list[str]]:
    """The people of rows, by name, and a message for each thing wrong with a row."""
    persons: dict[str, Person] = {}
    first: dict[str, int] = {}
    problems: list[str] = []
    for row in rows:
        person, wrong = _person(row, places)
        problems += wrong
        if person is None:
            continue
        earlier = first.setdefault(person.label, person.row)
        if earlier != person.row:
            problems.append(
                f"row {person.row} ({person.name}) is a second row of the same participant, who "
                f"is in row {earlier}. Keep one row for each."
            )
        persons.setdefault(person.name, person)
    return persons, problems


def _person(row: Row, places: Places) -> tuple[Person | None, list[str]]:
    name = row.cells[places.name].strip() if places.name < len(row.cells) else ""
    where = f"row {row.number} ({name})"
    if row.misfit:
        return None, [f"{where}: {row.misfit}."]
    if value(name) is None:
        return None, [f"{where} names no participant. Keep one row for each."]
    if not name.isprintable():
        return None, [f"row {row.number}: {name!r} is no name: expected letters that are printed."]
    known, problems = {}, []
    for column in places.known[places.visits.get(name, places.first)]:
        try:
            found = _checked(column, column.value(row.cells[column.index]))
        except DataError as error:
            problems.append(f"{where}, column {column.header}: {error}")
            continue
        if found is not None:
            known[column.name] = found
    other = {column: row.cells[index] for column, index in places.other.items()}
    return Person(name, row.number, known, other), problems


def _checked(column: Column, found: str | float | None) -> str | float | None:
    """What a cell says, if it can be true of a person."""
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


def _number(text: str) -> str | float:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
