"""Rays from the brain upwards, along which a head is looked at from within."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array
from scipy import ndimage

from brainldm.image.grid import Grid
from brainldm.register.rigid import BRAIN_CENTRE

RAY_MM = 140


def directions(count: int) -> Float[Array, "3 rays"]:
    """Unit vectors, in a spiral that covers the upper half of a sphere evenly."""
    index = np.arange(count) + 0.5
    height, turn = index / count, index * np.pi * (1 + 5**0.5)
    level = np.sqrt(1 - height**2)
    return np.stack([level * np.cos(turn), level * np.sin(turn), height])


def along(upwards: Float[Array, "3 rays"], array: Array, grid: Grid) -> Float[Array, "rays mm"]:
    """Values at every millimetre from the brain's centre, in MNI152 space; 0 outside the grid.

    Args:
        upwards: from `directions`.
        array: (X, Y, Z).
        grid: where its voxels are.
    """
    points = BRAIN_CENTRE[:, None, None] + upwards[:, :, None] * np.arange(float(RAY_MM))
    inverse = np.linalg.inv(grid.matrix)
    voxels = np.tensordot(inverse[:3, :3], points, 1) + inverse[:3, 3][:, None, None]
    values: Float[Array, "rays mm"] = ndimage.map_coordinates(
        array.astype(np.float32), voxels, order=1, cval=0.0
    )
    return values


def ends(upwards: Float[Array, "3 rays"], grid: Grid) -> Float[Array, " rays"]:
    """The last millimetre of each ray within a grid."""
    inside = along(upwards, np.ones(grid.shape, np.uint8), grid) > 0.99
    return last(inside)


def last(what: Array) -> Float[Array, " rays"]:
    """The last millimetre of each ray, (rays, mm), at which something holds; 0 if nowhere."""
    places: Float[Array, " rays"] = (what * np.arange(float(what.shape[1]))).max(axis=1)
    return places
