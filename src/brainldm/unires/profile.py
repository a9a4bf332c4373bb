"""Slice profiles: how much of each place a voxel of a scan takes in.

Each is a profile convolved with the triangle by which an image is interpolated between its voxels
(Brudfors et al. 2019), so that it may be applied to samples at whole numbers. They sum to 1.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array
from scipy.special import erf

from brainldm.image.grid import Grid
from brainldm.image.volume import FWHM

NEARLY = 1.1
"""Voxels up to this ratio of the volume's are as fine as it."""
LEAST = 0.01
"""Weights below this share of the largest are left out."""


def rectangle(width: float) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """The profile across slices: places and their weights, each (N,), in samples.

    Args:
        width: of the rectangle in samples, more than 0.
    """
    places = _symmetric(int(np.ceil(width / 2)))
    weights = (_area(places + width / 2) - _area(places - width / 2)) / width
    return _trimmed(places, weights)


def gaussian(width: float) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """The profile within slices: places and their weights, each (N,), in samples.

    Args:
        width: at half of the maximum, in samples.
    """
    s = width / FWHM
    x = _symmetric(int(np.floor(4 * s + 1)))
    edges = (x + 1) * erf((x + 1) / (np.sqrt(2) * s)) + (x - 1) * erf((x - 1) / (np.sqrt(2) * s))
    middle = 2 * x * erf(x / (np.sqrt(2) * s))
    bells = np.exp(-((x + 1) ** 2) / (2 * s**2)) + np.exp(-((x - 1) ** 2) / (2 * s**2))
    bells -= 2 * np.exp(-(x**2) / (2 * s**2))
    return _trimmed(x, (edges - middle) / 2 + s / np.sqrt(2 * np.pi) * bells)


def across(grid: Grid) -> int:
    """The axis across a scan's slices: that of the largest voxels, the last of equal ones."""
    sizes = np.round(grid.spacing, 3)
    return int(2 - np.argmax(sizes[::-1]))


def _symmetric(reach: int) -> Float[Array, " n"]:
    return np.arange(-reach, reach + 1, dtype=np.float64)


def _area(x: Float[Array, " n"]) -> Float[Array, " n"]:
    """Of the triangle of half-width 1, up to x."""
    below = np.clip(x + 1, 0, 1) ** 2 / 2
    area: Float[Array, " n"] = below + 0.5 - np.clip(1 - x, 0, 1) ** 2 / 2
    return area


def _trimmed(
    places: Float[Array, " n"], weights: Float[Array, " n"]
) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
    kept = weights >= LEAST * weights.max()
    return places[kept], weights[kept] / weights[kept].sum()
