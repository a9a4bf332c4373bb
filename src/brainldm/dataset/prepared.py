"""A prepared data set, as `brainldm prepare` writes it: a BIDS derivative.

participants.tsv   participants.json   prepare.json
sub-ID/anat/sub-ID_space-MNI152NLin2009aSym_T1w.nii.gz, all on one grid, intensities in [0, 1]
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from brainldm.dataset.bids import t1w
from brainldm.dataset.participants import read_people
from brainldm.dataset.quantities import value
from brainldm.dataset.table import open_table
from brainldm.errors import DataError, StorageError
from brainldm.files import read_json
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume, read_grid

TOLERANCE = 1e-3
"""By how much an intensity may be off."""
REMEDY = "Prepare this scan again, or take its row out of participants.tsv."
Columns = Mapping[str, tuple[str | None, ...]]


@dataclass(frozen=True)
class PreparedData:
    """Heads on one grid, and the table about them.

    Args:
        folder: the data set.
        subjects: labels without "sub-", in the table's order.
        rows: of the table, counted from 1.
        columns: of the table, without participant_id: name to a cell for each subject, None where
            there is none.
        descriptions: of the columns, as BIDS has them: name to Description, Units, Levels.
        grid: of every image, in MNI152 space.
        preparation: the `settings` of prepare.json.
    """

    folder: Path
    subjects: tuple[str, ...]
    rows: tuple[int, ...]
    columns: Columns
    descriptions: Mapping[str, Mapping[str, Any]]
    grid: Grid
    preparation: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.subjects)

    def path(self, index: int) -> Path:
        """A subject's image."""
        return t1w(self.folder, self.subjects[index])[0]

    def row(self, index: int) -> int:
        """A subject's row of participants.tsv, counted from 1."""
        return self.rows[index]

    def image(self, index: int) -> Float[Tensor, "1 x y z"]:
        """A subject's head, (1, X, Y, Z), float32.

        Raises:
            DataError: the file is damaged, on another grid, or has intensities outside [0, 1].
        """
        path = self._checked(index)
        try:
            array = Volume.load(path, air=False).array
        except DataError as error:
            raise DataError(f"{error} {REMEDY}") from error
        low, high = float(array.min()), float(array.max())
        if not -TOLERANCE <= low < high <= 1 + TOLERANCE:
            raise DataError(
                f"{path} has intensities from {low:g} to {high:g}: expected a head within [0, 1], "
                f"not empty. {REMEDY}"
            )
        return torch.from_numpy(array)[None]

    def check_images(self) -> None:
        """Look at the header of every image.

        Raises:
            DataError: a file is missing, damaged or on another grid.
        """
        for index in range(len(self)):
            self._checked(index)

    def _checked(self, index: int) -> Path:
        """A subject's image, of which the header is as it should be."""
        path = self.path(index)
        if not os.path.isfile(path):
            raise DataError(
                f"{self.folder / 'participants.tsv'}, row {self.row(index)}: there is no image "
                f"{path}. {REMEDY}"
            )
        try:
            self.grid.expect(read_grid(path), path)
        except DataError as error:
            raise DataError(f"{error} {REMEDY}") from error
        return path

    def digest(self) -> str:
        """Identifies subjects and images: a SHA-256 of their names, sizes and gzip check sums.

        Raises:
            StorageError: an image cannot be read.
        """
        digest = hashlib.sha256()
        for index, subject in enumerate(self.subjects):
            path = self.path(index)
            try:
                with path.open("rb") as file:
                    file.seek(-8, 2)  # where gzip keeps the CRC-32 and the length before packing
                    digest.update(f"{subject} {path.stat().st_size} ".encode() + file.read())
            except OSError as error:
                raise StorageError(f"Cannot read {path}: {error.strerror}. {REMEDY}") from error
        return digest.hexdigest()


def read_prepared(folder: str | Path) -> PreparedData:
    """Read the tables of a prepared data set; the images are read when they are asked for.

    Raises:
        StorageError: a file cannot be read.
        DataError: a table or prepare.json is damaged, with file and row.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):
        raise DataError(
            f"There is no data set {folder}: expected a folder that `brainldm prepare` wrote."
        )
    described, table = folder / "prepare.json", open_table(folder / "participants.tsv")
    subjects: dict[str, int] = {}
    cells = []
    if table.header[0] != "participant_id":
        raise DataError(
            f"{table.file}, row 1: expected column names, the first participant_id; got "
            f"{', '.join(table.header)}."
        )
    for row in table.rows():
        where, name = f"{table.file}, row {row.number}", row.cells[0]
        subject = name.removeprefix("sub-")
        if row.misfit:
            raise DataError(f"{where}: {row.misfit}.")
        if not (subject.isalnum() and subject.isascii()):
            raise DataError(
                f"{where}: {name!r} is no participant: expected sub- and letters or digits."
            )
        if subject in subjects:
            raise DataError(
                f"{where}: {name} is there twice, in row {subjects[subject]} too. Keep one of them."
            )
        subjects[subject] = row.number
        cells.append(tuple(map(value, row.cells)))
    if not subjects:
        raise DataError(f"{table.file} has no participants: expected a row for each.")
    columns = dict(zip(table.header, zip(*cells, strict=True), strict=True))
    del columns["participant_id"]
    people = read_people(table.file)  # as every verb reads it: what cannot be is refused
    if "sex" in columns:
        columns["sex"] = tuple(person.known.get("sex") for person in people.persons.values())
    settings = read_json(described, "what `brainldm prepare` wrote. Prepare the data set again")
    return PreparedData(
        folder,
        tuple(subjects),
        tuple(subjects.values()),
        columns,
        table.descriptions,
        Grid.from_json(settings.get("grid", settings), str(described)),
        settings.get("settings", {}),
    )
