"""The people of a table, found by their names; and what of it nobody uses."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from brainldm.dataset.person import Person
from brainldm.errors import DataError


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
        labels = [unicodedata.normalize("NFC", name).removeprefix("sub-") for name in names]
        for label in labels:
            if label in self._labels:
                return self._labels[label]
        for label in labels:
            if label.isdigit() and label.lstrip("0") in self._numbers:
                return self._numbers[label.lstrip("0")]
        return None

    def without(self, found: Collection[Person]) -> list[str]:
        """The names of all others."""
        names = {person.name for person in found}
        return [name for name in self.persons if name not in names]

    def unused(
        self, found: Mapping[str, Person | None], others: Collection[Person] = ()
    ) -> list[str]:
        """A sentence on each thing that a table says and nobody uses, or that it lacks.

        Args:
            found: those looked for, by what they are called elsewhere; None where `find` found
                nobody.
            others: those who are known of elsewhere, though not used.
        """
        if self.file is None:
            return ["No table: sex and age are not known (n/a)."]
        table = self.file.name
        notes = self.misnamed()
        absent = [label for label, person in found.items() if person is None]
        if absent:
            notes.append(f"Not in {table}, so sex and age are not known (n/a): {_some(absent)}.")
        rest = self.without([person for person in (*found.values(), *others) if person])
        if rest:
            notes.append(f"In {table} without a scan: {_some(rest)}.")
        return notes

    def misnamed(self) -> list[str]:
        """A sentence on each column that looks like a covariate and is not read as one."""
        table = self.file.name if self.file else ""
        return [f"In {table} the column {column} {why}" for column, why in self.unread.items()]

    def refuse_breaks(self) -> None:
        """Refuse what no table of BIDS can hold, though a table in general can.

        Raises:
            DataError: tabs or line breaks in `Person.other`, each with its row, or in the name of a
                column.
        """
        problems = [
            f"  row 1, column {column!r}: has a tab or a line break in its name"
            for column in self.columns
            if any(mark in column for mark in "\t\r\n")
        ]
        problems += [
            f"  row {person.row} ({person.name}), column {column}: has a tab or a line break in it"
            for person in self.persons.values()
            for column, cell in person.other.items()
            if any(mark in cell for mark in "\t\r\n")
        ]
        if problems:
            listed = "\n".join(problems)
            raise DataError(f"{self.file} cannot be used as it is. Take these out:\n{listed}")

    @cached_property
    def _labels(self) -> dict[str, Person]:
        return {person.label: person for person in self.persons.values()}

    @cached_property
    def _numbers(self) -> dict[str, Person]:
        numbered = [(label.lstrip("0"), p) for label, p in self._labels.items() if label.isdigit()]
        counts = Counter(number for number, _ in numbered)
        return {number: person for number, person in numbered if counts[number] == 1}


def _some(names: Sequence[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
