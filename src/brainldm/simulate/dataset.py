"""A simulated data set on disk: a BIDS derivative, with the truth about every head.

dataset_description.json   participants.tsv   participants.json   prepare.json
sub-SEED/anat/sub-SEED_space-MNI152NLin2009aSym_T1w.nii.gz, .json
sub-SEED/anat/sub-SEED_space-MNI152NLin2009aSym_dseg.nii.gz, .tsv

prepare.json says that all images lie on one grid, as in a data set that `brainldm prepare` wrote,
so that it can be trained on as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from brainldm._version import __version__
from brainldm.conditions import STANDARD
from brainldm.dataset.bids import SPACE
from brainldm.dataset.sidecar import OURS, read_provenance
from brainldm.dataset.tsv import write_table
from brainldm.files import to_json, write_together
from brainldm.image.grid import Grid
from brainldm.image.nifti import nifti_bytes
from brainldm.image.volume import Volume
from brainldm.simulate.contrast import Contrast
from brainldm.simulate.head import SimulatedHead
from brainldm.simulate.subject import Ranges
from brainldm.simulate.tissues import TISSUES

SUFFIXES: Mapping[Contrast, str] = {
    "t1w": "T1w",
    "t2w": "T2w",
    "flair": "FLAIR",
    "random": "desc-random_T1w",
}
UNITS = {"age": "years", "ventricular_volume_ml": "mL", "brain_volume_ml": "mL"}
COLUMNS: Mapping[str, Mapping[str, Any]] = {
    "sex": {"Description": "Sex, drawn", "Levels": {"F": "female", "M": "male"}},
    "age": {"Description": "Age, drawn", "Units": "year"},
    "ventricular_volume_ml": {
        "Description": "True volume of the fluid of the lateral ventricles, counted on the labels",
        "Units": "mL",
    },
    "brain_volume_ml": {
        "Description": "True volume of grey and white matter, counted on the labels, times the "
        "template's intracranial volume over the head's own",
        "Units": "mL",
    },
    "anatomy": {"Description": "Name of the anatomy that the head was deformed from"},
    "mirrored": {"Description": "Left and right are exchanged", "Levels": {"0": "no", "1": "yes"}},
    "seed": {"Description": "Seed of the head"},
    "person": {"Description": "Equal for a head and its twin, which differ in their volumes"},
    "redrawn": {"Description": "Pairs of volumes drawn before that the anatomy could not reach"},
}
TRUTH = "simulation"
"""The key of our block of a sidecar that holds what no generated image has."""


@dataclass(frozen=True)
class Settings:
    """What all heads of a data set have in common.

    Args:
        contrast: of the images.
        grid: of the images, and of the labels.
        ranges: of the volumes.
        anatomies: their names.
        scanned: images lie as a scanner gives them, and have no labels.
    """

    contrast: Contrast
    grid: Grid
    ranges: Ranges
    anatomies: tuple[str, ...]
    scanned: bool = False

    def to_json(self) -> dict[str, Any]:
        """As it is saved, lists for tuples."""
        return {
            "contrast": self.contrast,
            "shape": list(self.grid.shape),
            "affine": self.grid.matrix.tolist(),
            "ranges": {name: list(pair) for name, pair in asdict(self.ranges).items()},
            "anatomies": list(self.anatomies),
            "scanned": self.scanned,
            "brainldm_version": __version__,
        }


@dataclass(frozen=True)
class Files:
    """Where a head's files are."""

    image: Path
    sidecar: Path
    labels: Path
    names: Path

    @classmethod
    def of(cls, out: Path, label: str, settings: Settings) -> Files:
        """In the data set `out`; the label is without "sub-"."""
        anat = out / f"sub-{label}" / "anat"
        stem = f"sub-{label}" if settings.scanned else f"sub-{label}_space-{SPACE}"
        image = f"{stem}_{SUFFIXES[settings.contrast]}"
        return cls(
            anat / f"{image}.nii.gz",
            anat / f"{image}.json",
            anat / f"{stem}_dseg.nii.gz",
            anat / f"{stem}_dseg.tsv",
        )

    @property
    def there(self) -> bool:
        """The sidecar is written last."""
        return self.sidecar.is_file() and self.image.is_file()


def write_head(
    files: Files, head: SimulatedHead, person: str, settings: Settings, image: Volume
) -> None:
    """Write a head's files, the sidecar last: it says that the rest is there.

    Args:
        files: from `Files.of`.
        head: the truth about it.
        person: the label of the head, or of the one whose twin it is.
        settings: of the data set.
        image: of the head, as it was scanned or on the grid.
    """
    contents = {files.image: image.to_nifti()}
    if not settings.scanned:
        contents[files.labels] = nifti_bytes(head.labels, settings.grid.matrix)
        contents[files.names] = _names()
    write_together({**contents, files.sidecar: to_json(_sidecar(head, person, settings))})


def write_tables(out: Path, settings: Settings) -> int:
    """Write the tables of all heads that are there, and prepare.json; tells how many they are."""
    rows = []
    for folder in sorted(out.glob("sub-*")):
        files = Files.of(out, folder.name.removeprefix("sub-"), settings)
        if files.there:
            known = read_provenance(files.sidecar)
            truth = {**known.values, **(known.model_extra or {}).get(TRUTH, {})}
            truth["seed"] = known.seed
            rows.append((folder.name, *(truth.get(name) for name in COLUMNS)))
    contents = {
        out / "participants.tsv": write_table(("participant_id", *COLUMNS), rows),
        out / "participants.json": to_json(COLUMNS),
    }
    if not settings.scanned and settings.contrast == "t1w":
        grid = {"shape": list(settings.grid.shape), "affine": settings.grid.matrix.tolist()}
        contents[out / "prepare.json"] = to_json(
            {
                "brainldm_version": __version__,
                "space": SPACE,
                "grid": grid,
                "settings": settings.to_json(),
                "subjects": len(rows),
            }
        )
    write_together(contents)
    return len(rows)


def _names() -> bytes:
    """The names of the labels, one row each, as BIDS has them."""
    rows = {tissue.number: tissue.name for tissue in TISSUES}
    return write_table(("index", "name"), ((str(n), rows[n]) for n in sorted(rows)))


def _sidecar(head: SimulatedHead, person: str, settings: Settings) -> dict[str, Any]:
    subject, conditions = head.subject, head.conditions.given
    place = {} if settings.scanned else {"SpatialReference": SPACE}
    return {
        "Description": f"Simulated head ({settings.contrast}); shows no person",
        "SkullStripped": False,
        "Units": "arbitrary",
        **place,
        "synthetic": True,
        OURS: {
            "version": __version__,
            "conditions": {
                name: {"value": conditions[name], "unit": UNITS.get(name, "")} for name in STANDARD
            },
            "seed": subject.seed,
            "settings": settings.to_json(),
            TRUTH: {
                "anatomy": subject.anatomy.name,
                "mirrored": int(subject.mirrored),
                "person": person,
                "redrawn": subject.redrawn,
                "targets_ml": list(subject.targets),
            },
        },
    }
