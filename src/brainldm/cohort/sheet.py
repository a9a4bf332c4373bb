"""The contact sheet: some of a cohort's heads, evenly spread over the plan."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from brainldm.dataset.bids import t1w
from brainldm.files import write_together
from brainldm.image.slices import draw_slices
from brainldm.image.volume import Volume

TILES, COLUMNS = 24, 3
WIDTH = 400
"""Pixels of a tile."""
LABEL = 16
"""Pixels of the line above it."""


def shown_rows(count: int) -> tuple[int, ...]:
    """The rows of a plan that are shown."""
    rows = np.linspace(0, count - 1, min(count, TILES)).round().astype(int)
    return tuple(rows.tolist())


def tile(volume: Volume) -> bytes:
    """Three slices, as a PNG."""
    drawn = draw_slices(volume.array, volume.affine)
    small = drawn.resize((WIDTH, round(drawn.height * WIDTH / drawn.width)))
    file = io.BytesIO()
    small.save(file, format="PNG")
    return file.getvalue()


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
        pictures = [(label, Image.open(io.BytesIO(content))) for label, content in there]
        height = LABEL + max((picture.height for _, picture in pictures), default=0)
        lines = -(-len(pictures) // COLUMNS)
        sheet = Image.new("L", (COLUMNS * WIDTH, max(1, lines * height)))
        draw = ImageDraw.Draw(sheet)
        for i, (label, picture) in enumerate(pictures):
            at = (i % COLUMNS * WIDTH, i // COLUMNS * height)
            draw.text((at[0] + 4, at[1] + 2), f"sub-{label}", fill=200)
            sheet.paste(picture, (at[0], at[1] + LABEL))
        file = io.BytesIO()
        sheet.save(file, format="PNG")
        write_together({self._path: file.getvalue()})
        return file.getvalue()
