"""The sets of scans that are compared, and what is known about each scan."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainldm.dataset.participants import read_people
from brainldm.dataset.people import People
from brainldm.dataset.scans import image_files, names_of
from brainldm.dataset.sidecar import read_provenance
from brainldm.errors import DataError, UsageError
from brainldm.image.fit import fit_to_grid
from brainldm.image.grid import Grid
from brainldm.image.reading import image_stem
from brainldm.image.volume import Volume, read_grid

Covariates = Mapping[str, str | float]


@dataclass(frozen=True)
class Head:
    """One scan.

    Args:
        path: of its image.
        known: its covariates: those asked for, of a generated head, or those of a table.
        scaled: intensities are in [0, 1] already, whoever wrote them.
    """

    path: Path
    known: Covariates
    scaled: bool = False

    def read(self, grid: Grid) -> Volume:
        """The image on a grid, with intensities in [0, 1], as `fit_to_grid` brings it there.

        Raises:
            DataError: what `Volume.load` or `fit_to_grid` refuses, or an image of one value.
        """
        volume = Volume.load(self.path, scaled=self.scaled or None)
        if volume.array.min() == volume.array.max():
            raise DataError(
                f"{self.path} is empty: every voxel is {volume.array.flat[0]:g}. Take it out."
            )
        return fit_to_grid(volume, grid)


def find_heads(
    folder: Path, what: str, most: int | None = None, scaled: bool = False
) -> tuple[Head, ...]:
    """The heads in a folder: images, with sidecars or a participants.tsv if there are.

    Args:
        folder: searched with its subfolders; label maps (_dseg) in it are no heads.
        what: "generated", "real" or "training", for messages.
        most: take this many, spread evenly over all; None takes all.
        scaled: as of a `Head`.

    Raises:
        UsageError: no folder, or fewer than two scans.
        DataError: a damaged table.

    Warns:
        UserWarning: columns that look like a covariate and are not read as one, or a table of other
            people.
    """
    files = image_files(folder) if os.path.isdir(folder) else []
    paths = [path for path in files if not image_stem(path).endswith("_dseg")]
    if len(paths) < 2:
        raise UsageError(
            f"The {what} set {folder} has {len(paths)} scans: expected a folder with at least two "
            "images (NIfTI or MGH)."
        )
    if most is not None and len(paths) > most:
        paths = [paths[i] for i in np.linspace(0, len(paths) - 1, most).round().astype(int)]
    table = folder / "participants.tsv"
    people = read_people(table, any_name=True) if os.path.isfile(table) else People()
    heads = tuple(Head(path, _asked(path) or _values(people, path), scaled) for path in paths)
    for note in people.misnamed():
        warnings.warn(f"The {what} set: {note}", stacklevel=2)
    if people.persons and not any(head.known for head in heads):
        warnings.warn(
            f"None of the {what} scans is in {table}, so that nothing is known of them: expected "
            "their names, or their sub-LABEL, in the column participant_id.",
            stacklevel=2,
        )
    return heads


def _asked(path: Path) -> Covariates:
    """What a head that brainldm generated was asked to be."""
    return read_provenance(path.with_name(f"{image_stem(path)}.json")).values


def _values(people: People, path: Path) -> Covariates:
    """What a table says of the person of an image."""
    person = people.find(names_of(path))
    return person.values if person else {}


def common_grid(sets: Mapping[str, Sequence[Head]], resample: bool) -> Grid:
    """The grid of the first real scan, after a look at the header of every scan.

    Raises:
        StorageError: a file cannot be read.
        DataError: a file is damaged, or lies on another grid and may not be resampled.
    """
    reference: Grid | None = None
    for what in ("real", "generated", "training"):
        for head in sets.get(what, ()):
            found = read_grid(head.path)
            reference = reference or found
            if not (resample or found.equals(reference)):
                raise DataError(
                    f"The {what} scan {head.path} is on another grid than the first real one: "
                    f"expected {reference}; got {found}. Bring the sets to one grid, or ask for "
                    "it: --resample."
                )
    if reference is None:
        raise UsageError("Expected at least one real scan.")
    return reference
