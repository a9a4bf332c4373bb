"""A head before and after an edit, and the difference between the two, in three slices each."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array
from PIL import Image, ImageDraw
from scipy import ndimage

from brainldm.image.slices import draw_slices
from brainldm.image.volume import Volume

WINDOW = (1.0, 99.5)
"""Percentiles of the head before that are black and white."""
GAIN = 2.0
"""A difference of half the window has the full colour."""
DIM = 0.5
"""Of the head behind the difference."""
SMOOTH_MM = 4.0
"""Over which differences are averaged where the slices are chosen."""
LINE = 18
"""Pixels above each row, for its name."""


def comparison(before: Volume, after: Volume) -> Image.Image:
    """Three rows: before, after, and where it is brighter (red) or darker (blue).

    The slices go through the largest change. Both have the same grid.
    """
    low, high = np.percentile(before.array, WINDOW)
    window = max(float(high - low), 1e-12)
    first, second = ((each.array - low) / window for each in (before, after))
    change = second - first
    point = _largest(change, before)
    dim = DIM * np.clip(first, 0, 1)
    red, blue = dim + GAIN * np.clip(change, 0, None), dim + GAIN * np.clip(-change, 0, None)
    rows = [("before", [first] * 3), ("after", [second] * 3), ("difference", [red, dim, blue])]
    drawn = []
    for name, channels in rows:
        panels: dict[int, Image.Image] = {
            id(channel): draw_slices(channel, before.affine, point) for channel in channels
        }
        drawn.append((name, Image.merge("RGB", [panels[id(channel)] for channel in channels])))
    height = LINE + drawn[0][1].height
    sheet = Image.new("RGB", (drawn[0][1].width, height * len(drawn)))
    for place, (name, picture) in enumerate(drawn):
        ImageDraw.Draw(sheet).text((4, place * height + 3), name, fill=(200, 200, 200))
        sheet.paste(picture, (0, place * height + LINE))
    return sheet


def _largest(change: Float[Array, "x y z"], head: Volume) -> tuple[float, float, float]:
    """Where most changes, in mm."""
    width = SMOOTH_MM / np.array(head.grid.spacing)
    smooth = ndimage.gaussian_filter(np.abs(change), width)
    voxel = np.unravel_index(int(smooth.argmax()), smooth.shape)
    x, y, z = (head.affine[:3] @ [*voxel, 1]).tolist()
    return x, y, z
