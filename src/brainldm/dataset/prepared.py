"""A prepared data set, as `brainldm prepare` writes it: a BIDS derivative.

participants.tsv   participants.json   prepare.json
sub-ID/anat/sub-ID_space-MNI152NLin2009aSym_T1w.nii.gz, all on one grid, intensities in [0, 1]
"""

from __future__ import annotations

import csv
import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from torch import Tensor

from brainldm.dataset.bids import t1w
from brainldm.errors import BrainLDMError

MISSING = ("n/a", "")
TOLERANCE = 1e-3
"""By how much an affine (mm) or an intensity may be off."""


Row = tuple[float, float, float, float]
Affine = tuple[Row, Row, Row, Row]


@dataclass(frozen=True)
class PreparedData:
    """Heads on one grid, and the table about them.

    Args:
        folder: the data set.
        subjects: labels without "sub-", in the table's order.
        columns: of the table, without participant_id: name to a cell for each subject, None where
            there is none.
        descriptions: of the columns, as BIDS has them: name to Description, Units, Levels.
        shape: (X, Y, Z).
        affine: (4, 4), voxel to mm of MNI152 space.
        preparation: the `settings` of prepare.json.
    """

    folder: Path
    subjects: tuple[str, ...]
    columns: Mapping[str, tuple[str | None, ...]]
    descriptions: Mapping[str, Mapping[str, Any]]
    shape: tuple[int, int, int]
    affine: Affine
    preparation: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.subjects)

    def path(self, index: int) -> Path:
        """A subject's image."""
        return t1w(self.folder, self.subjects[index])[0]

    def row(self, index: int) -> int:
        """A subject's line in participants.tsv, counted from 1."""
        return index + 2

    def image(self, index: int) -> Tensor:
        """A subject's head, (1, X, Y, Z), float32.

        Raises:
            BrainLDMError: the file is damaged, on another grid, or has intensities outside [0, 1].
        """
        path = self.path(index)
        try:
            image: Any = nib.load(path)
            self._check_grid(image, path)
            array = np.asarray(image.dataobj, dtype=np.float32)
        except (
            ImageFileError,
            HeaderDataError,
            OSError,
            EOFError,
            ValueError,
            zlib.error,
        ) as error:
            if isinstance(error, BrainLDMError):
                raise
            raise BrainLDMError(
                f"Cannot read {path}: {error}. Expected a whole NIfTI file, as `brainldm prepare` "
                "wrote it. Prepare this scan again, or take its row out of participants.tsv."
            ) from error
        low, high = float(array.min()), float(array.max())
        # Not "low < -TOLERANCE": a comparison with NaN is false.
        if not (-TOLERANCE <= low < high <= 1 + TOLERANCE):
            raise BrainLDMError(
                f"{path} has intensities from {low:g} to {high:g}: expected a head within [0, 1], "
                "not empty. Prepare this scan again, or take its row out of participants.tsv."
            )
        return torch.from_numpy(array)[None]

    def check_images(self) -> None:
        """Look at the header of every image.

        Raises:
            BrainLDMError: a file is missing, damaged or on another grid.
        """
        for index in range(len(self)):
            path = self.path(index)
            if not path.is_file():
                raise BrainLDMError(
                    f"{self.folder / 'participants.tsv'}, row {self.row(index)}: there is no image "
                    f"{path}. Prepare this scan again, or take its row out of the table."
                )
            try:
                image = nib.load(path)
            except (ImageFileError, HeaderDataError, OSError, EOFError, zlib.error) as error:
                raise BrainLDMError(
                    f"Cannot read {path}: {error}. Expected a whole NIfTI file. Prepare this scan "
                    "again, or take its row out of participants.tsv."
                ) from error
            self._check_grid(image, path)

    def digest(self) -> str:
        """Identifies subjects and images: a SHA-256 of their names, sizes and gzip check sums."""
        digest = hashlib.sha256()
        for index, subject in enumerate(self.subjects):
            path = self.path(index)
            with path.open("rb") as file:
                file.seek(-8, 2)  # where gzip keeps the CRC-32 and the length of what it packed
                digest.update(f"{subject} {path.stat().st_size} ".encode() + file.read())
        return digest.hexdigest()

    def _check_grid(self, image: Any, path: Path) -> None:
        if tuple(image.shape) != self.shape:
            raise BrainLDMError(
                f"{path} has the shape {tuple(image.shape)}: expected {self.shape}, as "
                "prepare.json says. All images of a data set lie on one grid; prepare this scan "
                "again."
            )
        if not np.allclose(image.affine, self.affine, atol=TOLERANCE):
            raise BrainLDMError(
                f"{path} lies elsewhere in space than prepare.json says: expected the affine "
                f"{np.array(self.affine).tolist()}, got {image.affine.tolist()}. Prepare this "
                "scan again."
            )


def read_prepared(folder: str | Path) -> PreparedData:
    """Read the tables of a prepared data set; the images are read when they are asked for.

    Raises:
        BrainLDMError: a table is missing or damaged, with file and row.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BrainLDMError(
            f"There is no data set {folder}: expected a folder that `brainldm prepare` wrote."
        )
    settings = _json(folder / "prepare.json")
    shape, affine = _grid(settings, folder / "prepare.json")
    subjects, columns = _table(folder / "participants.tsv")
    described = folder / "participants.json"
    descriptions = _json(described) if described.is_file() else {}
    for name, entry in descriptions.items():
        if not isinstance(entry, dict):
            raise BrainLDMError(
                f"{described}: {name} is {entry!r}: expected its Description, Units and Levels."
            )
    preparation = settings.get("settings", {})
    return PreparedData(folder, subjects, columns, descriptions, shape, affine, preparation)


def _grid(settings: dict[str, Any], path: Path) -> tuple[Any, Any]:
    grid = settings.get("grid", settings)
    try:
        shape = tuple(int(side) for side in grid["shape"])
        affine = np.array(grid["affine"], dtype=np.float64)
        if len(shape) != 3 or min(shape) < 1 or affine.shape != (4, 4):
            raise ValueError
        if not np.isfinite(affine).all() or np.linalg.det(affine) == 0:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise BrainLDMError(
            f"{path} does not say where the images lie: expected a shape [X, Y, Z] and an "
            "invertible 4 x 4 affine. Prepare the data set again."
        ) from None
    return shape, tuple(tuple(row) for row in affine.tolist())


def _table(path: Path) -> tuple[tuple[str, ...], dict[str, tuple[str | None, ...]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    except (OSError, UnicodeDecodeError) as error:
        raise BrainLDMError(
            f"Cannot read {path}: {error}. Expected the table that `brainldm prepare` wrote."
        ) from error
    header, body = (rows[0], rows[1:]) if rows else ([], [])
    if not header or header[0] != "participant_id" or len(set(header)) != len(header):
        raise BrainLDMError(
            f"{path}, row 1: expected column names, each once, the first participant_id; got "
            f"{', '.join(header) or 'nothing'}."
        )
    subjects: dict[str, int] = {}
    for number, row in enumerate(body, 2):
        if len(row) != len(header):
            raise BrainLDMError(
                f"{path}, row {number}: expected {len(header)} cells between tabs, got {len(row)}."
            )
        subject = row[0].removeprefix("sub-")
        if not subject.isalnum():
            raise BrainLDMError(
                f"{path}, row {number}: {row[0]!r} is no participant: expected sub- and letters or "
                "digits."
            )
        if subject in subjects:
            raise BrainLDMError(
                f"{path}, row {number}: {row[0]} is there twice, in row {subjects[subject]} too. "
                "Keep one of them."
            )
        subjects[subject] = number
    if not subjects:
        raise BrainLDMError(f"{path} has no participants: expected a row for each.")
    columns = {
        name: tuple(None if row[i].strip() in MISSING else row[i].strip() for row in body)
        for i, name in enumerate(header)
        if i
    }
    return tuple(subjects), columns


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BrainLDMError(
            f"Cannot read {path}: {error}. Expected the file that `brainldm prepare` wrote."
        ) from error
    if not isinstance(content, dict):
        raise BrainLDMError(f"{path} is not a JSON object. Prepare the data set again.")
    return content
