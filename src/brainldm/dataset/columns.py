"""The columns of a table of people: which names them, and which quantity each is, in what unit.

A column is named as the quantity, in capitals or not, `ventricular_volume_ml`, or with a unit of
its own, `ventricular_volume (mm3)`. Where the header has no unit, the JSON file beside the table
may say it as BIDS does ({"age": {"Units": "months"}}); else it is the quantity's. UK Biobank's
fields are known by their numbers.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from brainldm.conditions import ConditionRanges
from brainldm.dataset.quantities import Column, Quantity
from brainldm.dataset.table import Table
from brainldm.errors import DataError

UNITS = {
    "years": ("years", 1.0),
    "year": ("years", 1.0),
    "y": ("years", 1.0),
    "months": ("years", 1 / 12),
    "month": ("years", 1 / 12),
    "days": ("years", 1 / 365.25),
    "day": ("years", 1 / 365.25),
    "yrs": ("years", 1.0),
    "yr": ("years", 1.0),
    "a": ("years", 1.0),
    "ml": ("mL", 1.0),
    "cm3": ("mL", 1.0),
    "mm3": ("mL", 1e-3),
    "l": ("mL", 1e3),
    "cm^3": ("mL", 1.0),
    "mm^3": ("mL", 1e-3),
}
"""What a unit may be called, in lower case: the quantity's own, and how many of that it is."""
ID_COLUMNS = ("participant_id", "eid", "f.eid")
"""Of which the first that is there names the people."""
SEXES = {"f": "F", "female": "F", "m": "M", "male": "M"}
UK_BIOBANK = {
    "31": ("sex", None),
    "21003": ("age", "years"),
    "25004": ("ventricular_volume_ml", "mm3"),
    "25009": ("brain_volume_ml", "mm3"),
}
"""Fields of UK Biobank: the quantity and its unit there."""
UK_BIOBANK_SEXES = {"0": "F", "1": "M"}
_FIELD = re.compile(r"(?:f\.|p)?(31|21003|25004|25009)(?:[-._]i?(\d+))?(?:[._]a?\d+)?")
_WITH_UNIT = re.compile(r"([^(\[]+)[(\[]([^()\[\]]+)[)\]]")
_MEANT = {"gender": "sex", "sex": "sex", "age": "age"}
"""Words in a column's name that make it look like a quantity."""


@dataclass(frozen=True)
class Columns:
    """What a header says.

    Args:
        known: the quantities that were found.
        wrong: of the other columns, those that name a quantity and contradict themselves about its
            unit, and how.
        unread: the rest of the other columns, and why they are not read as the quantity that they
            look like; empty where they look like none.
    """

    known: tuple[Column, ...]
    wrong: Mapping[str, str]
    unread: Mapping[str, str]


def find_identity(table: Table, any_name: bool = False) -> int:
    """The index of the column that names people, one of `ID_COLUMNS`.

    Args:
        table: whose header to look at.
        any_name: the first column if none of them is there.

    Raises:
        DataError: there is none.
    """
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


def find_columns(
    table: Table,
    quantities: Sequence[Quantity],
    *,
    codes: Mapping[str, str] | None = None,
    visit: str = "2",
) -> Columns:
    """Find the columns of quantities.

    Args:
        table: whose header to look at.
        quantities: to look for.
        codes: what stands for F and M beside these, female and male, and what the Levels say that
            the JSON file beside the table has for sex.
        visit: UK Biobank's imaging visit whose fields are read.
    """
    forms = _forms(quantities)
    found: dict[str, Column] = {}
    wrong: dict[str, str] = {}
    unread: dict[str, str] = {}
    exact = {quantity.name for quantity in quantities}
    # Of two columns for one quantity the one of its very name counts, wherever it stands.
    for index, header in sorted(enumerate(table.header), key=lambda each: each[1] not in exact):
        name = _Name.of(header, visit)
        quantity = forms.get(name.bare, forms.get(name.bare.lower()))
        if quantity is None:
            unread[header] = ""
            continue
        said = table.descriptions.get(header) or table.descriptions.get(name.bare) or {}
        unit = str(said["Units"]) if "Units" in said else None
        if not (quantity.labels or name.unit or unit or name.bare.lower() == quantity.name.lower()):
            unread[header] = f"says no unit. Name it {quantity.name}, or {name.bare} (mm3)."
            continue
        try:
            factor = 1.0 if quantity.labels else _factor(quantity, name, unit)
        except DataError as error:
            wrong[header] = str(error)
            continue
        if quantity.name in found:
            unread[header] = f"is {quantity.name} a second time. Keep one."
            continue
        meanings = _codes(quantity, said.get("Levels"), name.codes or codes or {})
        found[quantity.name] = Column(
            index, quantity.name, header, factor, quantity.labels, meanings, name.is_field
        )
    return Columns(tuple(found.values()), wrong, unread | _likely(unread, forms.keys() - found))


@dataclass(frozen=True)
class _Name:
    """What a column's name says: the name alone, the unit, and as a field of UK Biobank more."""

    bare: str
    unit: str | None
    codes: Mapping[str, str] = field(default_factory=dict)
    is_field: bool = False

    @classmethod
    def of(cls, header: str, visit: str) -> _Name:
        match = _FIELD.fullmatch(header)
        # Sex is asked once, at visit 0; the rest belongs to a visit.
        if match and (match[1] == "31" or match[2] in (None, visit)):
            name, unit = UK_BIOBANK[match[1]]
            codes = UK_BIOBANK_SEXES if name == "sex" else {}
            return cls(name.removesuffix("_ml"), unit, codes, True)
        match = _WITH_UNIT.fullmatch(header)
        return cls(match[1].strip(), match[2].strip()) if match else cls(header, None)


def _forms(quantities: Sequence[Quantity]) -> dict[str, Quantity]:
    """Quantities by the names that their columns may have; those in capitals by the lower case."""
    exact = {form: q for q in quantities for form in (q.name.removesuffix("_ml"), q.name)}
    return {form.lower(): q for form, q in exact.items()} | exact


def _likely(unread: Mapping[str, str], missing: Collection[str]) -> dict[str, str]:
    """Columns that have the name of a missing quantity as a word in their own."""
    likely = {}
    for header in (name for name, why in unread.items() if not why):
        words = re.split(r"[\W_]+", header.lower())
        meant = next((_MEANT[word] for word in words if _MEANT.get(word) in missing), None)
        if meant:
            likely[header] = f"is not read as {meant}. Name it {meant} if it is that."
    return likely


def _codes(quantity: Quantity, levels: object, more: Mapping[str, str]) -> dict[str, str]:
    """What stands for a label, in lower case: in general, as the Levels of BIDS say, and beside."""
    if not quantity.labels:
        return {}
    words = {label.lower(): label for label in quantity.labels}
    if quantity.name == "sex":
        words |= {word: label for word, label in SEXES.items() if label in quantity.labels}
    said = levels if isinstance(levels, dict) else {}
    meant = {str(code).lower(): str(meaning).strip().lower() for code, meaning in said.items()}
    explained = {code: words[meaning] for code, meaning in meant.items() if meaning in words}
    given = {code.lower(): label for code, label in more.items() if quantity.name == "sex"}
    return {**words, **explained, **given}


def _factor(quantity: Quantity, name: _Name, beside: str | None) -> float:
    """From the table's unit to the quantity's, if all that is said of it agrees."""
    factors = {
        where: _convert(quantity, unit)
        for where, unit in (("the header", name.unit), ("the JSON file", beside))
        if unit is not None
    }
    if name.bare.lower().endswith("_ml"):
        factors["the column's name"] = 1.0
    if len(set(factors.values())) > 1:
        units = f"{name.unit or 'nothing'} in the header, {beside or 'nothing'} in the JSON file"
        raise DataError(
            f"contradicts itself about its unit: {units}, and the name {name.bare}. Say it once, "
            f"as {name.bare.removesuffix('_ml')} ({name.unit or beside})."
        )
    return next(iter(factors.values()), 1.0)


def _convert(quantity: Quantity, unit: str) -> float:
    if unit == quantity.unit:
        return 1.0
    given, wanted = UNITS.get(unit.lower()), UNITS.get(quantity.unit.lower())
    if given is None or wanted is None or given[0] != wanted[0]:
        names = [name for name, (base, _) in UNITS.items() if wanted and base == wanted[0]]
        raise DataError(
            f"is in {unit!r}: expected {' or '.join(names) or quantity.unit or 'no unit'}."
        )
    return given[1] / wanted[1]


def find_conditions(
    table: Table, ranges: ConditionRanges
) -> tuple[tuple[Column, ...], dict[str, str]]:
    """The columns that are conditions of a model, and what is the matter with each other one."""
    found = find_columns(table, [Quantity.of(v) for v in ranges.variables])
    expected = ", ".join(v.name for v in ranges.variables)
    unknown = f"is no condition of this model: expected {expected}. Take it out."
    return found.known, {**found.wrong, **{n: why or unknown for n, why in found.unread.items()}}
