"""The grid that a person's volumes lie on: the mean of their scans' places."""

from __future__ import annotations

from collections.abc import Sequence

import nibabel as nib
import numpy as np
from scipy.spatial.transform import Rotation

from brainldm.errors import DataError
from brainldm.image.grid import Grid

MARGIN = 2
"""Slices beyond a grid that are solved for too, since they say what lies at its border."""
FEWEST_SHARED = 0.1
"""Of the smaller of two fields of view, what both must see."""


def mean_grid(grids: Sequence[Grid], voxel_size: float) -> Grid:
    """Cubic voxels along the mean of the scans' axes, over all that any of them sees.

    Args:
        grids: of the scans, in the world that they share.
        voxel_size: in mm.
    """
    turns = []
    for grid in grids:
        to_ras = nib.orientations.io_orientation(grid.matrix)
        axes = grid.matrix[:3, :3] / np.array(grid.spacing)
        ordered = np.empty((3, 3))
        for axis, (along, sign) in enumerate(to_ras):
            ordered[:, int(along)] = sign * axes[:, axis]
        left, _, right = np.linalg.svd(ordered)  # the nearest rotation, if the axes are sheared
        turns.append(left @ right)
    turn = Rotation.from_matrix(np.stack(turns)).mean().as_matrix()
    outer = np.concatenate([_outer(grid) for grid in grids]) @ turn
    low, high = outer.min(axis=0), outer.max(axis=0)
    shape = np.maximum(1, np.ceil((high - low) / voxel_size - 1e-3)).astype(int)
    matrix = np.eye(4)
    matrix[:3, :3] = turn * voxel_size
    matrix[:3, 3] = turn @ ((low + high) / 2 - voxel_size * (shape - 1) / 2)
    return Grid.of(shape.tolist(), matrix)


def with_margin(grid: Grid, scans: Sequence[Grid]) -> Grid:
    """A grid so wide that slices which begin in it end in it, and the next ones, unless all do.

    Args:
        grid: of the volumes.
        scans: in the same world.
    """
    outside = [scan for scan in scans if not _holds(grid, scan)]
    if not outside:
        return grid
    thickest = max(max(scan.spacing) for scan in outside)
    more = 2 * int(np.ceil(MARGIN * thickest / min(grid.spacing)))
    return grid.resized([side + more for side in grid.shape])


def _holds(grid: Grid, scan: Grid) -> bool:
    there = np.linalg.inv(grid.matrix) @ np.vstack([_outer(scan).T, np.ones(8)])
    ends = np.array(grid.shape)[:, None] - 0.5
    return bool(((there[:3] >= -0.6) & (there[:3] <= ends + 0.1)).all())


def check_overlap(grids: Sequence[Grid], names: Sequence[str]) -> None:
    """Refuse scans that have next to nothing in common with the first, as they lie.

    Raises:
        DataError: one of them has.
    """
    first = grids[0].coarser(max(1.0, 4 / min(grids[0].spacing)))
    for grid, name in zip(grids[1:], names[1:], strict=True):
        shared = float(first.within(grid).mean())
        smaller = min(1.0, np.prod(grid.shape) * grid.voxel_ml / _millilitres(grids[0]))
        if shared < FEWEST_SHARED * smaller:
            raise DataError(
                f"{names[0]} and {name} have {shared / smaller:.0%} of their fields of view in "
                f"common ({grids[0].extent}; {grid.extent}): expected two scans of one head. "
                "Check their headers in a viewer."
            )


def _millilitres(grid: Grid) -> float:
    return float(np.prod(grid.shape)) * grid.voxel_ml


def _outer(grid: Grid) -> np.ndarray:
    """The outer corners of the outermost voxels in mm, (8, 3)."""
    ends = np.array(np.meshgrid(*((-0.5, side - 0.5) for side in grid.shape))).reshape(3, 8)
    corners: np.ndarray = ends.T @ grid.matrix[:3, :3].T + grid.matrix[:3, 3]
    return corners
