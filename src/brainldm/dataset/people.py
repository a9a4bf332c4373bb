"""The table of participants: units and codes checked, cell by cell, and nothing guessed."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brainldm.errors import BrainLDMError

ID_COLUMNS = ("participant_id", "eid", "f.eid")
MISSING = frozenset({"", "n/a", "na", "nan"})
SEXES = {"f": "F", "female": "F", "m": "M", "male": "M"}
PLAUSIBLE = {
    "age": (0.0, 120.0, "years", "ages in months or days need dividing by 12 or 365.25"),
    "ventricular_volume_ml": (0.5, 500.0, "mL", "volumes in mm3 need dividing by 1000"),
    "brain_volume_ml": (300.0, 2500.0, "mL", "volumes in mm3 need dividing by 1000"),
}
"""What a covariate can be, its unit, and the usual mistake."""
UK_BIOBANK = {
    "31": "sex",
    "21003": "age",
    "25004": "ventricular_volume_ml",
    "25009": "brain_volume_ml",
}
"""Fields of UK Biobank; the volumes are in mm3 there, and sex is 0 (female) or 1 (male)."""
_FIELD = re.compile(r"(?:f\.|p)?(31|21003|25004|25009)(?:[-._]i?(\d+))?(?:[._]a?\d+)?")
MOST = 20  # problems that a message lists


@dataclass(frozen=True)
class Table:
    """What a table says.

    Args:
        given: by participant as the table names it: covariates in our units, those it has.
        other: by participant, the remaining columns, as they are.
        columns: the remaining columns, in order.
        descriptions: of those columns, from the JSON file beside the table.
        file: where it was read from; None where there is no table.
    """

    given: Mapping[str, Mapping[str, str | float]] = field(default_factory=dict)
    other: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    descriptions: Mapping[str, Any] = field(default_factory=dict)
    file: Path | None = None

    def find(self, names: tuple[str, ...]) -> str | None:
        """The participant that has one of these names."""
        return next((name for name in names if name in self.other), None)


def read_table(
    file: Path, sex_codes: Mapping[str, str], instances: Mapping[str, str] | None = None
) -> Table:
    """Read a table of participants.

    Args:
        file: .tsv, or .csv; the first column of `ID_COLUMNS` names the participants. Covariates
            are the columns sex, age, ventricular_volume_ml and brain_volume_ml, or UK Biobank's
            fields 31, 21003, 25004 and 25009. A JSON file of the same name may describe the
            columns as BIDS does; its Levels of sex and Units of age are heeded.
        sex_codes: what stands for "F" and "M" beside these, female and male.
        instances: UK Biobank's imaging visit of each participant; 2, the first, elsewhere.

    Raises:
        BrainLDMError: it cannot be read, has no column of participants, or any cell is not what
            it should be; every one is listed with its row and column.
    """
    header, rows = _cells(file)
    identity = next((name for name in ID_COLUMNS if name in header), None)
    if identity is None:
        raise BrainLDMError(
            f"{file} has no column {' or '.join(ID_COLUMNS)}, only {', '.join(header)}. Name the "
            "column of participants participant_id."
        )
    descriptions = _descriptions(file)
    codes = {**SEXES, **_levels(descriptions), **{k.lower(): v for k, v in sex_codes.items()}}
    problems = _unit_problems(descriptions)
    given: dict[str, dict[str, str | float]] = {}
    other: dict[str, dict[str, str]] = {}
    covariates = [name for name in header if name == "sex" or name in PLAUSIBLE]
    for number, row in rows:
        where = f"row {number} ({row.get(identity, '')})"
        if len(row) != len(header) or None in row.values():
            problems.append(f"{where}: expected {len(header)} cells, as the first row has.")
            continue
        person = row[identity].strip()
        if person.lower() in MISSING or person in other:
            what = "is a second row of the same participant" if person else "names no participant"
            problems.append(f"{where} {what}. Keep one row for each.")
            continue
        cells = {name: (row[name], name, 1.0) for name in covariates}
        cells |= _uk_biobank(row, (instances or {}).get(person, "2"))
        given[person] = {}
        for name, (text, column, scale) in cells.items():
            try:
                value = _parse(name, text.strip(), codes if column == "sex" else _UKB_SEX, scale)
            except BrainLDMError as error:
                problems.append(f"{where}, column {column}: {error}")
                continue
            if value is not None:
                given[person][name] = value
        other[person] = {
            name: text for name, text in row.items() if name not in (identity, *covariates)
        }
        problems += [
            f"{where}, column {name}: has a tab or a line break in it. Take it out."
            for name, text in other[person].items()
            if re.search(r"[\t\r\n]", text)
        ]
    if problems:
        more = f"\n  ... and {len(problems) - MOST} more" if len(problems) > MOST else ""
        listed = "\n".join(f"  {problem}" for problem in problems[:MOST])
        raise BrainLDMError(f"{file} cannot be used as it is:\n{listed}{more}")
    columns = tuple(name for name in header if name not in (identity, *covariates))
    kept = {name: value for name, value in descriptions.items() if name in columns}
    return Table(given, other, columns, kept, file)


_UKB_SEX = {**SEXES, "0": "F", "1": "M"}


def _cells(file: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The header, and each row with its line number."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            delimiter = "," if file.suffix.lower() == ".csv" else "\t"
            # A row that is too long keeps its rest under "", one too short has None.
            reader = csv.DictReader(stream, delimiter=delimiter, restkey="", strict=True)
            header = list(reader.fieldnames or ())
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BrainLDMError(
            f"Cannot read the table {file}: {error}. Expected tab-separated text (.tsv), or "
            "comma-separated (.csv), in UTF-8."
        ) from error
    double = sorted({name for name in header if header.count(name) > 1})
    if double:
        raise BrainLDMError(f"{file} has the column {double[0]!r} twice. Rename one.")
    return header, rows


def _uk_biobank(row: Mapping[str, str], instance: str) -> dict[str, tuple[str, str, float]]:
    """Covariate: (cell, column, factor to our unit)."""
    found = {}
    for column, text in row.items():
        match = _FIELD.fullmatch(column)
        # Sex is asked once, at instance 0; the rest belongs to a visit.
        if match and (match[1] == "31" or match[2] in (None, instance)):
            name = UK_BIOBANK[match[1]]
            found[name] = (text, column, 1e-3 if name.endswith("_ml") else 1.0)
    return found


def _parse(name: str, text: str, codes: Mapping[str, str], scale: float) -> str | float | None:
    if text.lower() in MISSING:
        return None
    if name == "sex":
        if text.lower() in codes:
            return codes[text.lower()]
        raise BrainLDMError(
            f"sex is {text!r}: expected F, M, female or male, or n/a. Say what codes mean: "
            "--sex-codes 1=M,2=F, or Levels in the JSON file beside the table."
        )
    low, high, unit, mistake = PLAUSIBLE[name]
    try:
        value = float(text) * scale
    except ValueError:
        hint = ": write a point for the decimal" if "," in text else " without a unit"
        raise BrainLDMError(f"{text!r} is not a number: expected {unit}{hint}, or n/a.") from None
    if not (math.isfinite(value) and low < value <= high):
        raise BrainLDMError(f"{value:g} cannot be: expected {low:g} to {high:g} {unit}; {mistake}.")
    return value


def _descriptions(file: Path) -> dict[str, Any]:
    beside = file.with_suffix(".json")
    if not beside.is_file():
        return {}
    try:
        content = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BrainLDMError(f"Cannot read {beside}: {error}. Expected JSON as in BIDS.") from error
    if not isinstance(content, dict):
        raise BrainLDMError(f"{beside} holds no description of columns. Expected JSON as in BIDS.")
    return content


def _levels(descriptions: Mapping[str, Any]) -> dict[str, str]:
    """Codes of sex that the Levels of BIDS explain."""
    sex = descriptions.get("sex")
    levels = sex.get("Levels", {}) if isinstance(sex, dict) else {}
    return {
        str(code).lower(): SEXES[str(meaning).strip().lower()]
        for code, meaning in levels.items()
        if str(meaning).strip().lower() in SEXES
    }


def _unit_problems(descriptions: Mapping[str, Any]) -> list[str]:
    age = descriptions.get("age")
    unit = str(age.get("Units", "years")) if isinstance(age, dict) else "years"
    if re.match(r"(y|yr|yrs|years?|a)$", unit.strip().lower()):
        return []
    return [f"age is in {unit!r}, says the JSON file beside it: expected years. Convert it."]
