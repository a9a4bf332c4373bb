"""The contact sheet: some of a cohort's heads, evenly spread over the plan."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from brainldm.dataset.bids import t1w
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
        out: the data set, where `contact-sheet.png` goes.
        count: rows of the plan.
    """

    def __init__(self, out: Path, count: int) -> None:
        self._path, self._out = out / "contact-sheet.png", out
        self.rows = shown_rows(count)
        self._tiles: dict[int, tuple[str, bytes]] = {}

    def add(self, row: int, label: str, picture: bytes) -> None:
        """Add a tile; `write` draws it."""
        self._tiles[row] = (label, picture)

    def complete(self, labels: Mapping[int, str]) -> None:
        """Read the tiles that are missing from the images of these rows."""
        for row in self.rows:
            if row in labels and row not in self._tiles:
                image, _ = t1w(self._out, labels[row])
                self.add(row, labels[row], tile(Volume.load(image)))

    def write(self) -> bytes:
        """Draw the sheet as it is now, and write it.

        Returns:
            The PNG.
        """
        there = [self._tiles[row] for row in self.rows if row in self._tiles]
        pictures = [(f"sub-{label}", Image.open(io.BytesIO(content))) for label, content in there]
        content = encode(contact_sheet(pictures, COLUMNS))
        write_together({self._path: content})
        return content
