"""A picture of a volume: three orthogonal slices."""

from __future__ import annotations

import io

import nibabel as nib
import numpy as np
from jaxtyping import Float, Real
from numpy import ndarray as Array
from PIL import Image, ImageDraw

PIXELS_PER_MM = 2
MARGIN = 4  # pixels
GAP = 12  # pixels between the slices
# The plane's name, the axis it is cut across, and the axes that run right and up in the picture.
PLANES = (("x", 0, 1, 2), ("y", 1, 0, 2), ("z", 2, 0, 1))


def preview_png(array: Real[Array, "x y z"], affine: Float[Array, "4 4"]) -> bytes:
    """A PNG of the three slices through world (0, 0, 0), as `draw_slices` draws them."""
    return encode(draw_slices(array, affine))


def encode(picture: Image.Image, kind: str = "png") -> bytes:
    """The content of a picture's file, png or jpeg."""
    file = io.BytesIO()
    picture.save(file, format=kind, **({"quality": 80} if kind == "jpeg" else {}))
    return file.getvalue()


def draw_slices(
    array: Real[Array, "x y z"],
    affine: Float[Array, "4 4"],
    through: tuple[float, float, float] = (0, 0, 0),
    width: int | None = None,
) -> Image.Image:
    """The sagittal, coronal and axial slice through a point, side by side.

    Intensities 0 to 1 are black to white. The subject's left is at the left (L). A point outside
    the volume gives way to the nearest slice; each slice says where it lies.

    Args:
        array: (X, Y, Z).
        affine: (4, 4), voxel to world in mm.
        through: the point in mm.
        width: pixels of the picture; None takes `PIXELS_PER_MM`.
    """
    image = nib.as_closest_canonical(nib.Nifti1Image(array, affine))
    data, to_world = np.asarray(image.dataobj), image.affine
    spacing = nib.affines.voxel_sizes(to_world)
    point = np.rint(np.linalg.inv(to_world)[:3] @ [*through, 1]).astype(int)
    point = np.clip(point, 0, np.array(data.shape) - 1)
    position = to_world[:3] @ [*point, 1]

    panels = []
    for name, across, right, up in PLANES:
        plane = np.take(data, point[across], axis=across).T[::-1]  # (up, right), top row first
        grey = Image.fromarray(np.rint(np.clip(plane, 0, 1) * 255).astype(np.uint8))
        panel = grey.resize(
            (
                max(1, round(data.shape[right] * spacing[right] * PIXELS_PER_MM)),
                max(1, round(data.shape[up] * spacing[up] * PIXELS_PER_MM)),
            ),
            Image.Resampling.BILINEAR,
        )
        draw = ImageDraw.Draw(panel)
        # + 0.0 turns a negative zero into zero
        draw.text((MARGIN, MARGIN), f"{name} = {round(position[across]) + 0.0:.0f} mm", fill=255)
        if right == 0:
            middle = panel.height / 2
            draw.text((MARGIN, middle), "L", fill=255)
            draw.text((panel.width - MARGIN, middle), "R", fill=255, anchor="ra")
        panels.append(panel)

    whole = sum(panel.width for panel in panels) + GAP * (len(panels) - 1)
    picture = Image.new("L", (whole, max(panel.height for panel in panels)))
    left = 0
    for panel in panels:
        picture.paste(panel, (left, (picture.height - panel.height) // 2))
        left += panel.width + GAP
    if width is None:
        return picture
    return picture.resize((width, max(1, round(picture.height * width / whole))))
