"""A contact sheet: many pictures in one, each with a line of text above it."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

LINE = 16
"""Pixels of the text's line."""


def contact_sheet(pictures: Sequence[tuple[str, Image.Image]], columns: int) -> Image.Image:
    """Lay pictures out in rows, as many a row as there are columns.

    Args:
        pictures: what to write above each, and the picture (grey).
        columns: as wide as the widest picture.
    """
    width = max((picture.width for _, picture in pictures), default=1)
    height = LINE + max((picture.height for _, picture in pictures), default=0)
    rows = -(-len(pictures) // columns)
    sheet = Image.new("L", (columns * width, max(1, rows * height)))
    draw = ImageDraw.Draw(sheet)
    for i, (text, picture) in enumerate(pictures):
        left, top = i % columns * width, i // columns * height
        draw.text((left + 4, top + 2), text, fill=200)
        sheet.paste(picture, (left, top + LINE))
    return sheet
