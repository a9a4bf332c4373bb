"""The contact sheet: some of a cohort's heads, evenly spread over the plan."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from brainldm.cohort.folder import CohortFolder
from brainldm.cohort.records import Records
from brainldm.files import write_together
from brainldm.image.sheet import contact_sheet
from brainldm.image.slices import draw_slices, encode
from brainldm.image.volume import Volume

TILES, COLUMNS = 24, 3
WIDTH = 400
"""Pixels of a tile."""


def shown_rows(count: int) -> tuple[int, ...]:
    """The rows of a plan that are shown."""
    rows = np.linspace(0, count - 1, min(count, TILES)).round().astype(int)
    return tuple(rows.tolist())


def tile(volume: Volume) -> bytes:
    """Three slices, as a PNG."""
    return encode(draw_slices(volume.array, volume.affine, width=WIDTH))


class Sheet:
    """Grows with the cohort; the same at its end in whatever order it grew.

    Args:
        folder: of the cohort.
        count: rows of its plan.
    """

    def __init__(self, folder: CohortFolder, count: int) -> None:
        self._folder = folder
        self.rows = shown_rows(count)
        self._tiles: dict[int, tuple[str, bytes]] = {}

    def add(self, row: int, label: str, picture: bytes) -> None:
        """Add a tile; `write` draws it."""
        self._tiles[row] = (label, picture)

    def complete(self, records: Records) -> None:
        """Read the tiles that are missing from the images that were made."""
        for row in self.rows:
            record = None if row in self._tiles else records.get(row)
            if record:
                image = self._folder.image(record.label)
                self.add(row, record.label, tile(Volume.load(image)))

    def write(self) -> bytes:
        """Draw the sheet as it is now, and write it.

        Returns:
            The PNG.
        """
        there = [self._tiles[row] for row in self.rows if row in self._tiles]
        pictures = [(f"sub-{label}", Image.open(io.BytesIO(content))) for label, content in there]
        content = encode(contact_sheet(pictures, COLUMNS))
        write_together({self._folder.sheet: content})
        return content
