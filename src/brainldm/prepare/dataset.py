"""The prepared data set on disk: a BIDS derivative.

dataset_description.json   participants.tsv   participants.json   prepare.json   quality.html
sub-ID/anat/sub-ID_space-MNI152NLin2009aSym_T1w.nii.gz, .json
sub-ID/figures/sub-ID_desc-quality_T1w.jpg
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from brainldm._version import __version__
from brainldm.dataset.bids import SPACE, VERSION, t1w
from brainldm.dataset.people import People
from brainldm.dataset.sidecar import OURS
from brainldm.dataset.table import write_table
from brainldm.errors import BrainLDMError, DataError
from brainldm.files import read_json, to_json, write_together

COVARIATES = {
    "sex": "Sex",
    "age": "Age at the scan",
    "ventricular_volume_ml": "Volume of the ventricular cerebrospinal fluid",
    "brain_volume_ml": "Brain volume (grey and white matter) normalised for head size: the volume "
    "times the template's intracranial volume over the person's",
}
MEASURABLE = ("ventricular_volume_ml", "brain_volume_ml")
UNITS = {"age": "year", "ventricular_volume_ml": "mL", "brain_volume_ml": "mL"}
Covariates = Mapping[str, str | float]


@dataclass(frozen=True)
class Settings:
    """What the images are brought to, and how.

    Args:
        model: whose grid it is.
        shape: (X, Y, Z) in voxels.
        affine: (4, 4), from voxel to mm of MNI152 space.
        registered: the images were registered before and were only resampled.
        bias_field: N4 was applied.
    """

    model: str
    shape: tuple[int, int, int]
    affine: tuple[tuple[float, ...], ...]
    registered: bool
    bias_field: bool

    def to_json(self) -> dict[str, Any]:
        """As it is saved, lists for tuples."""
        result: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return {**result, "space": SPACE, "brainldm_version": __version__}


@dataclass(frozen=True)
class Paths:
    """Where a subject's files are."""

    image: Path
    sidecar: Path
    figure: Path

    @classmethod
    def of(cls, out: Path, subject: str) -> Paths:
        """In the data set `out`."""
        figure = out / f"sub-{subject}" / "figures" / f"sub-{subject}_desc-quality_T1w.jpg"
        return cls(*t1w(out, subject), figure)


@dataclass(frozen=True)
class Participant:
    """One row of the table.

    Args:
        subject: the label without "sub-".
        covariates: those that are known.
        measured: which of them were measured here.
        other: further columns of the user's table, unchanged.
    """

    subject: str
    covariates: Covariates
    measured: frozenset[str]
    other: Mapping[str, str]


def open_dataset(out: Path, settings: Settings) -> None:
    """Make the folder of a data set, or go on with the one that is there.

    Raises:
        BrainLDMError: something else is there, or a data set with other settings.
    """
    description = out / "dataset_description.json"
    wanted = settings.to_json()
    if description.is_file():
        content = read_json(description, "a data set that `brainldm prepare` began. Remove it")
        found = content.get(OURS)
        found = found if isinstance(found, dict) else {}
        differing = sorted(k for k, v in wanted.items() if found.get(k) != v)
        if not differing:
            return
        raise BrainLDMError(
            f"{out} holds another data set: it differs in {', '.join(differing)}. Choose another "
            "folder, or remove this one."
        )
    if out.is_dir() and any(out.iterdir()):
        raise BrainLDMError(
            f"{out} holds other files. Expected an empty folder, a new one, or a data set that "
            "was begun with the same settings."
        )
    content = {
        "Name": "T1-weighted heads prepared for brainldm",
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [
            {"Name": "brainldm", "Version": __version__, "Description": "brainldm prepare"}
        ],
        OURS: wanted,
    }
    write_together({description: to_json(content)})


def check_cells(people: People) -> None:
    """Refuse cells that a table of BIDS cannot hold, before hours are spent on the scans.

    Raises:
        DataError: tabs or line breaks in other cells than covariates, each with its row.
    """
    problems = [
        f"  row {person.row} ({person.name}), column {column}: has a tab or a line break in it"
        for person in people.persons.values()
        for column, cell in person.other.items()
        if any(mark in cell for mark in "\t\r\n")
    ]
    if problems:
        raise DataError(
            f"{people.file} cannot be used as it is. Take these out:\n" + "\n".join(problems)
        )


def write_tables(
    out: Path,
    settings: Settings,
    participants: Sequence[Participant],
    columns: Sequence[str],
    descriptions: Mapping[str, Any],
    failures: Mapping[str, str],
) -> None:
    """Write participants.tsv, participants.json and prepare.json.

    Args:
        out: the data set.
        settings: of the images.
        participants: those whose image is there.
        columns: the names of `Participant.other`, in order.
        descriptions: of those columns, as BIDS has them.
        failures: subject to reason.
    """
    rows = (
        (
            f"sub-{each.subject}",
            *(each.covariates.get(name) for name in COVARIATES),
            *(each.other.get(name) for name in columns),
        )
        for each in participants
    )
    report = {
        "brainldm_version": __version__,
        "space": SPACE,
        "grid": {"shape": settings.shape, "affine": settings.affine},
        "settings": settings.to_json(),
        "subjects": len(participants),
        "covariates": {name: _range(name, participants) for name in COVARIATES},
        "failures": dict(failures),
    }
    write_together(
        {
            out / "participants.tsv": write_table(("participant_id", *COVARIATES, *columns), rows),
            out / "participants.json": to_json(_describe(participants, descriptions)),
            out / "prepare.json": to_json(report),
        }
    )


def _describe(participants: Sequence[Participant], descriptions: Mapping[str, Any]) -> Any:
    content: dict[str, Any] = {}
    for name, description in COVARIATES.items():
        entry: dict[str, Any] = {"Description": description}
        if name in UNITS:
            entry["Units"] = UNITS[name]
        else:
            entry["Levels"] = {"F": "female", "M": "male"}
        known = [each for each in participants if name in each.covariates]
        measured = sum(name in each.measured for each in known)
        entry["Given"], entry["Measured"] = len(known) - measured, measured
        content[name] = entry
    return {**content, **descriptions}


def _range(name: str, participants: Sequence[Participant]) -> dict[str, Any]:
    values = [each.covariates[name] for each in participants if name in each.covariates]
    counts: dict[str, Any] = {
        "known": len(values),
        "measured": sum(name in each.measured for each in participants),
    }
    if name not in UNITS:
        return {"kind": "category", **counts, "levels": {v: values.count(v) for v in ("F", "M")}}
    summary = {"kind": "continuous", "unit": "years" if name == "age" else "mL", **counts}
    if values:
        numbers = np.array(values, dtype=np.float64)
        summary |= {
            "low": float(numbers.min()),
            "high": float(numbers.max()),
            "mean": float(numbers.mean()),
            "sd": float(numbers.std()),
        }
    return summary
