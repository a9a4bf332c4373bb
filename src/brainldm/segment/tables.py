"""Volumes that another program measured: SynthSeg, FreeSurfer, FSL (SIENAX), or a plain table.

Brain volume is scaled to the template's head size, as `brainldm prepare` does, where the table
gives an intracranial volume; SIENAX's is normalised already.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from brainldm.dataset.participants import read_people
from brainldm.dataset.people import People
from brainldm.errors import DataError, StorageError
from brainldm.segment.measures import VOLUMES

VENTRICLES = (
    "lateral ventricle",
    "inferior lateral ventricle",
    "inf-lat-vent",
    "lateral-ventricle",
)
"""In the names of columns of SynthSeg and of FreeSurfer, lower case."""


def read_volumes(file: Path, intracranial_ml: float) -> People:
    """Ventricular and brain volume in mL: all that is known of the people then.

    Args:
        file: .csv or .tsv, the first column names the scan.
        intracranial_ml: the template's, for normalising.

    Raises:
        StorageError: there is no such file, or it cannot be read.
        DataError: it is no table of people (`read_people`), or has columns that none of the
            programs writes.
    """
    if not os.path.isfile(file):
        raise StorageError(f"There is no table of volumes {file}: expected a .csv or .tsv.")
    people = read_people(file, any_name=True)
    if not people.persons:
        raise DataError(f"{file} has no rows: expected one a scan.")
    measured = {
        name: replace(person, known=_volumes(person.values, file, intracranial_ml))
        for name, person in people.persons.items()
    }
    for person in measured.values():
        if not all(math.isfinite(float(volume)) for volume in person.known.values()):
            raise DataError(
                f"{file}, row {person.row} ({person.name}): the volumes come to {person.known}: "
                "expected numbers. Correct the row, or take it out."
            )
    return replace(people, persons=measured)


def _volumes(
    row: Mapping[str, str | float], file: Path, intracranial_ml: float
) -> dict[str, float]:
    numbers = {name.lower(): v for name, v in row.items() if not isinstance(v, str)}
    if numbers.keys() >= set(VOLUMES):
        return {name: numbers[name] for name in VOLUMES}
    lateral = [v for name, v in numbers.items() if any(part in name for part in VENTRICLES)]
    head = _first(numbers, "total intracranial", "estimatedtotalintracranialvol")
    if lateral and head:
        brain = _first(numbers, "brainsegvolnotvent")
        if brain is None and "csf" in numbers:  # SynthSeg: the rest of the head
            fluid = [v for name, v in numbers.items() if "ventricle" in name or name == "csf"]
            brain = head - sum(fluid)
        if brain is not None:
            return {
                "ventricular_volume_ml": sum(lateral) / 1000,
                "brain_volume_ml": brain / head * intracranial_ml,
            }
    ventricles, brain = _first(numbers, "vcsf", "vent_csf"), _first(numbers, "brain_norm", "brain")
    if ventricles is not None and brain is not None:  # SIENAX's report, mm3, normalised
        return {"ventricular_volume_ml": ventricles / 1000, "brain_volume_ml": brain / 1000}
    raise DataError(
        f"{file} has the columns {', '.join(row) or 'none'}: expected those of SynthSeg (--vol), "
        "FreeSurfer (asegstats2table), SIENAX (vcsf and brain, mm3), or ventricular_volume_ml and "
        "brain_volume_ml."
    )


def _first(numbers: Mapping[str, float], *names: str) -> float | None:
    return next((numbers[name] for name in names if name in numbers), None)
