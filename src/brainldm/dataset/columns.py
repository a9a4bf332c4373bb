"""The columns of a table of people: which condition each is, and in what unit."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from brainldm.conditions import ConditionRanges, Conditions
from brainldm.config import Variable
from brainldm.errors import BrainLDMError

MISSING = ("", "n/a")
UNITS = {
    "years": ("years", 1.0),
    "year": ("years", 1.0),
    "y": ("years", 1.0),
    "months": ("years", 1 / 12),
    "ml": ("mL", 1.0),
    "cm3": ("mL", 1.0),
    "mm3": ("mL", 1e-3),
    "l": ("mL", 1e3),
}
"""What a unit may be called: the quantity's own unit, and how many of that it is."""
_WITH_UNIT = re.compile(r"(.+?)\s*[(\[]\s*(.+?)\s*[)\]]")


@dataclass(frozen=True)
class Column:
    """One condition in a table.

    Args:
        index: of its cells, from 0.
        name: of the condition.
        factor: from the table's unit to the model's.
        labels: of a category, else empty.
    """

    index: int
    name: str
    factor: float
    labels: tuple[str, ...]

    def value(self, cell: str) -> str | float | None:
        """What a cell says in the model's unit; None if it is left out.

        Raises:
            BrainLDMError: it is no number.
        """
        text = cell.strip()
        if text in MISSING:
            return None
        if self.labels:
            return text  # whether it is one of them, the ranges say
        try:
            return float(text) * self.factor
        except ValueError:
            raise BrainLDMError(
                f"{self.name} is {text!r}: expected a number with a decimal point and without its "
                f"unit, which belongs in the header, such as {self.name.removesuffix('_ml')} (mm3)."
            ) from None


def split(line: bytes, delimiter: str) -> list[str]:
    """The cells of a line.

    Raises:
        BrainLDMError: it is not UTF-8, or a quoted cell does not end on it.
    """
    try:
        (cells,) = csv.reader([line.decode("utf-8")], delimiter=delimiter, strict=True)
    except (UnicodeDecodeError, csv.Error) as error:
        raise BrainLDMError(f"cannot be read ({error}): expected a line of UTF-8 text.") from None
    return cells


def read_header(file: Path) -> tuple[list[str], str]:
    """The names of a table's columns, and its delimiter.

    Raises:
        BrainLDMError: no table, or two columns of one name.
    """
    delimiter = "," if file.suffix.lower() == ".csv" else "\t"
    try:
        with file.open("rb") as stream:
            line = stream.readline().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise BrainLDMError(
            f"Cannot read the table {file}: {error.strerror}. Expected tab-separated text (.tsv), "
            "or comma-separated (.csv)."
        ) from error
    if not line.strip():
        raise BrainLDMError(f"{file} is empty: expected a header, and a row for each volume.")
    header = [name.strip() for name in split(line, delimiter)]
    double = sorted({name for name in header if header.count(name) > 1})
    if double:
        raise BrainLDMError(f"{file} has the column {double[0]!r} twice. Take one out.")
    return header, delimiter


def find_conditions(
    file: Path, header: Sequence[str], ranges: ConditionRanges
) -> tuple[tuple[Column, ...], dict[str, str]]:
    """The columns that are conditions of a model.

    A column is named as the condition, `ventricular_volume_ml`, or with a unit of its own,
    `ventricular_volume (mm3)`. Where the header has no unit, the JSON file of the same name may say
    it as BIDS does ({"age": {"Units": "months"}}); else it is the model's.

    Returns:
        The conditions, and for each other column what is the matter with it.

    Raises:
        BrainLDMError: the JSON file cannot be read.
    """
    said = _units_beside(file)
    variables = {name: v for v in ranges.variables for name in (v.name, v.name.removesuffix("_ml"))}
    found: dict[str, Column] = {}
    others: dict[str, str] = {}
    for index, name in enumerate(header):
        match = _WITH_UNIT.fullmatch(name)
        bare, unit = match.groups() if match else (name, None)
        variable = variables.get(bare)
        if variable is None:
            expected = ", ".join(v.name for v in ranges.variables)
            others[name] = f"is no condition of this model: expected {expected}. Take it out."
            continue
        try:
            factor = _factor(variable, bare, unit, said.get(name) or said.get(bare))
        except BrainLDMError as error:
            others[name] = str(error)
            continue
        if variable.name in found:
            others[name] = f"is {variable.name} a second time. Keep one."
            continue
        found[variable.name] = Column(index, variable.name, factor, variable.labels or ())
    return tuple(found.values()), others


def conditions_of(cells: Sequence[str], columns: Sequence[Column]) -> tuple[Conditions, list[str]]:
    """What a row asks for, and a message for each cell that cannot be read."""
    values: dict[str, str | float] = {}
    problems = []
    for column in columns:
        try:
            value = column.value(cells[column.index])
        except BrainLDMError as error:
            problems.append(str(error))
            continue
        if value is not None:
            values[column.name] = value
    return Conditions.of(values), problems


def _units_beside(file: Path) -> Mapping[str, str]:
    """Units by column, from the JSON file of the same name, if there is one."""
    path = file.with_suffix(".json")
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        entries = {name: entry for name, entry in content.items() if isinstance(entry, dict)}
    except (OSError, ValueError, AttributeError) as error:
        raise BrainLDMError(
            f"Cannot read {path}, which describes the columns of {file.name}: {error}. Expected "
            'JSON as {"age": {"Units": "years"}}; correct it, or remove it.'
        ) from error
    return {name: str(entry["Units"]) for name, entry in entries.items() if "Units" in entry}


def _factor(variable: Variable, bare: str, header: str | None, beside: str | None) -> float:
    """From the table's unit to the model's, if all that is said of it agrees."""
    factors = {
        where: _convert(variable, unit)
        for where, unit in (("the header", header), ("the JSON file", beside))
        if unit is not None
    }
    if bare.endswith("_ml"):
        factors["the column's name"] = 1.0
    if len(set(factors.values())) > 1:
        units = f"{header or 'nothing'} in the header, {beside or 'nothing'} in the JSON file"
        raise BrainLDMError(
            f"contradicts itself about its unit: {units}, and the name {bare}. Say it once, as "
            f"{bare.removesuffix('_ml')} ({header or beside})."
        )
    if not factors and bare != variable.name:
        raise BrainLDMError(f"says no unit. Name it {variable.name}, or {bare} (mm3).")
    return next(iter(factors.values()), 1.0)


def _convert(variable: Variable, unit: str) -> float:
    if unit == variable.unit:
        return 1.0
    given, wanted = UNITS.get(unit.lower()), UNITS.get(variable.unit.lower())
    if given is None or wanted is None or given[0] != wanted[0]:
        names = [name for name, (base, _) in UNITS.items() if wanted and base == wanted[0]]
        raise BrainLDMError(
            f"is in {unit!r}: expected {' or '.join(names) or variable.unit or 'no unit'}."
        )
    return given[1] / wanted[1]
