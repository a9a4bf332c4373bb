"""What a cell of a table says of a quantity, in the quantity's unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from brainldm.conditions import Conditions
from brainldm.config import Variable
from brainldm.errors import DataError

MISSING = frozenset({"", "n/a", "na"})
"""Cells, in lower case, that say nothing."""


def value(cell: str) -> str | None:
    """What a cell says, without spaces around it; None if that is nothing."""
    text = cell.strip()
    return None if text.lower() in MISSING else text


@dataclass(frozen=True)
class Quantity:
    """What is looked for in a table.

    Args:
        name: of its column.
        unit: that its values are brought to.
        labels: of a category, else empty.
    """

    name: str
    unit: str = ""
    labels: tuple[str, ...] = ()

    @classmethod
    def of(cls, variable: Variable) -> Quantity:
        """A condition of a model."""
        return cls(variable.name, variable.unit, variable.labels or ())


@dataclass(frozen=True)
class Column:
    """A quantity's column in a table.

    Args:
        index: of its cells, from 0.
        name: of the quantity.
        header: its name in the table.
        factor: from the table's unit to the quantity's.
        labels: of a category, else empty.
        codes: what else stands for a label, in lower case.
        is_field: it is one of UK Biobank's fields, of which there may be several visits.
    """

    index: int
    name: str
    header: str
    factor: float
    labels: tuple[str, ...]
    codes: Mapping[str, str] = field(default_factory=dict)
    is_field: bool = False

    def value(self, cell: str) -> str | float | None:
        """What a cell says in the quantity's unit; None if it says nothing.

        A label that is none of the quantity's is given back as it is.

        Raises:
            DataError: it is no number.
        """
        text = value(cell)
        if text is None or text in self.labels:
            return text
        if self.labels:
            return self.codes.get(text.lower(), text)
        try:
            if "_" in text:  # which Python takes for a number's
                raise ValueError
            return float(text) * self.factor
        except ValueError:
            bare = self.name.removesuffix("_ml")
            remedy = (
                "write a point for the decimal"
                if "," in text
                else f"write it without a unit, which belongs in the header, such as {bare} (mm3)"
            )
            raise DataError(
                f"{self.name} is {text!r}: expected a number with a decimal point and without its "
                f"unit, or n/a; {remedy}."
            ) from None


def conditions_of(cells: Sequence[str], columns: Sequence[Column]) -> tuple[Conditions, list[str]]:
    """What a row asks for, and a message for each cell that cannot be read."""
    values: dict[str, str | float] = {}
    problems = []
    for column in columns:
        try:
            found = column.value(cells[column.index])
        except DataError as error:
            problems.append(str(error))
            continue
        if found is not None:
            values[column.name] = found
    return Conditions.of(values), problems
