"""How the network sees an image: 1 mm, axes to the right, front and top, on its own scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import nibabel as nib
import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray as Array
from scipy import ndimage
from torch.nn import functional as F

from brainldm.errors import DataError
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.segment.scale import rescaled

LARGEST_MM, SMALLEST_MM = 400.0, 60.0
"""Of a field of view along each axis."""
COARSEST_MM = 12.0
"""Of a voxel along each axis."""

POOLED = 4
"""Voxels along each axis that are looked at together for where a head is."""
BRIGHT = 0.12
"""What is no air."""
ANOTHER = 0.2
"""The size of a part relative to the largest, from which on it may be a head too."""
AROUND = 12
"""Voxels that are left around a head."""


@dataclass(frozen=True, eq=False)
class View:
    """An image as the network sees it.

    Args:
        image: (X, Y, Z), float32, as `rescaled` gives it.
        grid: of 1 mm, about what is bright; its axes are the image's own, in order and direction
            nearest to the world's.
    """

    image: Float[Array, "x y z"]
    grid: Grid

    @classmethod
    def of(cls, volume: Volume) -> Self:
        """Bring an image there.

        Raises:
            DataError: a field of view or voxels that no head fits, or a constant image.
        """
        grid = view_grid(volume.grid)
        sides = [side * width for side, width in zip(grid.shape, grid.spacing, strict=True)]
        if not SMALLEST_MM <= min(sides) <= max(sides) <= LARGEST_MM:
            raise DataError(
                f"The image is {' x '.join(f'{side:.0f}' for side in sides)} mm large: expected "
                f"one that shows a head, {SMALLEST_MM:.0f} to {LARGEST_MM:.0f} mm along each axis. "
                "Check the size of its voxels in the header."
            )
        if max(volume.grid.spacing) > COARSEST_MM:
            raise DataError(
                f"The image has voxels of {' x '.join(f'{s:.3g}' for s in volume.grid.spacing)} "
                f"mm: expected at most {COARSEST_MM:g} mm, or structures cannot be told apart."
            )
        if not volume.array.min() < volume.array.max():
            raise DataError("The image is constant: expected a head.")
        seen = volume.resample(grid).array
        box = head_box(rescaled(seen))
        matrix = grid.matrix
        matrix[:3, 3] = (matrix @ [*(side.start for side in box), 1])[:3]
        return cls(rescaled(seen[box]), Grid.of(seen[box].shape, matrix))


def head_box(image: Float[Array, "x y z"]) -> tuple[slice, slice, slice]:
    """What of an image is about a head, or about each of several; all of it if nothing is bright.

    Args:
        image: on the scale of `rescaled`, at 1 mm.
    """
    pooled = F.avg_pool3d(torch.from_numpy(image)[None], POOLED, ceil_mode=True)[0].numpy()
    parts, count = ndimage.label(pooled > BRIGHT)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    large = np.isin(parts, np.flatnonzero(sizes >= max(1, ANOTHER * sizes.max())))
    found = ndimage.find_objects(large.astype(np.uint8)) or [(slice(None),) * 3]
    x, y, z = (
        slice(
            max(0, (side.start or 0) * POOLED - AROUND),
            whole if side.stop is None else min(side.stop * POOLED + AROUND, whole),
        )
        for side, whole in zip(found[0], image.shape, strict=True)
    )
    return x, y, z


def view_grid(grid: Grid) -> Grid:
    """The voxels of 1 mm that fill the field of view of another grid, along its own axes."""
    order = nib.orientations.io_orientation(grid.matrix)
    axes = np.argsort(order[:, 0])
    directions = grid.matrix[:3, :3] / np.array(grid.spacing) * order[:, 1]
    shape = np.ceil(np.array(grid.shape) * np.array(grid.spacing) - 1e-3).astype(int)[axes]
    matrix = np.eye(4)
    matrix[:3, :3] = directions[:, axes]
    middle = grid.matrix @ [*((np.array(grid.shape) - 1) / 2), 1]
    matrix[:3, 3] = middle[:3] - matrix[:3, :3] @ ((shape - 1) / 2)
    return Grid.of(np.maximum(shape, 1).tolist(), matrix)
