"""The page: each contrast before and after, and what was found on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from brainldm.image.fit import PERCENTILES
from brainldm.image.page import render
from brainldm.image.slices import draw_slices, encode
from brainldm.image.volume import Volume

WIDTH = 960
"""Pixels of a picture."""


def unires_page(
    before: Mapping[str, Volume],
    after: Mapping[str, Volume],
    scans: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Any],
    objective: Sequence[float],
) -> bytes:
    """The page, with its pictures in it.

    Args:
        before: the scans of each contrast, interpolated.
        after: the volumes.
        scans: what is said of each.
        facts: of all.
        objective: its course.
    """
    return render(
        "unires/unires.html",
        pairs=[
            {"name": name, "pictures": [encode(each, "jpeg") for each in _pair(before[name], each)]}
            for name, each in after.items()
        ],
        scans=scans,
        facts=facts,
        falls=(np.array(objective) - min(objective) * 0.98).tolist(),
        ends=(f"{objective[0]:.4g}", f"{objective[-1]:.4g}"),
    )


def _pair(before: Volume, after: Volume) -> tuple[Image.Image, Image.Image]:
    """Both in one scale, through the middle of what is bright."""
    low, high = np.percentile(after.array, PERCENTILES)
    scaled = [
        np.clip((each.array - low) / max(high - low, 1e-30), 0, 1) for each in (before, after)
    ]
    bright = np.argwhere(scaled[1] > 0.3)
    middle = np.median(bright, axis=0) if len(bright) else np.array(after.array.shape) / 2
    x, y, z = (after.affine[:3] @ [*middle, 1]).tolist()
    first, second = (draw_slices(each, after.affine, (x, y, z), WIDTH) for each in scaled)
    return first, second
